"""Whatever values masks hold, a class trains, is predicted with those values and evaluated, or is refused at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from scantling.core.errors import ScantlingError
from scantling.data.dataset import open_dataset
from scantling.data.files import read_labels
from scantling.data.integrity import check
from scantling.evaluation.folders import evaluate
from scantling.inference import predict
from scantling.records.run import run_facts
from scantling.training import Options, train

BRIEF = Options(preset="tiny", steps=2, validation=0)
COLOURS = np.array([[255, 255, 255], [255, 0, 0], [0, 0, 200]], np.uint8)


def classes_of(seed: int, shape: tuple[int, ...] = (32, 32)) -> np.ndarray:
    """A mask of 0, 1 and 2: two boxes."""
    mask = np.zeros(shape, np.uint8)
    y, x = np.random.default_rng(seed).integers(4, 8, 2)
    mask[y : y + 9, x : x + 8], mask[y + 12 : y + 18, x : x + 12] = 1, 2
    return mask


def written(root: Path, values: np.ndarray, *, number: int = 6, suffix: str = ".png") -> Path:
    """A dataset whose masks have `values` (or colours) for background and two classes."""
    for seed in range(number):
        folder = root / ("train" if seed < number - 2 else "test")
        classes = classes_of(seed, (32, 32) if suffix != ".nii.gz" else (32, 32, 4))
        image = (40 + 70 * classes + np.random.default_rng(seed).integers(0, 20, classes.shape)).astype(np.uint8)
        for kind, array in (("images", image), ("masks", values[classes])):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            path = folder / kind / f"c{seed}{suffix}"
            if suffix == ".nii.gz":
                nib.save(nib.Nifti1Image(array, np.eye(4)), path)
            else:
                Image.fromarray(array).save(path)
    return root


def begin(data: Path, out: Path, options: Options = BRIEF, **changes: Any) -> None:
    train("unet", [data], out, replace(options, **changes), console=Console(quiet=True))


@pytest.mark.parametrize(
    ("values", "suffix", "expected"),
    [
        (np.array([0, 127, 255], np.uint8), ".png", {0, 127, 255}),
        (np.array([0, 1, 1], np.uint8), ".png", {0, 1}),
        (np.array([0, 1000, 65535], np.uint16), ".png", {0, 1000, 65535}),
        (np.array([0, 300, 40000], np.uint16), ".tif", {0, 300, 40000}),
        (np.array([0.0, 1.0, 2.0], np.float32), ".nii.gz", {0, 1, 2}),
        (np.array([0, 1000, 65535], np.int32), ".nii.gz", {0, 1000, 65535}),
        (COLOURS, ".png", {0, 1, 2}),
        (COLOURS[[0, 1, 1]], ".tif", {0, 1}),
    ],
)
def test_any_values_train_predict_and_evaluate(
    tmp_path: Path, values: np.ndarray, suffix: str, expected: set[int]
) -> None:
    data = written(tmp_path / "data", values, suffix=suffix)
    assert not check(open_dataset(data)).of("error")
    begin(data, tmp_path / "run")
    predict(tmp_path / "run", data, out=tmp_path / "out", split="test")
    found = evaluate(tmp_path / "out", data)
    assert not found.failed
    assert {case.id for case in found.cases} == {"c4", "c5"}
    for path in (tmp_path / "out").glob("c*"):
        assert {*np.unique(read_labels(path)[0]).tolist()} <= expected
    truth = tmp_path / "perfect"
    truth.mkdir()
    for path in (data / "test/masks").iterdir():
        (truth / path.name).write_bytes(path.read_bytes())
    assert evaluate(truth, data, split="test").mean["dice"] == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([0, 1, -5], np.int16), "-5"),
        (np.array([0, 1, 70000], np.int32), "70000"),
        (np.array([0, 0.25, 1], np.float32), "0.25"),
    ],
)
def test_other_values_are_refused_by_check_and_before_training(
    tmp_path: Path, values: np.ndarray, message: str
) -> None:
    data = written(tmp_path / "data", values, suffix=".nii.gz")
    assert any(message in finding.sentence for finding in check(open_dataset(data)).of("error"))
    with pytest.raises(ScantlingError, match=message):
        begin(data, tmp_path / "run")
    assert not (tmp_path / "run/run.json").exists()


def test_scaled_label_maps_have_the_scaled_values(tmp_path: Path) -> None:
    data = written(tmp_path / "data", np.array([0, 1, 2], np.int16), suffix=".nii.gz")
    for path in data.rglob("masks/*"):
        image = nib.load(path)
        image.header.set_slope_inter(0.5, 0)
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj) * 1.0, image.affine, image.header), path)
    labels = open_dataset(data).labels
    assert labels is not None
    assert labels.values == ((1,), (2,))


def test_masks_that_are_all_empty_are_refused_before_training(tmp_path: Path) -> None:
    data = written(tmp_path / "data", np.zeros(3, np.uint8))
    with pytest.raises(ScantlingError, match="all training masks are empty"):
        begin(data, tmp_path / "run")
    assert not (tmp_path / "run/run.json").exists()
    assert any("cannot be learnt" in finding.sentence for finding in check(open_dataset(data)).of("error"))


def test_a_declared_class_that_is_never_drawn_is_a_warning_of_the_run(tmp_path: Path) -> None:
    data = written(tmp_path / "data", np.array([0, 1, 1], np.uint8))
    (data / "scantling.toml").write_text("classes = { vessel = 1, nerve = 2 }\n")
    begin(data, tmp_path / "run")
    assert any("'nerve'" in warning for warning in run_facts(tmp_path / "run")["warnings"])
