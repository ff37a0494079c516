"""`scantling.mend`: the mask that the command writes, in the type and the shape that came in."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
import torch
from monai.data.meta_tensor import MetaTensor

import scantling
from scantling.core.errors import ArrayError, SettingsError
from scantling.inference import mend_folder

AFFINE = np.array([[0, 0, -1.5, 9], [0.8, 0, 0, -4], [0, 0.7, 0, 2], [0, 0, 0, 1]])
"""Axes anterior, superior, left: turned when it is read."""


def tube(*shape: int) -> np.ndarray:
    """A bright bar with a faint gap in it, along the last axis."""
    map_ = np.full(shape, 0.02, np.float32)
    middle = tuple(slice(length // 2 - 1, length // 2 + 2) for length in shape[:-1])
    map_[middle] = 0.9
    map_[(*middle, slice(shape[-1] // 2 - 1, shape[-1] // 2 + 1))] = 0.35
    return map_


@pytest.mark.parametrize("rule", ["hysteresis", "both"])
def test_a_volume_of_any_package_is_mended_as_its_file_and_comes_back_as_it_was(tmp_path: Path, rule: str) -> None:
    image = nib.Nifti1Image(tube(9, 10, 16), AFFINE)
    image.to_filename(tmp_path / "a.nii.gz")
    mend_folder(tmp_path / "a.nii.gz", tmp_path / "out", {"rule": rule, "iterations": 5})
    file = nib.Nifti1Image.from_filename(tmp_path / "out" / "a.nii.gz")
    expected = np.asarray(file.dataobj) > 0
    assert expected[4, 5].all()
    by_nibabel = scantling.mend(image, rule=rule, iterations=5)
    assert np.array_equal(np.asarray(by_nibabel.dataobj), expected)
    assert np.array_equal(by_nibabel.affine, AFFINE)
    read = SimpleITK.ReadImage(str(tmp_path / "a.nii.gz"))
    by_itk = scantling.mend(read, rule=rule, iterations=5)
    assert np.array_equal(SimpleITK.GetArrayFromImage(by_itk).transpose(2, 1, 0), expected)
    assert (by_itk.GetSpacing(), by_itk.GetDirection()) == (read.GetSpacing(), read.GetDirection())
    by_monai = scantling.mend(
        MetaTensor(torch.from_numpy(tube(9, 10, 16))[None], affine=AFFINE), rule=rule, iterations=5
    )
    assert isinstance(by_monai, MetaTensor)
    assert np.array_equal(by_monai[0].numpy(), expected)


def test_arrays_come_back_as_they_were() -> None:
    map_ = tube(9, 20)
    mask = scantling.mend(map_, rule="hysteresis")
    assert (type(mask), mask.dtype, mask.shape) == (np.ndarray, np.uint8, (9, 20))
    assert mask.sum() == 3 * 20
    for shape in ((1, 9, 20), (1, 1, 9, 20)):
        given = torch.from_numpy(map_).reshape(shape)
        back = scantling.mend(given, spatial_dims=len(shape) - 1, rule="hysteresis")
        assert isinstance(back, torch.Tensor)
        assert back.shape == shape
        assert np.array_equal(back.reshape(9, 20).numpy(), mask)


def test_a_volume_is_not_taken_for_classes() -> None:
    volume = tube(9, 10, 16)
    with pytest.raises(ArrayError, match=r"a volume \(spatial_dims=3\), or a 2-D image of 9 classes"):
        scantling.mend(volume)
    whole = scantling.mend(volume, spatial_dims=3, rule="hysteresis")
    assert whole.shape == volume.shape
    slices = scantling.mend(0.5 * volume, spatial_dims=2, rule="hysteresis", high=0.4, low=0.1)
    assert slices.shape == volume.shape


def test_what_is_no_probability_is_refused_with_the_argument() -> None:
    map_ = tube(9, 20)
    for wrong in (map_ * 255, map_ - 1, np.where(map_ > 0.5, 1.0, 0.0), np.where(map_ > 0.5, np.nan, 0.1)):
        with pytest.raises(ArrayError, match="expected"):
            scantling.mend(wrong)
    with pytest.raises(ArrayError, match=r"the first is the background; leave it out: probability\[1:\]"):
        scantling.mend(np.stack([1 - map_, map_]), spatial_dims=2)
    with pytest.raises(SettingsError, match=r"^rule: found 'none'"):
        scantling.mend(map_, rule="none")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=r"low threshold 0\.8 is above the high one"):
        scantling.mend(map_, low=0.8)
