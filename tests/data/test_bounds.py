"""Small files that ask for much, or for what is not theirs: a sentence, in little memory."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
import zlib
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian, generate_uid

from scantling.core.errors import FileError
from scantling.data import files
from scantling.data.annotations import shapes
from scantling.data.annotations.cvat import parse as parse_cvat
from scantling.data.annotations.labelme import parse as parse_labelme
from scantling.data.annotations.shapes import Polygon, covered
from scantling.data.dataset import open_dataset

MIB = 1 << 20


@contextmanager
def at_most(count: int) -> Iterator[None]:
    """No more than `count` bytes at once inside."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < count
    finally:
        tracemalloc.stop()


@pytest.fixture
def deflated(tmp_path: Path) -> Path:
    found = Dataset()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    found.SOPClassUID = found.file_meta.MediaStorageSOPClassUID = CTImageStorage
    found.SOPInstanceUID = found.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    found.Modality, found.Rows, found.Columns, found.BitsAllocated = "CT", 8, 8, 8
    found.PixelData = bytes(32 * MIB)
    path = tmp_path / "scan" / "a.dcm"
    path.parent.mkdir()
    found.save_as(path, enforce_file_format=True)
    assert path.stat().st_size < MIB
    return path


@pytest.mark.parametrize("preamble", [True, False])
def test_a_deflated_dicom_file_is_refused_before_it_is_unpacked(deflated: Path, preamble: bool) -> None:
    if not preamble:
        deflated.write_bytes(deflated.read_bytes()[132:])
    with at_most(8 * MIB), pytest.raises(FileError, match="is deflated; expected an uncompressed one"):
        files.probe(deflated)


def test_a_folder_with_a_deflated_dicom_file_is_opened_without_unpacking_it(deflated: Path) -> None:
    with at_most(16 * MIB):
        dataset = open_dataset(deflated.parent)
    assert [address.path for case in dataset.cases for _, address in case.addresses()] == [deflated]


def test_a_tile_far_larger_than_its_page_is_judged_by_its_own_size(tmp_path: Path) -> None:
    path, side = tmp_path / "a.tif", 1 << 16
    tifffile.imwrite(path, np.zeros((16, 16), np.uint8), tile=(16, 16), compression="zlib")
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        at = {code: file.pages.first.tags[code].valueoffset for code in (322, 323, 324, 325)}
    coded = zlib.compress(bytes(MIB))
    for code, value in {322: side, 323: side, 324: len(data), 325: len(coded)}.items():
        struct.pack_into("<I", data, at[code], value)
    path.write_bytes(bytes(data) + coded)
    with at_most(8 * MIB), pytest.raises(FileError, match="decompression bomb"):
        files.read(path)


@pytest.mark.parametrize(
    "lines",
    [
        "Comment = ElementDataFile = LOCAL\nElementDataFile = {}\n",
        "ElementDataFile: {}\nElementDataFile = LOCAL\n",
        "ElementDataFile = {}\n",
        "ElementDataFile = LOCAL\nElementDataFile = {}\n",
    ],
)
def test_a_metaimage_never_reads_voxels_from_elsewhere(tmp_path: Path, lines: str) -> None:
    pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
    secret = tmp_path / "elsewhere" / "secret"
    secret.parent.mkdir()
    secret.write_bytes(b"S" * 64)
    head = "ObjectType = Image\nNDims = 2\nDimSize = 8 8\nElementSpacing = 1 1\nElementType = MET_UCHAR\n"
    text = (head + lines.format(secret)).encode()
    first = text.index(b"\n", text.index(b"ElementDataFile")) + 1  # where the voxels begin after the first such line
    for number, data in enumerate((text, text + bytes(64), text[:first] + text[first:].ljust(64, b"\0"))):
        path = tmp_path / f"{number}.mha"
        path.write_bytes(data)
        try:
            array = files.read(path).array
        except FileError:
            continue
        assert ord("S") not in array


HEAD = "ObjectType = Image\nNDims = {}\nTransformMatrix = 1 0 0 1\nOffset = 0 0\nElementSpacing = 1 1\nDimSize = 8 8\n"


@pytest.mark.parametrize("axes", ["-13", "0", "3", "99999999999", ""])
def test_a_metaimage_with_another_number_of_axes_than_sizes_is_a_sentence(tmp_path: Path, axes: str) -> None:
    text = f"{HEAD.format(axes)}ElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
    (tmp_path / "a.mha").write_bytes(text.encode() + bytes(64))
    with pytest.raises(FileError, match=f"has {axes or 'no'} axes; expected 2"):
        files.read(tmp_path / "a.mha")


def test_volumes_of_simpleitk_are_decoded_in_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
    text = f"{HEAD.format(2)}ElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
    (tmp_path / "a.img").write_bytes(text.encode() + bytes(range(64)))
    for name in ("decoded", "inspected"):
        monkeypatch.delattr(files, name)
    assert files.probe(tmp_path / "a.img").shape == (8, 8)
    assert sorted(files.read(tmp_path / "a.img").array.ravel()) == list(range(64))


def labelled(mask: np.ndarray) -> dict[str, object]:
    stream = io.BytesIO()
    Image.fromarray(mask).save(stream, "PNG")
    height, width = mask.shape
    shape = {
        "label": "a",
        "shape_type": "mask",
        "points": [[0, 0], [width - 1, height - 1]],
        "mask": b64encode(stream.getvalue()).decode(),
    }
    return {"imagePath": "a.png", "imageHeight": height, "imageWidth": width, "shapes": [shape]}


def test_a_mask_of_labelme_that_changes_at_every_pixel_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    content = labelled(np.indices((64, 64)).sum(axis=0) % 2 > 0)
    assert parse_labelme(content).images[0].objects
    monkeypatch.setattr("scantling.data.annotations.labelme.MOST_CHANGES", 1000)
    with pytest.raises(ValueError, match=r"changes 4,0\d\d times"):
        parse_labelme(content)


def test_masks_of_labelme_that_are_too_many_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    content = labelled(np.ones((64, 64), bool))
    monkeypatch.setattr("scantling.data.annotations.labelme.MOST_MASKED", 64 * 64)
    assert parse_labelme(content).images[0].objects
    with pytest.raises(ValueError, match="more than 4,096 pixels"):
        parse_labelme({**content, "shapes": content["shapes"] * 2})  # type: ignore[operator]


def test_a_document_type_in_another_encoding_is_refused() -> None:
    text = '<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE a [<!ENTITY b "c">]><annotations/>'
    for content in (text.encode("utf-16"), text.replace("UTF-16", "UTF-8").encode()):
        with pytest.raises(ValueError, match="document type"):
            parse_cvat(content)


def test_polygons_are_the_same_band_by_band_and_take_no_more_than_a_byte_a_pixel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    angles = np.linspace(0, 2 * np.pi, 77, endpoint=False)
    star = Polygon(
        (2000 + 1900 * np.stack([np.cos(angles), np.sin(angles)], axis=1) * (1 + np.cos(5 * angles))[:, None] / 2,)
    )
    whole = covered(star, (4000, 4000))[1]
    monkeypatch.setattr(shapes, "BAND", 1 << 18)
    with at_most(whole.size + 16 * MIB):
        inside = covered(star, (4000, 4000))[1]
    assert np.array_equal(inside, whole)
    assert inside.any()


def test_run_lengths_that_only_overflow_to_the_right_sum_are_refused() -> None:
    with pytest.raises(ValueError, match="run lengths make"):
        shapes.runs([2**62] * 4 + [16], (4, 4), by_columns=True)


def test_a_dataset_json_of_something_else_is_no_nnunet(tmp_path: Path) -> None:
    for number in range(3):
        Image.fromarray(np.full((8, 8), number, np.uint8)).save(tmp_path / f"{number}.png")
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": [[f"{number}.png", 6] for number in range(3)]}))
    dataset = open_dataset(tmp_path)
    assert [case.id for case in dataset.cases] == ["0", "1", "2"]
    assert any("dataset.json" in remark.sentence for remark in dataset.remarks)


def test_a_jpeg_of_very_many_scans_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    stream, path = io.BytesIO(), tmp_path / "a.jpg"
    Image.new("L", (64, 64), 128).save(stream, "JPEG", progressive=True)
    data = stream.getvalue()
    last = data[data.rindex(b"\xff\xda") : -2]
    for times, refused in ((20, False), (300, True)):
        path.write_bytes(data[:-2] + last * times + data[-2:])
        if not refused:
            assert files.read(path).array.shape == (1, 64, 64)
            continue
        with pytest.raises(FileError, match="more than 200 scans"):
            files.read(path)


def test_text_after_numbers_of_a_pgm_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pgm"
    path.write_text("P2\n2 2\n255\n1 2 3 4\n")
    assert files.read(path).array.ravel().tolist() == [1, 2, 3, 4]
    for end in ("1 2 3 4 x", "1 2 x 4", "1 2 3 4 5"):
        path.write_text(f"P2\n2 2\n255\n{end}\n")
        with pytest.raises(FileError):
            files.read(path)
