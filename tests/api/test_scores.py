"""`scantling.score`: the values of `evaluate` for arrays and images of other packages, and no silent reading."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
import torch

import scantling
from scantling.core.errors import ArrayError, DataError, SettingsError
from scantling.evaluation import evaluate, scores_of_arrays

AFFINE = np.array([[0, 0, -1.5, 9], [0.8, 0, 0, -4], [0, 0.7, 0, 2], [0, 0, 0, 1]])
"""Axes anterior, superior, left: turned when it is read."""


def masks(*shape: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two overlapping sets of smooth blobs, bool."""
    noise = torch.rand((2, 1, *shape), generator=torch.Generator().manual_seed(seed))
    noise[1] = 0.7 * noise[0] + 0.3 * noise[1]
    pool = torch.nn.functional.avg_pool2d if len(shape) == 2 else torch.nn.functional.avg_pool3d
    found, true = (pool(noise, 5, 1, 2, count_include_pad=False)[:, 0] > 0.51).numpy()
    return found, true


def written(scores: Any) -> dict[str, float]:
    (case,) = scores.cases
    return {name: value for name, value in case.scores.mean.items() if not math.isnan(value)}


def defined(scores: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in scores.items() if not math.isnan(value)}


def test_an_array_has_the_scores_that_evaluate_gives_its_file(tmp_path: Path) -> None:
    found, true = masks(40, 51)
    probability = np.where(found, 0.9, 0.2).astype(np.float32) - 0.1 * true
    for name, array in (("found", found), ("true", true)):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "a.npy", array.astype(np.uint8))
    (tmp_path / "maps").mkdir()
    np.save(tmp_path / "maps" / "a.npy", probability)
    expected = written(evaluate(tmp_path / "found", tmp_path / "true", probabilities=tmp_path / "maps"))
    scores = scantling.score(found, true, probability=probability)
    assert {"dice", "hd95", "cldice", "auc", "ece"} <= expected.keys()
    assert defined(scores) == expected


def test_a_volume_of_any_package_has_the_scores_of_its_file(tmp_path: Path) -> None:
    import torchio

    found, true = masks(9, 14, 11)
    volumes = {name: nib.Nifti1Image(array.astype(np.uint8), AFFINE) for name, array in (("f", found), ("t", true))}
    for name, volume in volumes.items():
        (tmp_path / name).mkdir()
        volume.to_filename(tmp_path / name / "a.nii.gz")
    expected = written(evaluate(tmp_path / "f", tmp_path / "t"))
    assert expected["hd95"] > 0
    by_itk = [SimpleITK.ReadImage(str(tmp_path / name / "a.nii.gz")) for name in ("f", "t")]
    by_torchio = [torchio.LabelMap(tmp_path / name / "a.nii.gz") for name in ("f", "t")]
    for pair in ((volumes["f"], volumes["t"]), by_itk, by_torchio, (found, volumes["t"])):
        assert defined(scantling.score(*pair)) == pytest.approx(expected, rel=1e-6)
    assert scantling.score(found, true, spatial_dims=3, spacing=(0.8, 0.7, 1.5))["assd"] == pytest.approx(
        expected["assd"], rel=1e-6
    )


def test_a_shape_with_two_readings_has_to_be_said() -> None:
    found, true = masks(20, 24)
    expected = scantling.score(found, true)
    for shape in ((1, 20, 24), (1, 1, 20, 24)):
        with pytest.raises(ArrayError, match="say"):
            scantling.score(found.reshape(shape), true.reshape(shape))
    assert scantling.score(
        torch.from_numpy(found)[None], torch.from_numpy(true)[None], spatial_dims=2
    ) == pytest.approx(expected, nan_ok=True)
    with pytest.raises(ArrayError, match="spatial_dims=2; expected"):
        scantling.score(found[None, None], true[None, None], spatial_dims=2)


@pytest.mark.parametrize("name", ["prediction", "truth"])
def test_masks_of_0_and_255_and_probabilities_are_refused(name: str) -> None:
    found, true = masks(20, 24)
    for wrong in (true * np.uint8(255), true * 0.7, np.where(true, np.nan, 0), -1.0 * true):
        pair = {"prediction": found, "truth": true, name: wrong}
        with pytest.raises(ArrayError, match=f"{name}: found the values"):
            scantling.score(**pair)


def test_what_is_declared_unknown_does_not_count() -> None:
    found, true = masks(20, 24)
    unknown = true.astype(np.int64)
    unknown[:, :8] = -1
    scores = scantling.score(found, unknown, ignore_index=-1, metrics=["dice", "accuracy"])
    assert scores == pytest.approx(scantling.score(found[:, 8:], true[:, 8:], metrics=["dice", "accuracy"]))


def test_classes_annotators_and_samples_are_those_of_the_arrays() -> None:
    draw = np.random.default_rng(0)
    found, *true = draw.integers(0, 3, (3, 12, 14)).astype(np.uint8)
    samples = list(draw.integers(0, 3, (4, 12, 14)).astype(np.uint8))
    expected = scores_of_arrays(
        found[None], true[0][None], classes=["1", "2"], others=[true[1][None]],
        samples=[each[None] for each in samples], metrics=None,
    )  # fmt: skip
    scores = scantling.score(found, true[0], annotators=[true[1]], samples=samples)
    assert defined(scores) == defined(dict(expected.mean))
    assert "ged" in defined(scores)
    channels = [np.stack([each == 1, each == 2]) for each in (found, true[0])]
    alone = scantling.score(*channels, spatial_dims=2)
    assert alone["dice"] == pytest.approx(scores["dice"])
    # numbers with a gap between them are no further classes
    assert scantling.score(found * 5, true[0] * 5)["accuracy"] == pytest.approx(alone["accuracy"])


def test_what_cannot_be_scored_is_said() -> None:
    found, true = masks(20, 24)
    with pytest.raises(SettingsError, match="metrics: found 'dize'"):
        scantling.score(found, true, metrics=["dize"])
    with pytest.raises(DataError, match="auc needs probability maps"):
        scantling.score(found, true, metrics=["auc"])
    with pytest.raises(DataError, match="does not fit truth"):
        scantling.score(found[:-1], true)
    with pytest.raises(ArrayError, match="expected 0 to 1"):
        scantling.score(found, true, probability=5.0 * found)
