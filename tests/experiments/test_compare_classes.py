"""Classifiers against each other: the differences of each case, by hand and by SciPy, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from made import write
from reported import Page
from scantling.cli.main import main
from scantling.core.errors import DataError, SettingsError
from scantling.evaluation import evaluate_classes
from scantling.experiments.compare import compare
from scantling.methods.catalogue import added
from scantling.records.classes_csv import ClassRow, write_classes
from scantling.training import Options, train
from toys_capabilities import TOYS

NAMES = ("bright", "dark")
TESTED = 8


@pytest.fixture(scope="module", autouse=True)
def toys() -> Iterator[None]:
    with added(*TOYS.values()):
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bright and dark images with masks, one training part and one for the test."""
    folder, draws = tmp_path_factory.mktemp("classes") / "data", np.random.default_rng(0)
    for part, count in (("train", 6), ("test", TESTED)):
        rows = ["id,class"]
        for number in range(count):
            mask = np.zeros((24, 24), np.uint8)
            mask[4:12, 4:12] = 255
            image = 40 + 60 * (number % 2) + 80 * (mask > 0) + draws.normal(0, 4, mask.shape)
            write(folder / part / "images", f"{part}{number}", image.clip(0, 255).astype(np.uint8))
            write(folder / part / "masks", f"{part}{number}", mask)
            rows.append(f"{part}{number},{NAMES[1 - number % 2]}")
        (folder / part / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


def predicted(folder: Path, dark: Sequence[float]) -> Path:
    """A folder in which each test case has a probability of being dark; half of them are, the first among them."""
    folder.mkdir()
    rows = [ClassRow(f"test{number}", NAMES[p > 0.5], {"bright": 1 - p, "dark": p}) for number, p in enumerate(dark)]
    write_classes(folder / "classes.csv", rows, NAMES)
    return folder


GOOD = [0.9, 0.1, 0.8, 0.2, 0.7, 0.3, 0.95, 0.05]
BAD = [0.6, 0.6, 0.4, 0.4, 0.3, 0.7, 0.45, 0.45]


def test_differences_are_those_of_each_case_and_are_tested_as_those_of_masks_are(data: Path, tmp_path: Path) -> None:
    sides = [predicted(tmp_path / "good", GOOD), predicted(tmp_path / "bad", BAD)]
    found = compare(sides, data, metrics=["brier", "accuracy"])
    dark = np.arange(TESTED) % 2 == 0
    briers = [2 * (np.array(p) - dark) ** 2 for p in (GOOD, BAD)]  # both classes err by the same
    right = [((np.array(p) > 0.5) == dark).astype(float) for p in (GOOD, BAD)]
    assert [one.name for one in found.methods] == ["good", "bad"]
    for one, brier, accuracy in zip(found.methods, briers, right, strict=True):
        assert one.mean == pytest.approx({"brier": brier.mean(), "accuracy": accuracy.mean()})
    pairs = {pair.metric: pair for pair in found.pairs}
    oracle = stats.permutation_test(
        (briers[1] - briers[0],), lambda x, axis: np.mean(x, axis=axis), permutation_type="samples", n_resamples=np.inf
    )
    assert pairs["brier"].difference == pytest.approx(briers[1].mean() - briers[0].mean())
    assert pairs["brier"].p == pytest.approx(oracle.pvalue)
    assert pairs["brier"].verdict == "b is better", "a lower Brier score is better"
    assert pairs["accuracy"].difference == pytest.approx(right[1].mean() - right[0].mean())
    assert found.record().region is None, "an image class has no pixels"
    assert not any("pixels" in sentence or "structure" in sentence for sentence in found.conventions)


def test_runs_folders_and_evaluations_of_a_classifier_are_the_same_to_a_comparison(data: Path, tmp_path: Path) -> None:
    options = Options(preset="tiny", validation=0.0, steps=3)
    train("toy-classifier", [data], tmp_path / "run", options, console=Console(quiet=True))
    other = predicted(tmp_path / "bad", BAD)
    words = ["compare", str(tmp_path / "run"), str(other), "--data", str(data), "--out", str(tmp_path / "out")]
    assert main([*words, "--json", str(tmp_path / "a.json")]) == 0
    facts = json.loads((tmp_path / "a.json").read_text())
    assert facts["metrics"] == ["accuracy", "brier"]
    assert "Brier" in Page(tmp_path / "out" / "compare.html").text
    (made,) = (tmp_path / "out").glob("run-*")
    scores = evaluate_classes(made, data, split="test").estimates.whole
    means = {one["name"]: one["mean"] for one in facts["methods"]}["toy-classifier"]
    assert means == pytest.approx({name: scores[name].value for name in ("accuracy", "brier")})
    assert main(["evaluate", str(made), str(data), "--split", "test", "--json", str(tmp_path / "s.json")]) == 0
    again = compare([tmp_path / "s.json", other], data)
    assert [one.mean for one in again.methods] == [pytest.approx(one["mean"]) for one in facts["methods"]], (
        "recorded scores are those that would be made"
    )


def test_a_classifier_is_not_compared_with_a_segmenter(data: Path, tmp_path: Path) -> None:
    side = predicted(tmp_path / "good", GOOD)
    masks = data / "test" / "masks"
    with pytest.raises(DataError, match=r"masks has masks and .*good image classes; expected the same of all"):
        compare([masks, side], data)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"metrics": ["auc"]}, "auc: is of all cases together, and has no value for one"),
        ({"metrics": ["dice"]}, "dice: is no metric of image classes"),
        ({"region": "dataset"}, "have no pixels"),
    ],
)
def test_what_a_case_has_no_value_of_is_refused(
    data: Path, tmp_path: Path, options: dict[str, object], said: str
) -> None:
    sides = [predicted(tmp_path / "good", GOOD), predicted(tmp_path / "bad", BAD)]
    with pytest.raises(SettingsError, match=said):
        compare(sides, data, **options)  # type: ignore[arg-type]


def test_data_without_image_classes_are_refused_in_a_sentence(data: Path, tmp_path: Path) -> None:
    sides = [predicted(tmp_path / "good", GOOD), predicted(tmp_path / "bad", BAD)]
    with pytest.raises(DataError, match="found no image class"):
        compare(sides, data / "test" / "masks")
    (tmp_path / "t.csv").write_text("id,class\ntest0,dark\n")
    with pytest.raises(DataError, match=r"no case of the split 'validation' has a true image class, those of"):
        compare(sides, tmp_path / "t.csv", split="validation")
