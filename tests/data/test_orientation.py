"""Volumes are turned to right, anterior, superior when they are read, and back when they are written."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import aff2axcodes, axcodes2ornt, io_orientation, ornt_transform

from scantling.core.case import Geometry
from scantling.data import files
from scantling.data.displacements import read_displacement, write_displacement
from scantling.data.orientation import as_stored, canonical, nearest, stored_geometry, turned, turned_rows

RNG = np.random.default_rng(0)
VOLUME = RNG.integers(0, 999, (5, 6, 7)).astype(np.int16)
ROTATION = np.array([[0.8, 0.0, 0.6], [0.36, 0.8, -0.48], [-0.48, 0.6, 0.64]])
STRAIGHT, OBLIQUE = np.eye(4), np.eye(4)
STRAIGHT[:3] = [[0.7, 0, 0, -11], [0, 0.9, 0, 7], [0, 0, 2.5, 3]]
OBLIQUE[:3, :3], OBLIQUE[:3, 3] = ROTATION * [0.7, 0.9, 2.5], (-11, 7, 3)
CODES = [
    "".join(pair[end] for pair, end in zip(pairs, ends, strict=True))
    for pairs in permutations(("RL", "AP", "SI"))
    for ends in product((0, 1), repeat=3)
]


def stored_as(image: nib.Nifti1Image, codes: str) -> nib.Nifti1Image:
    """The same image with its axes in another orientation, by nibabel."""
    return image.as_reoriented(ornt_transform(io_orientation(image.affine), axcodes2ornt(tuple(codes))))


def save(path: Path, array: np.ndarray, codes: str, affine: np.ndarray = STRAIGHT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(stored_as(nib.Nifti1Image(array, affine), codes), path)
    return path


@pytest.mark.parametrize("affine", [STRAIGHT, OBLIQUE], ids=["straight", "oblique"])
def test_a_volume_is_the_same_in_all_48_orientations_and_goes_back_to_its_own(
    tmp_path: Path, affine: np.ndarray
) -> None:
    assert len(set(CODES)) == 48
    plain = files.read(save(tmp_path / "plain.nii", VOLUME, "RAS", affine))
    assert plain.geometry.orientation is None
    for codes in CODES:
        path = save(tmp_path / f"{codes}.nii", VOLUME, codes, affine)
        own = nib.load(path)
        assert "".join(aff2axcodes(own.affine)) == codes
        picture = files.read(path)
        np.testing.assert_array_equal(picture.array[0], VOLUME)
        np.testing.assert_allclose(picture.geometry.affine, affine, atol=1e-5)
        np.testing.assert_allclose(picture.geometry.spacing, [0.7, 0.9, 2.5], rtol=1e-6)
        assert files.probe(path).shape == picture.geometry.shape == VOLUME.shape
        assert picture.geometry.slice_axis == 2
        written = nib.load(files.write_labels(tmp_path / "out", codes, picture.array[0], picture.geometry))
        np.testing.assert_array_equal(written.get_fdata(), own.get_fdata())
        np.testing.assert_array_equal(written.affine, own.affine)
        maps = RNG.random((2, *VOLUME.shape), np.float32)
        image = files.write_image(tmp_path / "images", codes, maps, picture.geometry)
        np.testing.assert_array_equal(files.read(image).array, maps)
        np.testing.assert_array_equal(nib.load(image).affine, own.affine)


@pytest.mark.parametrize("codes", ["LAS", "PSR", "SLA"])
def test_another_process_and_simpleitk_turn_a_volume_alike(tmp_path: Path, codes: str) -> None:
    path = save(tmp_path / "a.nii.gz", VOLUME, codes, OBLIQUE)
    here, there = files.read(path), files.read(path, untrusted=True)
    np.testing.assert_array_equal(here.array, there.array)
    np.testing.assert_array_equal(here.geometry.affine, there.geometry.affine)
    assert files.probe(path, untrusted=True).shape == here.geometry.shape
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
    image = sitk.DICOMOrient(sitk.ReadImage(str(path)), "RAS")  # named after where its axes lead to
    np.testing.assert_array_equal(here.array[0].T, sitk.GetArrayFromImage(image))
    origin = image.TransformIndexToPhysicalPoint((0, 0, 0))
    np.testing.assert_allclose(here.geometry.affine[:3, 3], np.array(origin) * [-1, -1, 1], atol=1e-4)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_single_slice_is_turned_in_space_before_its_axis_is_left_out(tmp_path: Path, axis: int) -> None:
    thin = VOLUME.take([2], axis=axis)
    for codes in CODES:
        path = save(tmp_path / f"{codes}.nii", thin, codes, OBLIQUE)
        picture = files.read(path)
        np.testing.assert_array_equal(picture.array[0], thin.squeeze())
        assert picture.geometry.stored == (nib.load(path).shape if codes != "RAS" else thin.shape)
        written = nib.load(files.write_labels(tmp_path / "out", codes, picture.array[0], picture.geometry))
        np.testing.assert_array_equal(written.get_fdata(), nib.load(path).get_fdata())
        np.testing.assert_array_equal(written.affine, nib.load(path).affine)


def test_what_has_no_affine_is_not_turned(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(VOLUME, None), tmp_path / "a.nii")
    np.save(tmp_path / "b.npy", VOLUME)
    for name in ("a.nii", "b.npy"):
        picture = files.read(tmp_path / name)
        np.testing.assert_array_equal(picture.array[0], VOLUME)
        assert picture.geometry.orientation is None


def test_a_volume_halfway_between_two_orientations_is_turned_to_the_same() -> None:
    half = np.eye(4)
    half[:2, :2] = np.array([[1, -1], [1, 1]]) / np.sqrt(2)
    found = []
    for codes in CODES:
        target = ornt_transform(axcodes2ornt(("R", "A", "S")), axcodes2ornt(tuple(codes)))
        stored = half @ nib.orientations.inv_ornt_aff(target, (1, 1, 1))
        axes, flips = nearest(stored)
        found.append(stored[:3, list(axes)] * np.where(flips, -1, 1))
    np.testing.assert_allclose(found, np.broadcast_to(found[0], (48, 3, 3)), atol=1e-9)


def test_the_nearest_orientation_is_that_of_nibabel() -> None:
    for seed in range(50):
        rng = np.random.default_rng(seed)
        small = np.linalg.qr(np.eye(3) + 0.25 * rng.normal(size=(3, 3)))[0]
        affine = np.eye(4)
        affine[:3, :3] = small[:, rng.permutation(3)] * rng.choice([-1, 1], 3) * rng.uniform(0.5, 3, 3)
        axes, flips = nearest(affine)
        theirs = io_orientation(affine)
        assert [int(theirs[axis, 0]) for axis in axes] == [0, 1, 2]
        assert [bool(theirs[axis, 1] < 0) for axis in axes] == list(flips)


@pytest.mark.parametrize("codes", ["RAS", "LAS", "SPL", "PIR"])
def test_boxes_and_points_mark_the_same_voxels_after_the_turn(tmp_path: Path, codes: str) -> None:
    path = save(tmp_path / "a.nii", VOLUME, codes)
    own, picture = np.asarray(nib.load(path).dataobj), files.read(path)
    shape = np.array(own.shape)
    points = np.stack([RNG.integers(0, length, 8) for length in shape], axis=1)
    low = points // 2
    boxes = np.stack([low, np.minimum(low + 2, shape)], axis=-1)
    for kind, rows in (("points", points), ("boxes", boxes)):
        there = turned_rows(rows, picture.geometry, kind)  # type: ignore[arg-type]
        np.testing.assert_array_equal(turned_rows(there, picture.geometry, kind, back=True), rows)  # type: ignore[arg-type]
    for before, after in zip(points, turned_rows(points, picture.geometry, "points"), strict=True):
        assert own[tuple(before)] == picture.array[0][tuple(after)]
    for before, after in zip(boxes, turned_rows(boxes, picture.geometry, "boxes"), strict=True):
        one, other = (
            array[tuple(slice(*ends) for ends in box)] for array, box in ((own, before), (picture.array[0], after))
        )
        assert sorted(one.ravel()) == sorted(other.ravel())


def test_slices_are_stacked_along_the_coarsest_axis_or_else_upwards(tmp_path: Path) -> None:
    for spacing, axis in (((1, 1, 3), 2), ((3, 1, 1), 0), ((1, 1.5, 1), 1), ((1, 1.4, 1), 2), ((1, 1, 1), 2)):
        for codes in ("RAS", "PIL", "SLA"):
            path = save(tmp_path / "a.nii", VOLUME, codes, np.diag([*spacing, 1]))
            assert files.read(path).geometry.slice_axis == axis


def test_the_turn_and_its_way_back_are_each_others_inverse(tmp_path: Path) -> None:
    geometry = files.read(save(tmp_path / "a.nii", VOLUME, "SPL", OBLIQUE)).geometry
    array = RNG.random((2, *geometry.shape))
    np.testing.assert_array_equal(turned(as_stored(array, geometry), geometry), array)
    again = canonical(stored_geometry(geometry))
    np.testing.assert_array_equal(again.affine, geometry.affine)
    assert (again.shape, again.spacing, again.slice_axis) == (geometry.shape, geometry.spacing, geometry.slice_axis)
    raster = Geometry((5, 6), (1.0, 1.0), OBLIQUE)
    assert canonical(raster) is raster


@pytest.mark.parametrize("axis", [None, 0, 1, 2], ids=["volume", "sagittal", "coronal", "axial"])
@pytest.mark.parametrize("codes", ["LAS", "SPL", "PIR"])
def test_a_displacement_is_turned_with_its_vectors(tmp_path: Path, codes: str, axis: int | None) -> None:
    array = VOLUME if axis is None else VOLUME.take([2], axis=axis)
    plain = files.read(save(tmp_path / "plain.nii", array, "RAS")).geometry
    geometry = files.read(save(tmp_path / "a.nii", array, codes)).geometry
    wanted = RNG.normal(0, 2, (len(geometry.shape), *geometry.shape))
    path = write_displacement(tmp_path / "d", "a", wanted, geometry)
    np.testing.assert_allclose(read_displacement(path, geometry), wanted, atol=1e-5)
    written = nib.load(path)
    if axis not in (None, 2):  # across the body: along the axes of the file, see the module
        spot = (slice(None), *turned_rows(np.array([[1, 2]]), geometry, "points")[0])
        step = turned_rows(np.array([[1, 2], [2, 2]]), geometry, "points")
        along = wanted[spot] @ (step[1] - step[0]) * stored_geometry(geometry).spacing[0]
        spots = np.squeeze(written.get_fdata())
        np.testing.assert_allclose(spots[1, 2, 0], along, atol=1e-4)
        return
    np.testing.assert_allclose(written.affine, nib.load(tmp_path / "a.nii").affine)
    other = nib.load(write_displacement(tmp_path / "d", "plain", wanted, plain))
    # the same vector at the same place in the world
    for index in np.ndindex(plain.shape):
        whole = index if axis is None else (*index, 0)
        there = np.linalg.inv(written.affine) @ other.affine @ [*whole, 1]
        np.testing.assert_allclose(
            other.get_fdata()[tuple(whole)], written.get_fdata()[tuple(there[:3].round().astype(int))], atol=1e-5
        )
