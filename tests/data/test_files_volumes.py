"""Volumes through the door: NIfTI against nibabel, TIFF against tifffile, arrays against NumPy."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from scantling.core.case import Geometry
from scantling.core.errors import FileError
from scantling.data import files
from scantling.data.files import Limits

pytestmark = pytest.mark.filterwarnings("error")

RNG = np.random.default_rng(3)
VOLUME = RNG.integers(-900, 900, (9, 8, 7)).astype(np.int16)
TURN = np.array([[0.8, 0.0, 0.6], [0.36, 0.8, -0.48], [-0.48, 0.6, 0.64]])
OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = TURN * [0.7, 0.9, 2.5]
OBLIQUE[:3, 3] = [-11.0, 7.0, 3.0]


def nifti(path: Path, array: np.ndarray, affine: np.ndarray | None = OBLIQUE, **fields: Any) -> Path:
    """Write `array` with nibabel, then set header fields."""
    image = nibabel.Nifti1Image(array, affine)
    if affine is not None:
        image.set_sform(affine, 1)
    for name, value in fields.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


def patch(path: Path, **fields: Any) -> Path:
    """Overwrite header fields of a plain NIfTI."""
    data = path.read_bytes()
    header = nibabel.Nifti1Header(data[:348], check=False)
    for name, value in fields.items():
        header[name] = value
    path.write_bytes(header.binaryblock + data[348:])
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("kind", ["u1", "i2", "u2", "i4", "f4", "f8", ">i2", ">f4"])
def test_nifti_is_what_nibabel_reads(tmp_path: Path, name: str, kind: str) -> None:
    path = nifti(tmp_path / name, np.abs(VOLUME // 4).astype(kind))
    expected = nibabel.load(path)
    picture = files.read(path)
    np.testing.assert_array_equal(picture.array[0], np.asarray(expected.dataobj))
    assert picture.array.dtype == np.dtype(kind).newbyteorder("=")
    assert (picture.geometry.container, picture.geometry.slice_axis) == ("volume", 2)
    np.testing.assert_allclose(picture.geometry.affine, expected.affine, atol=1e-5)
    np.testing.assert_allclose(picture.geometry.spacing, [0.7, 0.9, 2.5], rtol=1e-6)


def test_nifti_values_are_scaled(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    image = nibabel.Nifti1Image(VOLUME, OBLIQUE)
    image.header.set_slope_inter(0.25, -3)
    nibabel.save(image, path)
    patch(path, scl_slope=0.25, scl_inter=-3)
    picture = files.read(path)
    np.testing.assert_allclose(picture.array[0], nibabel.load(path).get_fdata(), rtol=1e-6)
    assert picture.array.dtype == files.probe(path).dtype == np.float32


def test_nifti_geometry_may_come_from_quaternions_and_other_units(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VOLUME, None)
    image.set_qform(OBLIQUE, 1)
    image.header.set_xyzt_units("micron")
    path = tmp_path / "a.nii"
    nibabel.save(image, path)
    geometry = files.read(path).geometry
    np.testing.assert_allclose(geometry.affine, np.diag([1e-3, 1e-3, 1e-3, 1]) @ OBLIQUE, atol=1e-7)
    np.testing.assert_allclose(geometry.spacing, [0.0007, 0.0009, 0.0025], rtol=1e-5)


def test_nifti_without_orientation_has_no_affine_and_gets_none(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(VOLUME, None)
    image.header.set_zooms((2.0, 3.0, 4.0))
    nibabel.save(image, tmp_path / "a.nii")
    geometry = files.read(tmp_path / "a.nii").geometry
    assert geometry.affine is None
    assert geometry.spacing == (2.0, 3.0, 4.0)
    written = nibabel.load(files.write_labels(tmp_path, "b", VOLUME > 0, geometry))
    assert written.header.get_zooms() == (2.0, 3.0, 4.0)
    assert (written.header["sform_code"], written.header["qform_code"]) == (0, 0)


def test_nifti_channels_come_from_the_last_axis_or_from_colours(tmp_path: Path) -> None:
    several = RNG.random((5, 4, 3, 2), np.float32)
    picture = files.read(nifti(tmp_path / "a.nii", several))
    np.testing.assert_array_equal(picture.array, np.moveaxis(several, -1, 0))
    assert picture.channels == ("0", "1")
    vector = files.read(nifti(tmp_path / "b.nii", several[:, :, :, None]))
    np.testing.assert_array_equal(vector.array, np.moveaxis(several, -1, 0))
    colours = RNG.integers(0, 255, (5, 4, 3, 3)).astype(np.uint8)
    stored = np.ascontiguousarray(colours).view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
    picture = files.read(nifti(tmp_path / "c.nii", stored))
    np.testing.assert_array_equal(picture.array, np.moveaxis(colours, -1, 0))
    with pytest.raises(FileError, match="expected three axes, and at most one of channels"):
        files.read(nifti(tmp_path / "d.nii", np.zeros((5, 4, 3, 2, 2), np.float32)))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_axes_of_length_one_leave_the_array_and_come_back(tmp_path: Path, axis: int) -> None:
    thin = VOLUME.take([0], axis=axis)
    path = nifti(tmp_path / "a.nii.gz", thin)
    picture = files.read(path)
    assert picture.array.shape == (1, *(n for a, n in enumerate(VOLUME.shape) if a != axis))
    assert picture.geometry.container == "volume"
    assert picture.geometry.stored == thin.shape
    labels = files.write_labels(tmp_path / "out", "a", picture.array[0] > 0, picture.geometry)
    np.testing.assert_array_equal(nibabel.load(labels).get_fdata(), thin > 0)
    np.testing.assert_allclose(nibabel.load(labels).affine, OBLIQUE, atol=1e-5)
    maps = RNG.random((3, *picture.geometry.shape), np.float32)
    written = files.write_map(tmp_path / "maps", "a", maps, picture.geometry)
    np.testing.assert_array_equal(files.read(written).array, maps)
    assert nibabel.load(written).shape == (*thin.shape, 3)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_volumes_are_written_and_read_back_with_their_geometry(tmp_path: Path, count: int) -> None:
    geometry = files.read(nifti(tmp_path / "a.nii", VOLUME)).geometry
    maps = RNG.random((count, *VOLUME.shape), np.float32)
    path = files.write_map(tmp_path, "maps", maps, geometry)
    picture = files.read(path)
    np.testing.assert_array_equal(picture.array, maps)
    np.testing.assert_allclose(picture.geometry.affine, geometry.affine, atol=1e-5)
    np.testing.assert_allclose(nibabel.load(path).get_qform(), OBLIQUE, atol=1e-5)
    for highest, kind in ((1, np.uint8), (300, np.uint16)):
        labels = (VOLUME > 0) * highest
        path = files.write_labels(tmp_path, "labels", labels, geometry)
        assert nibabel.load(path).get_data_dtype() == kind
        np.testing.assert_array_equal(files.read_labels(path)[0], labels)
        np.testing.assert_array_equal(nibabel.load(path).get_fdata(), labels)


def test_what_is_written_does_not_depend_on_the_clock(tmp_path: Path) -> None:
    geometry = Geometry(VOLUME.shape, (1.0, 1.0, 1.0), None, "volume", 2)
    written = files.write_labels(tmp_path, "a", VOLUME > 0, geometry).read_bytes()
    assert written[3:8] == bytes(5)  # no name, no time


def test_simpleitk_agrees_with_what_is_read_and_written(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is an extra")
    path = nifti(tmp_path / "a.nii.gz", VOLUME)
    image = sitk.ReadImage(str(path))
    sitk.WriteImage(image, str(tmp_path / "b.nii.gz"))
    picture = files.read(tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(picture.array[0].T, sitk.GetArrayFromImage(image))
    back = sitk.ReadImage(str(files.write_labels(tmp_path, "c", VOLUME > 0, picture.geometry)))
    np.testing.assert_allclose(back.GetDirection(), image.GetDirection(), atol=1e-6)
    np.testing.assert_allclose(back.GetOrigin(), image.GetOrigin(), atol=1e-5)
    np.testing.assert_allclose(back.GetSpacing(), image.GetSpacing(), rtol=1e-5)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"dim": [3, 9, 8, 6, 1, 1, 1, 1]}, "expected 1,216 for 9 x 8 x 6 voxels"),
        ({"dim": [3, 9, 8, 7, 1, 1, 1, 1], "vox_offset": 368}, "expected 1,376 for"),
        ({"datatype": 8}, "gives 16 bits to numbers of type 8"),
        ({"datatype": 32, "bitpix": 64}, "NIfTI type 32"),
        ({"pixdim": [1, 0.7, 1e9, 2.5, 1, 1, 1, 1]}, "its pixels are 0.7 x 1e[+]09 x 2.5 mm apart"),
        ({"pixdim": [1, 0.7, np.nan, 2.5, 1, 1, 1, 1]}, "nan"),
        ({"pixdim": [1, 0.7, 1.8, 2.5, 1, 1, 1, 1]}, "gives voxels of 0.7 x 1.8 x 2.5 mm but its affine 0.7 x 0.9"),
        ({"srow_x": [0, 0, 0, 0], "srow_y": [0, 0, 0, 0]}, "affine is not finite or singular"),
        ({"srow_x": [np.inf, 0, 0, 0]}, "affine is not finite or singular"),
        ({"scl_slope": np.inf}, "scales its values by inf"),
        ({"magic": b"ni1"}, "the header of a pair, and a.img does not lie beside it"),
        ({"magic": b""}, "ANALYZE 7.5, which does not say where left and right are"),
        ({"sizeof_hdr": 349}, "of no format"),
    ],
)
def test_a_nifti_header_that_makes_no_sense_is_refused(tmp_path: Path, fields: dict[str, Any], words: str) -> None:
    path = patch(nifti(tmp_path / "a.nii", VOLUME), **fields)
    with pytest.raises(FileError, match=words):
        files.read(path)


def test_a_damaged_or_longer_gzip_is_refused(tmp_path: Path) -> None:
    path = nifti(tmp_path / "a.nii.gz", VOLUME)
    good = path.read_bytes()
    for data, words in (
        (good[:-6], "holds"),
        (good[:-8] + b"\0\0\0\0" + good[-4:], "incorrect data check"),
        (gzip.compress(gzip.decompress(good) + b"more"), "holds more than"),
        (gzip.compress(gzip.decompress(good)[:-1]), "expected 1,360"),
    ):
        path.write_bytes(data)
        with pytest.raises(FileError, match=words):
            files.read(path)
    plain = gzip.decompress(good)
    path.write_bytes(gzip.compress(plain[:500]) + gzip.compress(plain[500:]) + bytes(512))
    np.testing.assert_array_equal(files.read(path).array[0], VOLUME)  # members in a row, zeros at the end


def test_a_gzip_bomb_is_stopped_at_the_size_that_its_header_declares(tmp_path: Path) -> None:
    plain = nifti(tmp_path / "a.nii", VOLUME).read_bytes()
    packer_input = plain + bytes(300 << 20)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(packer_input, 1))
    tracemalloc.start()
    with pytest.raises(FileError, match="holds more than 1,360 bytes when unpacked"):
        files.read(tmp_path / "a.nii.gz")
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()
    path = nifti(tmp_path / "b.nii.gz", np.zeros((400, 400, 400), np.uint8))
    with pytest.raises(FileError, match="decompression bomb"):
        files.read(path, limits=Limits(ratio=100))


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "1", "I;16", "F"])
def test_tiff_is_what_pillow_wrote(tmp_path: Path, mode: str, compression: str | None) -> None:
    colours = RNG.integers(0, 255, (61, 47, 4)).astype(np.uint8)
    colours[10:40] = 9  # long runs
    array: Any = {"L": colours[..., 0], "RGB": colours[..., :3], "RGBA": colours, "1": colours[..., 0] > 99}.get(mode)
    if array is None:
        array = (colours[..., 0] * 200.0).astype(np.uint16 if mode == "I;16" else np.float32)
    Image.fromarray(array).save(tmp_path / "a.tif", compression=compression)
    expected = np.atleast_3d(array * np.uint8(255) if mode == "1" else array)[..., :3]
    np.testing.assert_array_equal(files.read(tmp_path / "a.tif").array, np.moveaxis(expected, -1, 0))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zlib"},
        {"byteorder": ">"},
        {"bigtiff": True},
        {"tile": (16, 32), "compression": "zlib"},
        {"rowsperstrip": 5},
        {"metadata": None},
        {"description": "a word from the microscope"},
        {"ome": True, "metadata": {"axes": "ZYX"}},
        {"imagej": True, "metadata": {"axes": "ZYX"}},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
def test_tiff_stacks_are_what_tifffile_wrote(tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    stack = RNG.integers(0, 255, (5, 37, 53)).astype(kind)
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack", **options)
    picture = files.read(tmp_path / "a.tif")
    np.testing.assert_array_equal(picture.array, stack[None])
    assert (picture.geometry.container, picture.geometry.slice_axis) == ("volume", 0)


@pytest.mark.parametrize(
    ("axes", "options"),
    [
        ("ZCYX", {"imagej": True}),
        ("TCYX", {"imagej": True}),
        ("CZYX", {"ome": True}),
        ("ZCYX", {"ome": True}),
        ("CZYX", {}),
        ("ZCYX", {}),
    ],
)
def test_tiff_pages_are_channels_where_the_description_says_so(
    tmp_path: Path, axes: str, options: dict[str, Any]
) -> None:
    stack = RNG.integers(0, 999, (5, 2, 16, 17) if axes[1] == "C" else (2, 5, 16, 17)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", stack, metadata={"axes": axes}, photometric="minisblack", **options)
    expected = stack if axes[0] == "C" else np.moveaxis(stack, 1, 0)
    np.testing.assert_array_equal(files.read(tmp_path / "a.tif").array, expected)


def test_tiff_spacing_comes_from_imagej_and_ome(tmp_path: Path) -> None:
    stack = np.zeros((5, 16, 17), np.uint16)
    metadata = {"unit": "um", "spacing": 3.0, "axes": "ZYX"}
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, resolution=(2, 4), metadata=metadata)
    np.testing.assert_allclose(files.read(tmp_path / "a.tif").geometry.spacing, [0.003, 0.00025, 0.0005])
    metadata = {"axes": "ZYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25, "PhysicalSizeZ": 2}
    tifffile.imwrite(tmp_path / "b.tif", stack, ome=True, metadata=metadata)
    np.testing.assert_allclose(files.read(tmp_path / "b.tif").geometry.spacing, [0.002, 0.00025, 0.0005])


@pytest.mark.parametrize(("kind", "predictor"), [("f4", 3), ("u1", 2), ("u2", 2)])
def test_tiff_differences_are_summed(tmp_path: Path, kind: str, predictor: int) -> None:
    image = (RNG.random((37, 53)) * 250).astype(kind)
    Image.fromarray(image).save(tmp_path / "a.tif", compression="tiff_lzw", tiffinfo={317: predictor})
    with tifffile.TiffFile(tmp_path / "a.tif") as stored:
        assert stored.pages[0].tags[317].value == predictor
    np.testing.assert_array_equal(files.read(tmp_path / "a.tif").array[0], image)


def test_tiff_pages_of_different_sizes_are_refused(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(np.zeros((8, 9), np.uint8))
        writer.write(np.zeros((8, 10), np.uint8))
    with pytest.raises(FileError, match="page 2 is 10 x 8 pixels of uint8, but page 1 9 x 8"):
        files.read(tmp_path / "a.tif")


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["?", "u1", ">i2", "f2", "f8"])
@pytest.mark.parametrize("shape", [(6, 5), (4, 6, 5), (2, 4, 6, 5)])
def test_arrays_are_what_numpy_wrote(tmp_path: Path, shape: tuple[int, ...], kind: str, order: str) -> None:
    array = np.asarray(RNG.integers(0, 2, shape).astype(kind), order=order)  # type: ignore[call-overload]
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "b.npz", array)
    np.savez_compressed(tmp_path / "c.npz", x=array)
    for name in ("a.npy", "b.npz", "c.npz"):
        picture = files.read(tmp_path / name)
        np.testing.assert_array_equal(picture.array, array if len(shape) == 4 else array[None])
        assert picture.geometry.container == ("raster" if len(shape) == 2 else "volume")
        assert files.probe(tmp_path / name).shape == shape[-3:] if len(shape) > 2 else shape


def test_arrays_of_colours_and_single_slices_are_flat(tmp_path: Path) -> None:
    colours = RNG.integers(0, 255, (6, 5, 4)).astype(np.uint8)
    np.save(tmp_path / "a.npy", colours)
    np.testing.assert_array_equal(files.read(tmp_path / "a.npy").array, np.moveaxis(colours[..., :3], -1, 0))
    np.save(tmp_path / "b.npy", colours[None, :, :, 0].astype(float))
    geometry = files.read(tmp_path / "b.npy").geometry
    assert (geometry.shape, geometry.stored, geometry.container) == ((6, 5), (1, 6, 5), "volume")
    path = files.write_labels(tmp_path, "c", colours[..., 0] > 9, geometry)
    assert files.read_labels(path)[1].shape == (6, 5)


def test_arrays_that_are_no_images_are_refused(tmp_path: Path) -> None:
    for array, words in (
        (np.array([[{}]]), "holds no plain numbers"),
        (np.zeros((2, 2), [("a", "f4")]), "holds no plain numbers"),
        (np.zeros((2, 2), complex), "holds numbers of type <c16"),
        (np.zeros(4), "expected two to four axes"),
        (np.zeros((2, 0)), "expected two to four axes"),
    ):
        np.save(tmp_path / "a.npy", array)
        with pytest.raises(FileError, match=words):
            files.read(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", np.zeros((4, 4)))
    data = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(data[:-1])
    with pytest.raises(FileError, match=r"holds 127 bytes of numbers; expected 128 for the shape \(4, 4\)"):
        files.read(tmp_path / "a.npy")
