"""EXIF orientation: images and masks lie as viewers show them, whatever the format, and so does what is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from scantling.core.case import Address, Case
from scantling.core.errors import DataError
from scantling.data import files
from scantling.data.dataset import open_dataset
from scantling.data.integrity import check
from scantling.data.loading import load

pytestmark = pytest.mark.filterwarnings("error")

DOWN, ACROSS = np.mgrid[:37, :53]
COLOUR = np.stack([DOWN * 6, ACROSS * 4, DOWN + ACROSS], axis=-1).astype(np.uint8)
MASK = (np.uint8(255) * ((DOWN > 10) & (ACROSS < 30))).astype(np.uint8)


def save(path: Path, array: np.ndarray, orientation: int, **options: object) -> Path:
    """Write an array with a note of its orientation."""
    path.parent.mkdir(parents=True, exist_ok=True)
    notes = Image.Exif()
    notes[274] = orientation
    Image.fromarray(array).save(path, exif=notes, **options)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif"])
@pytest.mark.parametrize("array", [COLOUR, MASK], ids=["colour", "grey"])
def test_an_array_is_turned_as_pillow_shows_it(tmp_path: Path, name: str, orientation: int, array: np.ndarray) -> None:
    lossless = {"lossless": True} if name == "a.webp" else {}
    path = save(tmp_path / name, array, orientation, **lossless)
    image = Image.fromarray(array)
    image.getexif()[274] = orientation
    expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    picture = files.read(path)
    np.testing.assert_array_equal(
        np.broadcast_to(picture.array, (3, *picture.geometry.shape)).transpose(1, 2, 0), expected
    )
    assert picture.geometry.exif == orientation
    assert files.probe(path).shape == expected.shape[:2]
    guarded = files.read(path, untrusted=True)
    np.testing.assert_array_equal(guarded.array, picture.array)
    assert guarded.geometry == picture.geometry
    assert files.probe(path, untrusted=True) == files.probe(path)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", [b"II", b"MM"])
def test_a_jpeg_is_turned_whichever_byte_order_its_notes_have(tmp_path: Path, orientation: int, order: bytes) -> None:
    notes = Image.Exif()
    notes.endian = "<" if order == b"II" else ">"
    notes[271], notes[274] = "maker", orientation
    Image.fromarray(COLOUR).save(tmp_path / "a.jpg", exif=notes)
    with Image.open(tmp_path / "a.jpg") as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(files.read(tmp_path / "a.jpg").array, np.moveaxis(expected, -1, 0))


def test_notes_after_the_pixels_of_a_png_count(tmp_path: Path) -> None:
    data = save(tmp_path / "a.png", COLOUR, 6).read_bytes()
    at = data.index(b"eXIf") - 4
    end = at + 12 + int.from_bytes(data[at : at + 4], "big")
    (tmp_path / "a.png").write_bytes(data[:at] + data[end:-12] + data[at:end] + data[-12:])
    assert files.probe(tmp_path / "a.png").shape == files.read(tmp_path / "a.png").array.shape[1:] == (53, 37)


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_is_none_turns_nothing(tmp_path: Path, value: int) -> None:
    for name in ("a.jpg", "a.tif", "a.png"):
        picture = files.read(save(tmp_path / name, MASK, value))
        assert (picture.geometry.shape, picture.geometry.exif) == ((37, 53), 1)


@pytest.mark.parametrize(
    "damage", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b""]
)
def test_notes_that_cannot_be_read_turn_nothing(tmp_path: Path, damage: bytes) -> None:
    Image.fromarray(COLOUR).save(tmp_path / "a.jpg", exif=damage)
    assert files.read(tmp_path / "a.jpg").geometry.exif == 1


def test_spacing_is_turned_with_the_image(tmp_path: Path) -> None:
    tag = (274, "H", 1, 6, True)
    options = {"resolution": (25.4, 12.7), "resolutionunit": "INCH", "metadata": None}
    tifffile.imwrite(tmp_path / "a.tif", MASK, extratags=[tag], **options)
    geometry = files.probe(tmp_path / "a.tif").geometry
    assert geometry.shape == (53, 37)
    assert geometry.spacing == pytest.approx((1.0, 2.0))  # stored: rows 2 mm apart, columns 1 mm


def test_what_is_written_lies_as_the_image_is_shown_and_is_not_turned_again(tmp_path: Path) -> None:
    picture = files.read(save(tmp_path / "a.jpg", COLOUR, 6))
    mask = (picture.array[0] > 100).astype(np.uint8)
    path = files.write_labels(tmp_path, "mask", mask, picture.geometry)
    labels, geometry = files.read_labels(path)
    np.testing.assert_array_equal(labels, mask)
    assert geometry.exif == 1
    maps = files.read(files.write_map(tmp_path, "maps", mask[None], picture.geometry))
    np.testing.assert_array_equal(maps.array[0], mask)


def pair(image: Path, mask: Path) -> Case:
    """A case of an image and its mask."""
    return Case(id="a", subject="a", images={"image": Address(image)}, masks=(Address(mask),))


def make(root: Path, orientations: list[int], masks: list[np.ndarray]) -> Path:
    """Images with these orientations and masks without any."""
    for number, (orientation, mask) in enumerate(zip(orientations, masks, strict=True)):
        save(root / "images" / f"c{number}.jpg", COLOUR, orientation, quality=95)
        save(root / "masks" / f"c{number}.png", mask, 1)
    return root


def test_check_says_how_many_images_are_turned(tmp_path: Path) -> None:
    orientations = [1, 3, 6, 8, 2]
    masks = [np.ascontiguousarray(MASK.T) if orientation > 4 else MASK for orientation in orientations]
    report = check(open_dataset(make(tmp_path / "set", orientations, masks)))
    found = [finding for finding in report.findings if finding.kind == "exif"]
    assert [(finding.level, len(finding.cases)) for finding in found] == [("note", 4)]
    assert "turned as its EXIF orientation says" in found[0].sentence
    assert not [finding for finding in report.findings if finding.level == "error"]


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_mask_that_fits_only_the_unturned_image_is_refused_with_the_reason(tmp_path: Path, orientation: int) -> None:
    root = make(tmp_path / "set", [orientation] * 2, [MASK, np.ascontiguousarray(MASK.T)])
    case = pair(root / "images/c0.jpg", root / "masks/c0.png")
    with pytest.raises(DataError, match=f"EXIF orientation {orientation}.*turn it as viewers show the image"):
        load(case)
    errors = [finding for finding in check(open_dataset(root)).findings if finding.kind == "geometry"]
    assert [(finding.level, finding.cases) for finding in errors] == [("error", ("c0",))]
    assert "found 37 x 53 pixels, expected 53 x 37" in errors[0].sentence
    assert f"EXIF orientation {orientation}" in errors[0].sentence


def test_a_mask_that_is_turned_itself_where_its_image_is_not_is_refused_too(tmp_path: Path) -> None:
    image, mask = save(tmp_path / "a.png", COLOUR, 1), save(tmp_path / "m.png", MASK, 6)
    with pytest.raises(DataError, match="its own EXIF orientation 6"):
        load(pair(image, mask))


def test_a_mask_of_another_size_is_not_blamed_on_exif(tmp_path: Path) -> None:
    image, mask = save(tmp_path / "a.png", COLOUR, 6), save(tmp_path / "m.png", MASK[:30], 1)
    with pytest.raises(DataError) as raised:
        load(pair(image, mask))
    assert "EXIF" not in str(raised.value)
