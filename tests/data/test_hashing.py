"""Hashes of cases cover every file that is read for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scantling.core.case import Address
from scantling.data.dataset import file_hashes, open_dataset
from scantling.data.hashing import content_of, files_of

EVERY = ("image", "mask")


def save(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def test_a_changed_mask_of_one_object_changes_the_hash_of_its_case_and_of_the_data(tmp_path: Path) -> None:
    for number in range(2):
        save(tmp_path / f"p{number}" / "images" / f"p{number}.png", np.full((20, 20), 9 + number, np.uint8))
        for thing in range(3):
            mask = np.zeros((20, 20), np.uint8)
            mask[thing * 6 : thing * 6 + 4] = 255
            save(tmp_path / f"p{number}" / "masks" / f"{number}{thing}.png", mask)
    dataset = open_dataset(tmp_path)
    before, hashes = content_of(dataset.cases[0], reads=EVERY), file_hashes(dataset)
    assert len(hashes) == 2 + 6
    save(tmp_path / "p0" / "masks" / "01.png", np.zeros((20, 20), np.uint8))
    assert content_of(dataset.cases[0], reads=EVERY) != before
    changed = {name for name, value in file_hashes(dataset).items() if value != hashes[name]}
    assert changed == {"p0/masks/01.png"}


def metaimage(path: Path, voxels: str) -> Path:
    path.write_text(
        f"ObjectType = Image\nNDims = 2\nDimSize = 4 4\nElementType = MET_UCHAR\nElementDataFile = {voxels}"
    )
    return path


def nrrd(path: Path, voxels: str) -> Path:
    path.write_text(f"NRRD0004\ntype: uchar\ndimension: 2\nsizes: 4 4\nencoding: raw\ndata file: {voxels}\n\n")
    return path


@pytest.mark.parametrize(("write", "name"), [(metaimage, "a.mhd"), (nrrd, "a.nhdr")])
@pytest.mark.parametrize("voxels", ["a.raw", "other.bin", "with space.dat"])
def test_the_voxels_that_a_header_names_belong_to_its_files(
    tmp_path: Path, write: Callable[[Path, str], Path], name: str, voxels: str
) -> None:
    (tmp_path / voxels).write_bytes(bytes(16))
    path = write(tmp_path / name, voxels)
    assert files_of(Address(path)) == [path, tmp_path / voxels]


def test_a_header_that_holds_its_voxels_or_is_damaged_is_one_file(tmp_path: Path) -> None:
    path = metaimage(tmp_path / "a.mhd", "LOCAL")
    assert files_of(Address(path)) == [path]
    path.write_bytes(b"nothing of the kind")
    assert files_of(Address(path)) == [path]
