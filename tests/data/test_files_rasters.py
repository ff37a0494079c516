"""Raster formats by library: what each holds is read as another library reads it, and damage is one typed error."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from scantling.core.errors import FileError
from scantling.data import files

pytestmark = pytest.mark.filterwarnings("error")

DOWN, ACROSS = np.mgrid[:45, :61]
GREY = (120 + 60 * np.sin(DOWN / 7) + 50 * np.cos(ACROSS / 9)).astype(np.uint8)
COLOUR = np.stack([GREY, GREY[::-1], 255 - GREY], axis=-1)
DEEP = COLOUR.astype(np.uint16) * 257
REAL = GREY / np.float32(7)
TEXT = " ".join(map(str, GREY.flat))


def pillow(array: np.ndarray, format: str, **options: Any) -> bytes:
    """A file that Pillow writes."""
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, format, **options)
    return stream.getvalue()


def tiff(array: np.ndarray, **options: Any) -> bytes:
    """A file that tifffile writes."""
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, **options)
    return stream.getvalue()


def read(folder: Path, data: bytes, name: str = "a.bin") -> np.ndarray:
    """The array of a file with these bytes, channels last; its header says the same without decoding."""
    path = folder / name
    path.write_bytes(data)
    header, picture = files.probe(path), files.read(path)
    assert picture.array.shape == (len(header.channels), *header.shape)
    assert picture.array.dtype == header.dtype
    guarded = files.read(path, untrusted=True)
    np.testing.assert_array_equal(guarded.array, picture.array)
    assert guarded.geometry == picture.geometry
    return picture.array[0] if len(picture.array) == 1 else np.moveaxis(picture.array, 0, -1)


LOSSLESS = {
    "PNG 16 bits in colour": (imagecodecs.png_encode(DEEP), DEEP),
    "JPEG 2000": (pillow(COLOUR, "JPEG2000"), COLOUR),
    "JPEG 2000 tiles, bare": (pillow(GREY, "JPEG2000", no_jp2=True, tile_size=(32, 32)), GREY),
    "JPEG 2000 12 bits": (
        imagecodecs.jpeg2k_encode(GREY.astype(np.uint16) * 16, bitspersample=12, level=0),
        GREY.astype(int) * 16,
    ),
    "WebP": (pillow(COLOUR, "WEBP", lossless=True), COLOUR),
    "WebP with alpha": (pillow(np.dstack([COLOUR, GREY | 1]), "WEBP", lossless=True, exact=True), COLOUR),
    "PGM": (pillow(GREY, "PPM"), GREY),
    "PPM": (pillow(COLOUR, "PPM"), COLOUR),
    "PBM": (pillow(GREY > 120, "PPM"), np.uint8(255) * (GREY > 120)),
    "PGM 16 bits": (b"P5\n61 45\n65535\n" + DEEP[..., 0].astype(">u2").tobytes(), DEEP[..., 0]),
    "PGM as text": (f"P2 # grey\n61 45\n#\n255\n{TEXT}\n".encode(), GREY),
    "TIFF zstd": (tiff(DEEP, compression="zstd", predictor=True), DEEP),
    "TIFF LZW of differences": (tiff(COLOUR, compression="lzw", predictor=True), COLOUR),
    "TIFF LZMA": (tiff(GREY, compression="lzma"), GREY),
    "TIFF PackBits": (tiff(GREY, compression="packbits", rowsperstrip=7), GREY),
    "TIFF real differences": (tiff(REAL, compression="zlib", predictor=3), REAL),
    "TIFF real differences, tiles": (tiff(REAL, compression="lzw", predictor=3, tile=(16, 32)), REAL),
    "TIFF JPEG 2000": (tiff(GREY, compression="jpeg2000"), GREY),
    "TIFF JPEG 2000 tiles": (tiff(COLOUR, compression="jpeg2000", tile=(32, 32), photometric="rgb"), COLOUR),
    "TIFF WebP": (tiff(COLOUR, compression="webp", compressionargs={"level": 100, "lossless": True}), COLOUR),
    "TIFF planes": (
        tiff(np.moveaxis(COLOUR, -1, 0), planarconfig="separate", photometric="rgb", compression="zlib"),
        COLOUR,
    ),
    "TIFF with alpha": (tiff(np.dstack([GREY, 255 - GREY]), extrasamples=["unassalpha"], photometric=1), GREY),
    "TIFF big-endian": (tiff(DEEP, byteorder=">", compression="zlib", predictor=True), DEEP),
    "BigTIFF": (tiff(GREY, bigtiff=True, compression="zlib", tile=(16, 16)), GREY),
    "TIFF group 3": (pillow(GREY > 120, "TIFF", compression="group3"), np.uint8(255) * (GREY > 120)),
    "TIFF group 4": (pillow(GREY > 120, "TIFF", compression="group4"), np.uint8(255) * (GREY > 120)),
}


@pytest.mark.parametrize("kind", LOSSLESS)
def test_lossless_files_hold_what_another_library_wrote(tmp_path: Path, kind: str) -> None:
    data, expected = LOSSLESS[kind]
    found = read(tmp_path, data)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("options", [{}, {"tile": (32, 32)}, {"rowsperstrip": 16}])
@pytest.mark.parametrize("array", [GREY, COLOUR], ids=["grey", "colour"])
def test_a_tiff_of_jpegs_is_what_tifffile_reads(tmp_path: Path, array: np.ndarray, options: dict[str, Any]) -> None:
    data = tiff(array, compression="jpeg", photometric="minisblack" if array.ndim == 2 else "rgb", **options)
    found = read(tmp_path, data)
    np.testing.assert_array_equal(found, tifffile.imread(io.BytesIO(data)))
    assert np.abs(found.astype(int) - array).mean() < 4


def test_a_tiff_of_jpegs_in_luminance_and_chroma_is_read_as_colours(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(COLOUR).convert("YCbCr").save(stream, "TIFF", compression="jpeg", quality=95)
    with tifffile.TiffFile(io.BytesIO(stream.getvalue())) as file:
        assert file.pages[0].photometric == 6  # YCbCr
    found = read(tmp_path, stream.getvalue())
    assert np.abs(found.astype(int) - COLOUR).mean() < 4


def test_of_a_pyramid_the_full_resolution_is_read(tmp_path: Path) -> None:
    large = np.repeat(np.repeat(GREY, 4, 0), 4, 1)
    for number, subifds in enumerate((True, False)):
        path = tmp_path / f"{number}.tif"
        with tifffile.TiffWriter(path, ome=subifds) as writer:
            writer.write(large, tile=(64, 64), compression="zlib", subifds=2 if subifds else None)
            for step in (2, 4):  # as tools for slides do it: in pages below the image, or in pages of their own
                writer.write(large[::step, ::step], tile=(64, 64), compression="zlib", subfiletype=int(subifds))
        np.testing.assert_array_equal(files.read(path).array[0], large)


def test_ome_channels_and_slices_and_their_spacing(tmp_path: Path) -> None:
    pages = np.random.default_rng(0).integers(0, 999, (3, 2, 45, 61), np.uint16)
    names = {"axes": "ZCYX", "PhysicalSizeX": 250.0, "PhysicalSizeXUnit": "nm"}
    names |= {"PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "µm", "PhysicalSizeZ": 0.001, "PhysicalSizeZUnit": "mm"}
    tifffile.imwrite(tmp_path / "a.ome.tif", pages, ome=True, metadata=names)
    picture = files.read(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(picture.array, np.moveaxis(pages, 1, 0))
    assert picture.geometry.unit == "mm"
    assert picture.geometry.spacing == pytest.approx((1e-3, 5e-4, 2.5e-4))


@pytest.mark.parametrize(
    ("resolution", "unit", "spacing"),
    [
        ((20000, 40000), "CENTIMETER", (2.5e-4, 5e-4)),
        ((50800, 25400), "INCH", (1e-3, 5e-4)),
        ((25.4, 25.4), "INCH", (1.0, 1.0)),
        *(((dpi, dpi), "INCH", None) for dpi in (1, 72, 96, 150, 300, 600, 1200)),
        ((118.11, 118.11), "CENTIMETER", None),
        ((28.35, 28.35), "CENTIMETER", None),
        ((20000, 40000), "NONE", None),
    ],
)
@pytest.mark.parametrize("described", [False, True])
def test_a_tiff_resolution_is_a_spacing_unless_it_is_a_density_of_print(
    tmp_path: Path, resolution: tuple[float, float], unit: str, spacing: tuple[float, float] | None, described: object
) -> None:
    described = {} if described else None
    tifffile.imwrite(tmp_path / "a.tif", GREY, resolution=resolution, resolutionunit=unit, metadata=described)
    geometry = files.probe(tmp_path / "a.tif").geometry
    assert geometry.unit == ("mm" if spacing else "pixel")
    assert geometry.spacing == pytest.approx(spacing or (1.0, 1.0), rel=1e-3)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_a_density_of_another_picture_is_no_spacing(tmp_path: Path, format: str) -> None:
    (tmp_path / "a").write_bytes(pillow(GREY, format, dpi=(25400, 25400)))
    assert files.probe(tmp_path / "a").geometry.unit == "pixel"


@pytest.mark.parametrize(("highest", "dtype"), [(3, np.uint8), (300, np.uint16)])
def test_labels_in_a_pgm_are_not_stretched_to_full_scale(tmp_path: Path, highest: int, dtype: type) -> None:
    labels = (GREY.astype(int) % (highest + 1)).astype(dtype)
    data = labels.astype(">u2" if highest > 255 else "u1").tobytes()
    (tmp_path / "a.pgm").write_bytes(b"P5 61 45 %d\n" % highest + data)
    np.testing.assert_array_equal(files.read_labels(tmp_path / "a.pgm")[0], labels)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_indices_of_a_png_palette_of_any_depth(tmp_path: Path, depth: int) -> None:
    indices = (GREY.astype(int) % (1 << depth)).astype(np.uint8)
    image = Image.fromarray(indices).convert("P")
    colours = [value for index in range(1 << depth) for value in (index, 255 - index, 7)]
    image.putpalette(colours)
    image.save(tmp_path / "a.png", bits=depth)
    assert (tmp_path / "a.png").read_bytes()[24] == depth
    np.testing.assert_array_equal(files.read_labels(tmp_path / "a.png")[0], indices)
    expected = np.array(colours, np.uint8).reshape(-1, 3)[indices]
    np.testing.assert_array_equal(np.moveaxis(files.read(tmp_path / "a.png").array, 0, -1), expected)


@pytest.mark.parametrize("kind", ["JPEG 2000", "WebP", "PGM", "PPM", "PBM", "TIFF zstd", "TIFF JPEG 2000", "BigTIFF"])
def test_every_truncation_is_refused(tmp_path: Path, kind: str) -> None:
    data, path = LOSSLESS[kind][0], tmp_path / "a"
    cuts = [*range(1, len(data) - 32, len(data) // 20), *range(len(data) - 32, len(data) - 2)]
    for length in cuts:
        path.write_bytes(data[:length])
        with pytest.raises(FileError):
            files.read(path)


@pytest.mark.parametrize(("tag", "value"), [(256, 60), (257, 44), (257, 90), (256, 4_000_000), (258, 16), (277, 3)])
@pytest.mark.parametrize("kind", ["none", "zlib", "lzw", "zstd", "packbits", "lzma"])
def test_a_tiff_whose_size_contradicts_its_bytes_is_refused(tmp_path: Path, kind: str, tag: int, value: int) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY, compression=None if kind == "none" else kind, metadata=None)
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages[0].tags[tag].overwrite(value)
    with pytest.raises(FileError):
        files.read(path)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"P5 0 45 255\n", "0 x 45"),
        (b"P5 61 45 255\n" + bytes(10), "expected 2,745 for 61 x 45"),
        (b"P5 61 45 99999\n" + bytes(2745), "up to 99999"),
        (b"P5 61 45 7\n" + bytes([9]) * 2745, "holds the value 9; expected at most 7"),
        (b"P2 2 2 7\n1 2 3 4 5", "holds 5 numbers; expected 4"),
        (b"P6 900000000 900000000 255\n", "for 900000000 x 900000000"),
        (pillow(GREY, "JPEG2000")[:-2], "."),
        (pillow(COLOUR, "WEBP")[:-40], "."),
        (b"RIFF\x04\0\0\0WEBP", "."),
    ],
)
def test_a_damaged_header_gets_one_sentence(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(FileError, match=words) as raised:
        files.read(tmp_path / "a")
    assert "\n" not in str(raised.value)


def test_a_jpeg_2000_of_more_tiles_than_it_holds_is_refused_at_once(tmp_path: Path) -> None:
    data = bytearray(pillow(GREY, "JPEG2000", no_jp2=True, tile_size=(32, 32)))
    data[8:12] = struct.pack(">I", 1 << 30)  # the width: 2^25 tiles beside each other
    (tmp_path / "a").write_bytes(data)
    start = time.perf_counter()
    with pytest.raises(FileError, match="tiles"):
        files.read(tmp_path / "a")
    assert time.perf_counter() - start < 20


@pytest.mark.parametrize("compression", ["jpeg", "jpeg2000", "webp"])
def test_a_piece_of_a_tiff_that_says_that_it_is_larger_is_refused_before_it_is_decoded(
    tmp_path: Path, compression: str
) -> None:
    data = tiff(COLOUR, compression=compression, photometric="rgb", metadata=None)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        offset, count = file.pages[0].dataoffsets[0], file.pages[0].databytecounts[0]
    large = tiff(np.zeros((4000, 4000, 3), np.uint8), compression=compression, photometric="rgb", metadata=None)
    with tifffile.TiffFile(io.BytesIO(large)) as file:
        piece = large[file.pages[0].dataoffsets[0] :][: file.pages[0].databytecounts[0]]
    (tmp_path / "a.tif").write_bytes(data[:offset] + piece[:count].ljust(count, b"\0") + data[offset + count :])
    with pytest.raises(FileError):
        files.read(tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "b.tif", COLOUR, compression=compression, photometric="rgb", metadata=None)
    with tifffile.TiffFile(tmp_path / "b.tif", mode="r+b") as file:
        file.pages[0].tags[256].overwrite(40)
    with pytest.raises(FileError, match=r"piece 1 of a page is 61 x 45 pixels; expected at most 40 x 45"):
        files.read(tmp_path / "b.tif")


def test_an_animated_webp_is_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(COLOUR), Image.fromarray(255 - COLOUR)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:])
    with pytest.raises(FileError, match="is an animation"):
        files.read(tmp_path / "a.webp")


def test_an_unsupported_compression_is_named(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", GREY, metadata=None)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as file:
        file.pages[0].tags[259].overwrite(6)
    with pytest.raises(FileError, match="unsupported TIFF compression 6"):
        files.probe(tmp_path / "a.tif")


def test_a_damaged_private_tag_costs_nothing_and_a_damaged_description_of_a_stack_the_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stack = np.stack([GREY] * 6).reshape(2, 3, *GREY.shape)
    for tag, kept in ((50000, True), (270, False)):
        data = bytearray(tiff(stack, imagej=True, extratags=[(50000, "I", 8, tuple(range(8)), True)]))
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            at = file.pages[0].tags[tag].offset
        data[at + 8 : at + 12] = struct.pack("<I", 1 << 30)  # where its values lie
        (tmp_path / "a.tif").write_bytes(data)
        if kept:
            assert files.read(tmp_path / "a.tif").array.shape == (3, 2, 45, 61)
        else:
            with pytest.raises(FileError, match="tags contradict each other"):
                files.read(tmp_path / "a.tif")
    assert capfd.readouterr().err == ""


def test_what_tifffile_logs_of_a_damaged_file_is_not_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tifffile.imwrite(tmp_path / "a.tif", GREY, metadata=None, rowsperstrip=5)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as file:
        file.pages[0].tags[278].overwrite(7)
    with pytest.raises(FileError, match="its pixels take 2,135 bytes; expected 2,745"):
        files.read(tmp_path / "a.tif")
    assert capfd.readouterr().err == ""


@pytest.mark.skipif(sys.platform == "win32", reason="peaks of memory are read from resource")
def test_a_large_png_is_decoded_into_its_own_size(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((6000, 6000), np.uint8)).save(tmp_path / "a.png", compress_level=1)
    script = (
        "import resource, sys\n"
        "from scantling.data import files\n"
        "files.read(sys.argv[2])\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "files.probe(sys.argv[1])\n"
        "files.read(sys.argv[1])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    Image.fromarray(GREY).save(tmp_path / "small.png")
    command = [sys.executable, "-c", script, str(tmp_path / "a.png"), str(tmp_path / "small.png")]
    peak = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert peak * (1 if sys.platform == "darwin" else 1024) < 1.3 * 6000**2
