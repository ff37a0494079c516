"""Displacements in files, against what the definition says and against ITK."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from scantling.core.case import Geometry
from scantling.core.errors import FileError
from scantling.data.displacements import millimetres, read_displacement, write_displacement

TURN = np.eye(4)  # a rotation about an oblique axis, mirrored, with a spacing for each axis (ITK takes no shear)
TURN[:3, :3] = np.linalg.qr(np.array([[1.0, -1.2, 0.3], [0.9, 0.1, 0.4], [0.2, 0.2, 2.5]]))[0] @ np.diag(
    [0.9, 1.2, 2.5]
)
TURN[:3, 3] = 4, -7, 11
VOLUME = Geometry((4, 5, 6), tuple(np.linalg.norm(TURN[:3, :3], axis=0)), TURN, "volume", 2)
GRIDS = {
    "volume": VOLUME,
    "volume without an affine": Geometry((4, 5, 6), (2.0, 0.5, 0.7), None, "volume"),
    "raster": Geometry((4, 6), (2.0, 0.5)),
    "slice": Geometry((4, 6), (1.5, 0.5), None, "volume", 0, (4, 6, 1)),
    "slice across": Geometry((4, 6), (1.5, 0.5), TURN[:, [1, 2, 0, 3]], "volume", 0, (1, 4, 6)),
}


def vectors(geometry: Geometry) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 2, (len(geometry.shape), *geometry.shape))


@pytest.mark.parametrize("name", GRIDS)
def test_what_is_written_is_read_back(tmp_path: Path, name: str) -> None:
    wanted = vectors(GRIDS[name])
    path = write_displacement(tmp_path, "a", wanted, GRIDS[name])
    np.testing.assert_allclose(read_displacement(path, GRIDS[name]), wanted, atol=1e-5)


def test_the_header_has_five_axes_and_the_intent_of_vectors_and_the_components_are_lps(tmp_path: Path) -> None:
    pixels = vectors(VOLUME)
    image = nib.load(write_displacement(tmp_path, "a", pixels, VOLUME))
    assert isinstance(image, nib.Nifti1Image)
    assert image.shape == (4, 5, 6, 1, 3)
    assert int(image.header["intent_code"]) == 1007
    np.testing.assert_allclose(image.affine, TURN, atol=1e-5)
    # from the definition: where the voxel and the point that it is sent to lie in the world, in RAS
    at = np.array([1, 2, 3])
    sent = at + pixels[:, 1, 2, 3]
    ras = (TURN @ [*sent, 1] - TURN @ [*at, 1])[:3]
    np.testing.assert_allclose(image.get_fdata()[1, 2, 3, 0], ras * [-1, -1, 1], atol=1e-5)


@pytest.mark.parametrize("name", GRIDS)
def test_itk_reads_the_vectors_where_they_lie(tmp_path: Path, name: str) -> None:
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
    geometry = GRIDS[name]
    pixels = vectors(geometry)
    field = sitk.ReadImage(str(write_displacement(tmp_path, "a", pixels, geometry)))
    dimensions, raster = len(geometry.shape), geometry.container == "raster"
    assert field.GetDimension() == field.GetNumberOfComponentsPerPixel() == dimensions
    at = (1, 2, 3)[:dimensions]
    index, sent = np.array(at), np.array(at) + pixels[(slice(None), *at)]
    if raster:
        index, sent = index[::-1], sent[::-1]
    start = np.array(field.TransformIndexToPhysicalPoint([int(i) for i in index]))
    end = np.array(field.TransformContinuousIndexToPhysicalPoint([float(i) for i in sent]))
    np.testing.assert_allclose(field[tuple(int(i) for i in index)], end - start, atol=1e-4)
    if not raster and dimensions == 3 and geometry.affine is not None:
        np.testing.assert_allclose(start, (TURN @ [*at, 1])[:3] * [-1, -1, 1], atol=1e-4)


def test_a_field_of_another_image_is_refused(tmp_path: Path) -> None:
    path = write_displacement(tmp_path, "a", vectors(VOLUME), VOLUME)
    with pytest.raises(FileError, match="3 components on 4 x 5 x 6 pixels; expected 2 on 4 x 6"):
        read_displacement(path, GRIDS["raster"])
    with pytest.raises(FileError, match="displacement of shape"):
        write_displacement(tmp_path, "b", vectors(VOLUME)[:2], VOLUME)
    broken = vectors(VOLUME)
    broken[0, 0, 0, 0] = np.nan
    with pytest.raises(FileError, match="not finite"):
        read_displacement(write_displacement(tmp_path, "c", broken, VOLUME), VOLUME)


def test_millimetres_are_the_spacing_along_each_axis() -> None:
    for geometry in GRIDS.values():
        np.testing.assert_allclose(np.linalg.norm(millimetres(geometry), axis=0), geometry.spacing)
