"""Pixels that are no numbers lie outside of the image, or the image is refused."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from scantling.core.case import Address, Case
from scantling.core.errors import FileError
from scantling.data.dataset import open_dataset
from scantling.data.files import read_labels
from scantling.data.integrity import check
from scantling.data.loading import load
from scantling.inference.prediction import predict
from scantling.training.options import Options
from scantling.training.training import train

SHAPE = (16, 16, 8)


def case_of(path: Path, **rest: object) -> Case:
    return Case(id="a", subject="a", images={"image": Address(path)}, **rest)  # type: ignore[arg-type]


def saved(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, array)
    else:
        nib.save(nib.Nifti1Image(array, np.eye(4)), path)
    return path


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_volume_without_numbers_around_it_is_read_with_the_least_value_there(
    tmp_path: Path, value: float, dtype: type
) -> None:
    array = np.random.default_rng(0).uniform(5, 9, SHAPE).astype(dtype)
    array[:3] = value
    array[8, 8, 4] = value  # a hole, as skull stripping leaves
    sample = load(case_of(saved(tmp_path / "a.nii.gz", array)))
    outside = ~np.isfinite(array)
    assert sample.outside is not None
    assert sample.region is not None
    assert (sample.outside == outside).all()
    assert (sample.region == ~outside).all()
    assert (sample.image[0][outside] == array[~outside].min()).all()
    assert (sample.image[0][~outside] == array[~outside]).all()


def test_an_existing_region_is_cut(tmp_path: Path) -> None:
    array = np.ones(SHAPE, np.float32)
    array[0] = np.nan
    array[1, 0, 0] = 3.0
    inside = np.zeros(SHAPE, np.uint8)
    inside[:8] = 1
    region = Address(saved(tmp_path / "r.nii.gz", inside))
    sample = load(case_of(saved(tmp_path / "a.nii.gz", array), region=region))
    assert sample.region is not None
    assert sample.region[1:8].all()
    assert not sample.region[0].any()
    assert not sample.region[8:].any()


def test_a_frame_of_a_picture_is_outside_and_holes_in_it_are_damage(tmp_path: Path) -> None:
    array = np.random.default_rng(1).normal(size=(12, 10)).astype(np.float32)
    array[:2], array[:, -1] = np.nan, np.inf
    sample = load(case_of(saved(tmp_path / "a.npy", array)))
    assert sample.outside is not None
    assert sample.outside.sum() == 2 * 10 + 10
    array[6, 5] = np.nan
    with pytest.raises(FileError, match="31 of 120 values are NaN or infinite and lie inside the image"):
        load(case_of(saved(tmp_path / "b.npy", array)))


def test_one_channel_without_a_number_is_enough_and_an_image_without_any_is_refused(tmp_path: Path) -> None:
    array = np.ones((3, *SHAPE), np.float32)
    array[1, :2], array[2, -1] = np.nan, np.nan
    channels = {name: Address(saved(tmp_path / f"{name}.nii.gz", one)) for name, one in zip("abc", array, strict=True)}
    sample = load(Case(id="a", subject="a", images=channels))
    assert sample.outside is not None
    assert sample.outside.sum() == 3 * 16 * 8
    assert np.isfinite(sample.image).all()
    with pytest.raises(FileError, match="so that no pixel is left"):
        load(case_of(saved(tmp_path / "d.nii.gz", np.full(SHAPE, np.nan, np.float32))))


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scans")
    for number in range(4):
        generator = np.random.default_rng(number)
        mask = np.zeros(SHAPE, np.uint8)
        mask[6:11, 5:10, 2:6] = 1
        image = (generator.normal(size=SHAPE) + 3 * mask).astype(np.float32)
        image[:3] = np.nan
        saved(root / f"images/v{number}.nii.gz", image)
        saved(root / f"masks/v{number}.nii.gz", mask)
    return root


def test_check_counts_them(scans: Path) -> None:
    found = [finding for finding in check(open_dataset(scans)).findings if finding.kind == "not finite"]
    assert [finding.level for finding in found] == ["note"]
    assert len(found[0].cases) == 4
    assert f"{4 * 3 * 16 * 8:,} pixels" in found[0].sentence


def test_a_training_on_them_ends_and_the_answers_are_0_there(scans: Path, tmp_path: Path) -> None:
    widths = {"patch": [16, 16, 8], "widths": [4, 8]}
    train("unet", [scans], tmp_path / "run", Options(preset="tiny", steps=2, validation=0, settings=widths))
    done = predict(tmp_path / "run", scans, out=tmp_path / "p", split="all", probabilities=True)
    assert not done.failed
    assert len(done.cases) == 4
    for number in range(4):
        mask, _ = read_labels(tmp_path / f"p/v{number}.nii.gz")
        map_ = np.asarray(nib.load(tmp_path / f"p/probabilities/v{number}.nii.gz").dataobj)
        assert not mask[:3].any()
        assert not map_[:3].any()
        assert np.isfinite(map_).all()
        assert map_[3:].all()
