"""How volumes say where they lie: NIfTI's two affines, sizes of 0, shears; pairs, MGH, NRRD and MetaImage."""

from __future__ import annotations

import gzip
import sys
import time
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

import stored
from data.test_files_volumes import OBLIQUE, VOLUME, nifti, patch
from scantling.core.case import Address
from scantling.core.errors import FileError
from scantling.data import files
from scantling.data.dataset import file_hashes, open_dataset
from scantling.data.integrity import check

pytestmark = pytest.mark.filterwarnings("error")

RNG = np.random.default_rng(4)


def two_affines(path: Path, shift: float) -> Path:
    """A NIfTI whose qform lies `shift` mm beside its sform."""
    image = nibabel.Nifti1Image(VOLUME, OBLIQUE)
    moved = OBLIQUE.copy()
    moved[0, 3] += shift
    image.set_sform(OBLIQUE, 1)
    image.set_qform(moved, 1)
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize(("shift", "remark"), [(0.0, ""), (0.01, ""), (5.0, "qform")])
def test_the_sform_counts_and_a_qform_that_disagrees_is_told(tmp_path: Path, shift: float, remark: str) -> None:
    (tmp_path / "images").mkdir()
    path = two_affines(tmp_path / "images" / "a.nii.gz", shift)
    geometry = stored.read(path).geometry
    np.testing.assert_allclose(geometry.affine, OBLIQUE, atol=1e-5)
    assert geometry.remark == stored.read(path, untrusted=True).geometry.remark == remark
    told = [finding.sentence for finding in check(open_dataset(tmp_path)).findings if finding.kind == "qform"]
    assert told == (["1 case (a) whose qform and sform disagree; the sform is used"] if remark else [])


def test_a_qform_without_an_sform_counts(tmp_path: Path) -> None:
    path = patch(two_affines(tmp_path / "a.nii", 5.0), sform_code=0)
    assert stored.read(path).geometry.affine[0, 3] == pytest.approx(OBLIQUE[0, 3] + 5)


@pytest.mark.parametrize("pixdim", [[1, 0, 0, 0, 1, 1, 1, 1], [1, 0.7, 0, 2.5, 1, 1, 1, 1]])
def test_a_voxel_size_of_zero_is_taken_from_the_affine_or_is_unknown(tmp_path: Path, pixdim: list[float]) -> None:
    path = patch(nifti(tmp_path / "a.nii", VOLUME), pixdim=pixdim)
    geometry = stored.read(path).geometry
    assert geometry.spacing == pytest.approx((0.7, 0.9, 2.5))
    assert geometry.unit == "mm"
    for codes in ({"sform_code": 0}, {"sform_code": 0, "qform_code": 1}):
        geometry = stored.read(patch(path, **{"qform_code": 0, **codes})).geometry
        assert (geometry.unit, geometry.spacing, geometry.affine) == ("pixel", (1.0, 1.0, 1.0), None)


def test_ones_without_a_unit_or_an_affine_are_no_spacing(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(VOLUME, None), tmp_path / "a.nii")
    assert stored.probe(tmp_path / "a.nii").geometry.unit == "pixel"
    image = nibabel.Nifti1Image(VOLUME, None)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, tmp_path / "b.nii")
    assert stored.probe(tmp_path / "b.nii").geometry.unit == "mm"


@pytest.mark.parametrize(("degrees", "sheared"), [(0.0, False), (0.8, False), (1.2, True), (-15.0, True)])
def test_a_sheared_affine_is_refused_with_its_angle(tmp_path: Path, degrees: float, sheared: bool) -> None:
    affine = OBLIQUE.copy()
    angle = np.radians(90 - degrees)
    affine[:3, 1] = np.cos(angle) * affine[:3, 0] / 0.7 * 0.9 + np.sin(angle) * affine[:3, 1]
    path = nifti(tmp_path / "a.nii", VOLUME, None)
    patch(path, **dict(zip(("srow_x", "srow_y", "srow_z"), affine, strict=False)), sform_code=1)
    patch(path, pixdim=[1, 0.7, 0.9, 2.5, 1, 1, 1, 1])
    if not sheared:
        np.testing.assert_allclose(stored.read(path).geometry.affine, affine, atol=1e-5)
        return
    with pytest.raises(FileError, match=f"axes 1 and 2 meet at {90 - degrees:.1f} degrees.*expected 90 degrees"):
        stored.read(path)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("image", [nibabel.Nifti1Pair, nibabel.Nifti2Pair])
def test_a_pair_of_files_is_what_nibabel_reads(tmp_path: Path, image: Any, packed: bool) -> None:
    nibabel.save(image(VOLUME, OBLIQUE), tmp_path / "a.img")
    if packed:
        data = (tmp_path / "a.img").read_bytes()
        (tmp_path / "a.img.gz").write_bytes(gzip.compress(data))
        (tmp_path / "a.img").unlink()
    picture = stored.read(tmp_path / "a.hdr")
    np.testing.assert_array_equal(picture.array[0], VOLUME)
    np.testing.assert_allclose(picture.geometry.affine, OBLIQUE, atol=1e-5)
    found = open_dataset(tmp_path)
    assert [case.id for case in found.cases] == ["a"]
    assert not [remark for remark in found.remarks if remark.kind == "unused files"]
    assert len(file_hashes(found)) == 2


def test_half_of_a_pair_says_which_half_is_missing(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Pair(VOLUME, OBLIQUE), tmp_path / "a.img")
    with pytest.raises(FileError, match=r"holds the voxels of another file; name a.hdr"):
        stored.read(tmp_path / "a.img")
    whole = (tmp_path / "a.img").read_bytes()
    (tmp_path / "a.img").write_bytes(whole[:-2])
    with pytest.raises(FileError, match=r"holds 1,006 bytes in a.img; expected 1,008"):
        stored.probe(tmp_path / "a.hdr")
    (tmp_path / "a.img").unlink()
    with pytest.raises(FileError, match=r"a.img does not lie beside it"):
        stored.probe(tmp_path / "a.hdr")
    nibabel.save(nibabel.AnalyzeImage(VOLUME, np.eye(4)), tmp_path / "b.img")
    with pytest.raises(FileError, match=r"ANALYZE 7.5"):
        stored.probe(tmp_path / "b.hdr")


@pytest.mark.parametrize("name", ["a.mgh", "a.mgz"])
@pytest.mark.parametrize("kind", ["u1", "i2", "i4", "f4"])
@pytest.mark.parametrize("channels", [1, 3])
def test_mgh_is_what_nibabel_reads(tmp_path: Path, name: str, kind: str, channels: int) -> None:
    array = RNG.integers(0, 99, (5, 6, 7, channels)).astype(kind)
    nibabel.save(nibabel.MGHImage(array if channels > 1 else array[..., 0], OBLIQUE), tmp_path / name)
    picture = stored.read(tmp_path / name)
    np.testing.assert_array_equal(picture.array, np.moveaxis(array, -1, 0))
    assert picture.array.dtype == stored.probe(tmp_path / name).dtype == kind
    np.testing.assert_allclose(picture.geometry.affine, OBLIQUE, atol=1e-5)
    assert picture.geometry.spacing == pytest.approx((0.7, 0.9, 2.5))


@pytest.mark.parametrize("name", ["a.mgz", "a.nii.gz"])
def test_a_header_that_asks_for_countless_channels_is_refused_at_once(tmp_path: Path, name: str) -> None:
    if name == "a.mgz":
        head = nibabel.MGHImage(np.zeros((2, 2, 2, 3), "u1"), np.eye(4)).to_bytes()
        head = head[:16] + (2**30).to_bytes(4, "big") + head[20:]
    else:
        head = bytearray(nibabel.Nifti2Image(np.zeros((2, 2, 2, 3), "u1"), np.eye(4)).to_bytes())
        head[48:56] = (2**40).to_bytes(8, "little")
    (tmp_path / name).write_bytes(gzip.compress(bytes(head)))
    start = time.perf_counter()
    with pytest.raises(FileError, match="channels, expected at most 65,536"):
        stored.probe(tmp_path / name)
    assert time.perf_counter() - start < 20


def itk(path: Path, array: np.ndarray, *, packed: bool = False, vector: bool = False) -> Any:
    """Write an array with SimpleITK; its image."""
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is an extra")
    image = sitk.GetImageFromArray(array, isVector=vector)
    if image.GetDimension() == 3:
        image.SetSpacing((0.7, 0.9, 2.5))
        image.SetOrigin((3.0, -4.0, 5.0))
        image.SetDirection([0.0, -0.8, 0.6, 1.0, 0.0, 0.0, 0.0, 0.6, 0.8])
    sitk.WriteImage(image, str(path), packed)
    return image


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["a.nrrd", "a.nhdr", "a.mha", "a.mhd"])
@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4", "i8", "f4", "f8"])
def test_nrrd_and_metaimage_are_what_simpleitk_wrote(tmp_path: Path, name: str, kind: str, packed: bool) -> None:
    array = RNG.integers(0, 99, (5, 6, 7)).astype(kind)
    image = itk(tmp_path / name, array, packed=packed)
    picture = stored.read(tmp_path / name)
    np.testing.assert_array_equal(picture.array[0], array.T)
    assert picture.array.dtype == stored.probe(tmp_path / name).dtype == kind
    index = (4, 2, 1)
    world = np.array(image.TransformIndexToPhysicalPoint(index)) * [-1, -1, 1]
    np.testing.assert_allclose((picture.geometry.affine @ [*index, 1])[:3], world, atol=1e-5)
    assert picture.geometry.spacing == pytest.approx((0.7, 0.9, 2.5))
    assert [case.id for case in open_dataset(tmp_path).cases] == ["a"]
    written = nibabel.load(files.write_labels(tmp_path, "b", picture.array[0] > 40, picture.geometry))
    np.testing.assert_allclose(written.affine, picture.geometry.affine, atol=1e-5)


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
def test_vectors_and_flat_images_of_itk_are_read(tmp_path: Path, name: str) -> None:
    several = RNG.random((5, 6, 7, 2)).astype("f4")
    itk(tmp_path / name, several, vector=True)
    np.testing.assert_array_equal(stored.read(tmp_path / name).array, several.transpose(3, 2, 1, 0))
    colours = RNG.integers(0, 255, (6, 7, 3)).astype("u1")
    itk(tmp_path / name, colours, vector=True)
    picture = stored.read(tmp_path / name)
    np.testing.assert_array_equal(picture.array, colours.transpose(2, 1, 0))
    assert picture.channels == ("red", "green", "blue")
    flat = RNG.integers(0, 255, (6, 7)).astype("u1")
    itk(tmp_path / name, flat)
    picture = stored.read(tmp_path / name)
    np.testing.assert_array_equal(picture.array[0], flat.T)
    assert picture.geometry.stored == (7, 6, 1)


def test_a_header_without_spacing_has_pixels_of_unknown_size(tmp_path: Path) -> None:
    pytest.importorskip("SimpleITK", reason="SimpleITK is an extra")
    text = b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 4 3 2\nencoding: raw\n\n"
    (tmp_path / "a.nrrd").write_bytes(text + bytes(range(24)))
    picture = stored.read(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(picture.array[0], np.arange(24).reshape(2, 3, 4).T)
    assert (picture.geometry.unit, picture.geometry.affine) == ("pixel", None)
    meta = b"ObjectType = Image\nNDims = 3\nDimSize = 4 3 2\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
    (tmp_path / "a.mha").write_bytes(meta + bytes(range(24)))
    picture = stored.read(tmp_path / "a.mha")
    np.testing.assert_array_equal(picture.array[0], np.arange(24).reshape(2, 3, 4).T)
    assert (picture.geometry.unit, picture.geometry.affine) == ("pixel", None)


@pytest.mark.parametrize("place", ["../b.raw", "/etc/passwd", "LIST", "sub/b.raw", "b%d.raw 0 5 1"])
def test_voxels_outside_the_folder_are_not_read(tmp_path: Path, place: str) -> None:
    meta = f"ObjectType = Image\nNDims = 3\nDimSize = 4 3 2\nElementType = MET_UCHAR\nElementDataFile = {place}\n"
    text = f"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 4 3 2\nencoding: raw\ndata file: {place}\n"
    inner = tmp_path / "in"
    (inner / "sub").mkdir(parents=True)
    for path in (tmp_path / "b.raw", inner / "sub" / "b.raw", inner / "b0.raw"):
        path.write_bytes(bytes(24))
    for name, header in (("a.mhd", meta), ("a.nhdr", text)):
        (inner / name).write_text(header)
        with pytest.raises(FileError, match="expected one file in the same folder"):
            stored.read(inner / name)


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
def test_sizes_that_the_voxels_contradict_are_refused(tmp_path: Path, name: str) -> None:
    array = RNG.integers(0, 99, (5, 6, 7)).astype("u1")
    for packed in (False, True):
        itk(tmp_path / name, array, packed=packed)
        data = (tmp_path / name).read_bytes()
        for damaged in (data.replace(b"7 6 5", b"7 6 4", 1), data.replace(b"7 6 5", b"7 6 9", 1), data[:-9]):
            assert damaged != data
            (tmp_path / name).write_bytes(damaged)
            with pytest.raises(FileError, match=r"damaged|decoded"):
                stored.read(tmp_path / name)


def test_without_simpleitk_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    itk(tmp_path / "a.nrrd", VOLUME)
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(FileError, match=r'not installed; install it: pip install "scantling\[itk\]"'):
        files.inspected(Address(tmp_path / "a.nrrd"), files.Limits())
