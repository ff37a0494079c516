"""The door as a whole: flat images, labels, limits, names, and what is written and read back."""

from __future__ import annotations

import io
import struct
import time
import zlib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scantling.core.case import Address, Geometry
from scantling.core.errors import FileError
from scantling.data import files
from scantling.data.files import Limits

pytestmark = pytest.mark.filterwarnings("error")

DOWN, ACROSS = np.mgrid[:37, :53]
GREY = (120 + 60 * np.sin(DOWN / 7) + 50 * np.cos(ACROSS / 9)).astype(np.uint8)
COLOUR = np.stack([GREY, GREY[::-1], 255 - GREY], axis=-1)
OPAQUE = np.full((37, 53, 1), 200, np.uint8)
FLAT = Geometry((37, 53), (1.0, 1.0))


def save(path: Path, image: Image.Image, **options: Any) -> Path:
    """Write `image` with Pillow."""
    image.save(path, **options)
    return path


def chunk(kind: bytes, data: bytes) -> bytes:
    """A PNG chunk."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, data: bytes) -> bytes:
    """A PNG file of already filtered lines."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.fromarray(GREY), GREY[None]),
        (Image.fromarray(COLOUR), np.moveaxis(COLOUR, -1, 0)),
        (Image.fromarray(np.concatenate([COLOUR, OPAQUE], axis=-1)), np.moveaxis(COLOUR, -1, 0)),
        (Image.fromarray(np.concatenate([GREY[..., None], OPAQUE], axis=-1)), GREY[None]),
        (Image.fromarray(GREY.astype(np.uint16) * 250), GREY[None].astype(np.uint16) * 250),
        (Image.fromarray(GREY > 120), np.uint8(255) * (GREY > 120)[None]),
    ],
    ids=["grey", "colour", "colour with alpha", "grey with alpha", "16 bits", "1 bit"],
)
def test_png_keeps_its_values_and_loses_only_its_transparency(
    tmp_path: Path, image: Image.Image, expected: np.ndarray
) -> None:
    path = save(tmp_path / "a.png", image)
    picture = files.read(path)
    np.testing.assert_array_equal(picture.array, expected)
    assert picture.array.dtype == expected.dtype
    assert picture.channels == (("grey",) if len(expected) == 1 else ("red", "green", "blue"))
    header = files.probe(path)
    assert (header.format, header.shape, header.dtype) == ("PNG", (37, 53), expected.dtype)


@pytest.mark.parametrize("suffix", ["png", "gif", "bmp", "tif"])
def test_a_palette_of_colours_is_expanded_for_images_and_an_index_for_labels(tmp_path: Path, suffix: str) -> None:
    indices = (GREY // 64).astype(np.uint8)
    image = Image.fromarray(indices).convert("P")
    image.putpalette([7, 0, 0, 250, 3, 3, 9, 200, 1, 4, 4, 99] + [5, 6, 7] * 252)
    path = save(tmp_path / f"a.{suffix}", image)
    np.testing.assert_array_equal(files.read(path).array, np.moveaxis(np.asarray(image.convert("RGB")), -1, 0))
    np.testing.assert_array_equal(files.read_labels(path)[0], np.asarray(image))


@pytest.mark.parametrize("suffix", ["png", "gif", "bmp", "tif"])
def test_a_palette_of_greys_gives_its_greys(tmp_path: Path, suffix: str) -> None:
    image = Image.fromarray((GREY // 64).astype(np.uint8)).convert("P")
    image.putpalette([value for grey in range(256) for value in [255 - grey] * 3])
    path = save(tmp_path / f"a.{suffix}", image)
    np.testing.assert_array_equal(files.read(path).array[0], 255 - GREY // 64)
    np.testing.assert_array_equal(files.read_labels(path)[0], 255 - (GREY // 64).astype(int))


def test_an_unprotected_palette_that_is_nearly_grey_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.bmp", Image.fromarray(GREY))
    data = bytearray(path.read_bytes())
    data[54 + 4 * 100] ^= 64  # the blue of one of 256 greys
    path.write_bytes(data)
    with pytest.raises(FileError, match="1 of the 256 colours of its palette are not grey"):
        files.read(path)


@pytest.mark.parametrize("filtering", range(5))
@pytest.mark.parametrize("samples", [3, 4])
def test_png_colours_of_16_bits_are_not_cut_to_8(tmp_path: Path, filtering: int, samples: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (9, 7, samples)).astype(np.uint16)
    raw = np.frombuffer(pixels.astype(">u2").tobytes(), np.uint8).reshape(9, -1).astype(int)
    step = 2 * samples
    left = np.pad(raw, ((0, 0), (step, 0)))[:, : raw.shape[1]]
    above = np.pad(raw, ((1, 0), (0, 0)))[:-1]
    corner = np.pad(above, ((0, 0), (step, 0)))[:, : raw.shape[1]]
    distances = np.abs(np.stack([above - corner, left - corner, left + above - 2 * corner]))
    paeth = np.choose(distances.argmin(axis=0), [left, above, corner])  # ties: left, above, corner, as in the PNG text
    guess = [0 * raw, left, above, (left + above) // 2, paeth][filtering]
    lines = np.concatenate([np.full((9, 1), filtering), (raw - guess) % 256], axis=1).astype(np.uint8)
    path = tmp_path / "a.png"
    path.write_bytes(png(7, 9, 16, 2 if samples == 3 else 6, lines.tobytes()))
    np.testing.assert_array_equal(files.read(path).array, np.moveaxis(pixels[..., :3], -1, 0))


@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"progressive": True}, {"restart_marker_blocks": 2}])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_is_what_pillow_decodes(tmp_path: Path, mode: str, options: dict[str, Any]) -> None:
    path = save(tmp_path / "a.jpg", Image.fromarray(COLOUR).convert(mode), **options)
    with Image.open(path) as image:
        expected = np.atleast_3d(np.asarray(image.convert("RGB" if mode == "CMYK" else mode)))
    np.testing.assert_array_equal(files.read(path).array, np.moveaxis(expected, -1, 0))


@pytest.mark.parametrize("height", [16, 24, 64])
def test_jpeg_whose_size_contradicts_its_blocks_is_refused(tmp_path: Path, height: int) -> None:
    path = save(tmp_path / "a.jpg", Image.fromarray(COLOUR[:32, :48]))
    data = bytearray(path.read_bytes())
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 2] = struct.pack(">H", height)
    path.write_bytes(data)
    with Image.open(path) as image:
        assert np.asarray(image).shape == (height, 48, 3)  # Pillow takes any height without a word
    if height == 24:
        assert files.read(path).array.shape == (3, 24, 48)  # within the last block of 16: not detectable, as documented
    else:
        with pytest.raises(FileError, match="does not hold the blocks"):
            files.read(path)


def test_gif_and_bmp_are_what_pillow_decodes(tmp_path: Path) -> None:
    for suffix in ("gif", "bmp"):
        for image in (Image.fromarray(GREY), Image.fromarray(GREY > 120), Image.fromarray(COLOUR)):
            path = save(tmp_path / f"a.{suffix}", image)
            with Image.open(path) as stored:
                expected = np.asarray(stored.convert("RGB"))
            array = files.read(path).array
            np.testing.assert_array_equal(np.broadcast_to(array, (3, 37, 53)), np.moveaxis(expected, -1, 0))


@pytest.mark.parametrize("suffix", ["gif", "png"])
def test_an_animation_is_refused(tmp_path: Path, suffix: str) -> None:
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    path = save(tmp_path / f"a.{suffix}", frames[0], save_all=True, append_images=frames[1:])
    with pytest.raises(FileError, match="is an animation"):
        files.read(path)


def test_labels_are_whole_numbers_even_if_stored_as_equal_colours(tmp_path: Path) -> None:
    mask = np.uint8(255) * (GREY > 120)
    path = save(tmp_path / "a.png", Image.fromarray(np.stack([mask] * 3, axis=-1)))
    labels, geometry = files.read_labels(path)
    assert labels.dtype == np.int32
    assert geometry.shape == (37, 53)
    np.testing.assert_array_equal(labels, mask)
    np.save(tmp_path / "b.npy", np.zeros((2, 8, 9, 7)))
    with pytest.raises(FileError, match=r"; expected one label"):
        files.read_labels(tmp_path / "b.npy")


def test_labels_within_a_thousandth_are_rounded_and_others_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.array([[0.0, 0.99999997], [2.0004, 4.0]]))
    np.testing.assert_array_equal(files.read_labels(path)[0], [[0, 1], [2, 4]])
    for value, words in ((0.5, "has a label of 0.5"), (np.nan, "not finite"), (np.inf, "not finite"), (3e9, "32 bits")):
        np.save(path, np.array([[0.0, value]]))
        with pytest.raises(FileError, match=words):
            files.read_labels(path)


def test_an_image_may_hold_nan(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[0.0, np.nan]]))
    assert np.isnan(files.read(tmp_path / "a.npy").array[0, 0, 1])


@pytest.mark.parametrize("highest", [1, 255, 256, 65535])
def test_flat_labels_are_written_and_read_back(tmp_path: Path, highest: int) -> None:
    labels = (GREY > 120) * highest
    path = files.write_labels(tmp_path / "new", "a.b", labels, FLAT)
    assert path == tmp_path / "new" / "a.b.png"
    with Image.open(path) as image:
        assert image.mode == ("L" if highest < 256 else "I;16")
    np.testing.assert_array_equal(files.read_labels(path)[0], labels)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(("geometry", "suffix"), [(FLAT, ".tif"), (replace(FLAT, container="volume"), ".nii.gz")])
def test_numbers_beyond_16_bits_are_written_with_32_and_read_back(
    tmp_path: Path, geometry: Geometry, suffix: str
) -> None:
    numbers = 65_000 + np.arange(37 * 53).reshape(37, 53)
    path = files.write_labels(tmp_path, "a", numbers, geometry)
    assert path.name == f"a{suffix}"
    np.testing.assert_array_equal(files.read_labels(path)[0], numbers)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_flat_maps_are_written_and_read_back_exactly(tmp_path: Path, count: int) -> None:
    maps = np.random.default_rng(0).random((count, 37, 53), np.float32)
    path = files.write_map(tmp_path, "a", maps, FLAT)
    picture = files.read(path)
    assert path.name == "a.tif"
    assert picture.array.dtype == np.float32
    assert picture.geometry.shape == (37, 53)
    np.testing.assert_array_equal(picture.array, maps)


def test_labels_that_do_not_fit_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    for labels, words in (
        (np.zeros((2, 2), int), "expected that of its image"),
        (np.full((37, 53), -1), "from -1 to -1"),
        (np.full((37, 53), 1 << 24), "from 16777216"),
        (np.zeros((37, 53)), "expected whole numbers"),
    ):
        with pytest.raises(FileError, match=words):
            files.write_labels(tmp_path, "a", labels, FLAT)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "id", ["", "..", "../a", "a/b", "a\\b", "C:a", "nul", "COM1.x", "a.", "a ", "a\0", "x" * 201, "a\n"]
)
def test_an_id_that_is_no_safe_name_is_refused(tmp_path: Path, id: str) -> None:
    with pytest.raises(FileError, match="cannot be the name of a file"):
        files.write_labels(tmp_path / "in", id, GREY, FLAT)
    assert not list(tmp_path.rglob("*.png"))


def test_stems_and_names() -> None:
    assert files.stem_of("x/a.b.nii.gz") == "a.b"
    assert files.stem_of("a.PNG") == "a"
    assert files.stem_of("a.b.xyz") == "a.b"
    assert files.is_image_name("a.NII.GZ")
    assert not files.is_image_name("a.csv")
    assert not files.is_image_name(".a.png")


def test_addresses_reach_into_archives_only(tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", image=GREY, label=GREY > 120)
    assert files.parse_address("a/f.npz#label") == Address(Path("a/f.npz"), "label")
    np.testing.assert_array_equal(files.read_labels(f"{tmp_path}/f.npz#label")[0], GREY > 120)
    np.testing.assert_array_equal(files.read(Address(tmp_path / "f.npz", "image")).array[0], GREY)
    with pytest.raises(FileError, match=r"holds 2 arrays \(image, label\)"):
        files.read(tmp_path / "f.npz")
    with pytest.raises(FileError, match="holds no array of that name, only image, label"):
        files.read(tmp_path / "f.npz#mask")
    path = save(tmp_path / "a.png", Image.fromarray(GREY))
    with pytest.raises(FileError, match="is a PNG, which has no members"):
        files.read(Address(path, "label"))


def test_what_is_no_image_gets_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "none").mkdir()
    for name, words in (
        ("empty.png", "is empty"),
        ("text.png", "is of no format that can be read; expected PNG"),
        ("missing.png", "does not exist"),
        ("none", "holds no DICOM file"),
    ):
        with pytest.raises(FileError, match=words) as raised:
            files.read(tmp_path / name)
        assert str(raised.value).startswith(str(tmp_path / name))
        assert "\n" not in str(raised.value)


def test_a_name_does_not_decide_the_format(tmp_path: Path) -> None:
    save(tmp_path / "a.png", Image.fromarray(GREY), format="BMP")
    assert files.probe(tmp_path / "a.png").format == "BMP"


def test_limits_are_judged_before_anything_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(200_000, 200_000, 8, 2, b"no pixels at all"))
    start = time.perf_counter()
    with pytest.raises(
        FileError, match="asks for 200000 x 200000 pixels of 3 channels; expected at most 1,073,741,824"
    ):
        files.probe(path)
    with pytest.raises(FileError, match="asks for 120,000,"):
        files.read(path, limits=Limits(pixels=1 << 40))
    with pytest.raises(FileError, match="decompression bomb"):
        files.read(path, limits=Limits(pixels=1 << 40, bytes=1 << 40))
    with pytest.raises(FileError, match="expected at most 10"):
        files.read(path, limits=Limits(bytes=10))
    assert time.perf_counter() - start < 20  # 120 GB would take longer


def test_probe_reads_no_pixels(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(GREY))
    data = bytearray(path.read_bytes())
    data[-30] ^= 1  # within the pixels
    path.write_bytes(data)
    assert files.probe(path).shape == (37, 53)
    with pytest.raises(FileError, match="a checksum does not match"):
        files.read(path)


def test_every_sample_file_can_be_read_and_is_what_its_header_says(shared_data: Path) -> None:
    addresses = []
    for path in sorted(shared_data.rglob("*")):
        if files.is_image_name(path) and path.suffix == ".npz":
            addresses += [Address(path, member) for member in ("image", "label", "scribble")]
        elif path.is_file() and files.is_image_name(path):
            addresses.append(Address(path))
    assert len(addresses) > 1000
    seen = Counter[tuple[object, ...]]()
    for address in addresses:
        header = files.probe(address)
        kind = (address.path.parent, address.member, header.format, header.dtype, header.channels)
        seen[kind] += 1
        if seen[kind] > 2 and seen[kind] % 20:  # `measure_traits` and `check` read all of them, in other tests
            continue
        picture = files.read(address)
        assert picture.array.shape == (len(header.channels), *header.shape)
        assert (picture.array.dtype, picture.geometry.shape) == (header.dtype, header.shape)
        if "mask" in str(address) or "OTMultiClass" in str(address) or address.member in ("label", "scribble"):
            assert len(np.unique(files.read_labels(address)[0])) < 300


def test_sample_images_equal_what_pillow_reads(shared_data: Path) -> None:
    for path in [*shared_data.glob("drive/t*/*/*.png"), *shared_data.glob("kvasir-seg/images/*.jpg")]:
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            expected = np.atleast_3d(np.asarray(image))
        np.testing.assert_array_equal(files.read(path).array, np.moveaxis(expected, -1, 0))
