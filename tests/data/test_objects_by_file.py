"""A mask file for each object: one mask and one map of objects, whatever the files are called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from PIL import Image

from scantling.core.case import Address
from scantling.core.errors import DataError, FileError
from scantling.data.dataset import open_dataset
from scantling.data.files import read_labels
from scantling.data.integrity import check
from scantling.data.loading import load

SHAPE = (24, 30)


def save(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array.astype(np.uint8)).save(path)
    return path


def squares(count: int, *, step: int = 6) -> list[np.ndarray]:
    """Masks of 5 x 5 pixels, side by side; they share pixels where `step` is below 5."""
    found = []
    for number in range(count):
        mask = np.zeros(SHAPE, np.uint8)
        mask[3:8, step * number : step * number + 5] = 255
        found.append(mask)
    return found


def hashed(folder: Path, name: str, masks: Sequence[np.ndarray]) -> None:
    for number, mask in enumerate(masks):
        save(folder / name / "masks" / f"{crc32(f'{name} {number}'.encode()):08x}{number:08x}.png", mask)


def numbered(folder: Path, name: str, masks: Sequence[np.ndarray]) -> None:
    for number, mask in enumerate(masks):
        save(folder / name / "masks" / f"{number}.png", mask)


def called_after(folder: Path, name: str, masks: Sequence[np.ndarray]) -> None:
    for number, mask in enumerate(masks):
        save(folder / name / "masks" / f"{name}_{number}.png", mask)


def beside(folder: Path, name: str, masks: Sequence[np.ndarray]) -> None:
    for number, mask in enumerate(masks):
        save(folder / name / f"mask_{number}.png", mask)


@pytest.mark.parametrize("write", [hashed, numbered, called_after, beside])
def test_masks_of_objects_in_the_folder_of_an_image_are_one_mask(
    write: Callable[[Path, str, Sequence[np.ndarray]], None], tmp_path: Path
) -> None:
    for number in range(3):
        name = f"c{number}x"
        image = np.random.default_rng(number).integers(0, 256, SHAPE)
        save(tmp_path / name / ("images" if write is not beside else "") / f"{name}.png", image)
        write(tmp_path, name, squares(2 + number))
    check_objects(tmp_path, ["c0x", "c1x", "c2x"])


@pytest.mark.parametrize("place", ["masks/{}/{}.png", "masks/{}_{}.png", "masks/{}-mask-{}.png"])
@pytest.mark.parametrize("split", ["", "train/"])
def test_masks_of_objects_in_one_folder_are_one_mask_an_image(place: str, split: str, tmp_path: Path) -> None:
    for number in range(3):
        image = np.random.default_rng(number).integers(0, 256, SHAPE)
        save(tmp_path / split / "images" / f"im{number}.png", image)
        for nth, mask in enumerate(squares(2 + number)):
            save(tmp_path / split / place.format(f"im{number}", nth), mask)
    check_objects(tmp_path, ["im0", "im1", "im2"])


def check_objects(folder: Path, names: list[str]) -> None:
    dataset = open_dataset(folder)
    assert [case.id for case in dataset.cases] == names
    assert dataset.labels is not None
    assert dataset.labels.names == ("object",)
    for number, case in enumerate(dataset.cases):
        sample = load(case, labels=dataset.labels)
        assert sample.instances is not None
        assert (sample.masks[0][0] == (np.sum(squares(2 + number), axis=0) > 0)).all()
        assert np.unique(sample.instances).tolist() == list(range(3 + number))
        assert (np.bincount(sample.instances.ravel())[1:] == 25).all()
    assert any("a mask file for each object (4 in" in remark.sentence for remark in dataset.remarks)
    assert not check(dataset).of("error")


def test_masks_that_lie_on_each_other_are_those_of_annotators(tmp_path: Path) -> None:
    for number in range(2):
        save(tmp_path / f"p{number}" / "image.png", np.random.default_rng(number).integers(0, 256, SHAPE))
        for nth, mask in enumerate(squares(2, step=1)):
            save(tmp_path / f"p{number}" / f"seg{nth}.png", mask)
    assert [len(case.masks) for case in open_dataset(tmp_path).cases] == [2, 2]


def test_what_objects_share_counts_for_the_later_and_is_said(tmp_path: Path) -> None:
    for number in range(2):
        save(tmp_path / f"p{number}" / "images" / f"p{number}.png", np.arange(720).reshape(SHAPE))
        masks = squares(4)
        masks[1][3, 4] = 255
        numbered(tmp_path, f"p{number}", masks)
    dataset = open_dataset(tmp_path)
    assert any("1.00% of their pixels lie in two" in remark.sentence for remark in dataset.remarks)
    instances = load(dataset.cases[0], labels=dataset.labels).instances
    assert instances is not None
    assert instances[3, 4] == 2


def test_a_mask_of_an_object_with_another_size_costs_the_case_a_sentence(tmp_path: Path) -> None:
    files = [save(tmp_path / f"{number}.png", mask) for number, mask in enumerate([*squares(2), np.zeros((5, 5))])]
    for member in ("mask:*", "objects:*"):
        with pytest.raises(FileError, match=r"2\.png: found a mask of 5 x 5; expected 24 x 30"):
            read_labels(Address(tmp_path, member))
    files[-1].unlink()
    assert read_labels(Address(tmp_path, "objects:*"), untrusted=True)[0].max() == 2
    for member in ("objects:x*", "else"):
        with pytest.raises(FileError):
            read_labels(Address(tmp_path, member))


def test_names_of_objects_that_begin_like_the_image_are_refused(tmp_path: Path) -> None:
    for number in range(2):
        save(tmp_path / f"p{number}" / f"p{number}_a.png", np.arange(720).reshape(SHAPE))
        for nth, mask in enumerate(squares(3)):
            save(tmp_path / f"p{number}" / f"p{number}_{nth}_seg.png", mask)
    with pytest.raises(DataError, match="begin like"):
        open_dataset(tmp_path)


def test_a_manifest_and_a_text_may_point_at_the_masks_of_objects(tmp_path: Path) -> None:
    for number in range(2):
        save(tmp_path / "pics" / f"i{number}.png", np.random.default_rng(number).integers(0, 256, SHAPE))
        for nth, mask in enumerate(squares(3)):
            save(tmp_path / "parts" / f"i{number}" / f"{nth}.png", mask)
    text = '[[group]]\npattern = "pics/{id}.png"\nmasks = "parts/{id}#mask:*"\ninstances = "parts/{id}#objects:*"\n'
    (tmp_path / "scantling.toml").write_text(text, encoding="utf-8")
    dataset = open_dataset(tmp_path)
    assert not any(remark.kind == "unused files" for remark in dataset.remarks)
    (case, _) = dataset.cases
    assert case.instances is not None
    assert read_labels(str(case.instances))[0].max() == 3
    assert load(case, labels=dataset.labels).masks[0].sum() == 75
