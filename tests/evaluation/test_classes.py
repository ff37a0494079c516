"""Image classes, scored: against sums by hand, against deleting each subject, and what fails alone."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from scantling.cli.main import main
from scantling.core.case import Geometry
from scantling.core.errors import DataError, FileError, SettingsError
from scantling.data.files import write_labels
from scantling.evaluation import evaluate_classes, evaluate_everything
from scantling.evaluation.class_estimates import ClassEstimates
from scantling.metrics import classification as metrics
from scantling.records.classes_csv import ClassRow, write_classes

NAMES = ("a", "b")


def predictions(folder: Path, sure: dict[str, float]) -> Path:
    """A folder whose `classes.csv` gives each id its probability of the class b."""
    folder.mkdir(exist_ok=True)
    rows = [ClassRow(id, NAMES[p > 0.5], {"a": round(1 - p, 6), "b": p}) for id, p in sure.items()]
    write_classes(folder / "classes.csv", rows, NAMES)
    return folder


def truth(path: Path, rows: Sequence[str], *, header: str = "id,class,subject") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def images(root: Path, ids: Sequence[str]) -> Path:
    for id in ids:
        write_labels(root / "images", id, np.arange(48).reshape(6, 8), Geometry(shape=(6, 8), spacing=(1.0, 1.0)))
    return root


def random_cases(*, n: int = 60, people: int = 12) -> tuple[Any, Any, Any, list[str]]:
    random = np.random.default_rng(5)
    true = random.integers(0, 3, n)
    probabilities = random.dirichlet((1, 1, 1), n) * 0.6 + 0.4 * np.eye(3)[true]
    return probabilities.argmax(1), true, probabilities, [f"s{number % people}" for number in range(n)]


def test_scores_are_those_of_all_cases_and_come_with_what_is_left_out(tmp_path: Path) -> None:
    made = predictions(tmp_path / "p", {"1": 0.9, "2": 0.6, "3": 0.2, "4": 0.4, "z": 0.5})
    table = truth(tmp_path / "t.csv", ["1,b,x", "2,a,y", "3,a,z", "4,b,w", "5,b,v"])
    found = evaluate_classes(made, table)
    assert [case.id for case in found.cases] == ["1", "2", "3", "4"]
    assert found.estimates.confusion.tolist() == [[1, 1], [1, 1]]
    assert found.estimates.whole["accuracy"].value == 0.5
    assert found.estimates.whole["auc"].value == pytest.approx(3 / 4)  # 0.9 and 0.4 against 0.6 and 0.2
    assert found.estimates.whole["brier"].value == pytest.approx(2 * (0.01 + 0.36 + 0.04 + 0.36) / 4)
    assert (found.without_truth, found.without_prediction) == (("z",), ("5",))
    assert "1 prediction without a true class left out (z)." in found.notes
    assert "1 true class without a prediction left out (5)." in found.notes


def test_a_table_of_true_classes_names_subjects_and_strata_and_may_hold_more(tmp_path: Path) -> None:
    header = "image,label,subject,stratum site,width"
    table = truth(tmp_path / "t.csv", ["1.png,b,x,A,9", "2.png,a,y,,8", "3.png,,z,B,8"], header=header)
    found = evaluate_classes(predictions(tmp_path / "p", {"1": 0.9, "2": 0.6, "3": 0.2}), table)
    assert [(case.id, case.subject, case.strata) for case in found.cases] == [("1", "x", {"site": "A"}), ("2", "y", {})]
    assert found.without_truth == ("3",)


def test_a_split_makes_a_missing_prediction_a_failure(tmp_path: Path) -> None:
    made = predictions(tmp_path / "p", {"1": 0.9})
    found = evaluate_classes(made, truth(tmp_path / "t.csv", ["1,b,x", "2,a,y"]), split="all")
    assert [failure.id for failure in found.failed] == ["2"]
    assert "no prediction for 2" in found.failed[0].error


def test_the_interval_of_accuracy_with_a_case_each_is_clopper_and_pearsons_of_one_case_less() -> None:
    predicted, true, probabilities, _ = random_cases(n=20)
    found = ClassEstimates(predicted, true, probabilities, [str(n) for n in range(20)]).whole["accuracy"]
    hits = float(np.mean(predicted == true)) * 19  # the jackknife's variance is p (1 - p) / (n - 1)
    assert found.interval[0] == pytest.approx(stats.beta.ppf(0.025, hits, 19 - hits + 1))
    assert found.interval[1] == pytest.approx(stats.beta.ppf(0.975, hits + 1, 19 - hits))


@pytest.mark.parametrize("name", ["balanced_accuracy", "f1", "auc", "ece", "brier", "accuracy"])
def test_each_score_is_worked_out_anew_without_each_subject(name: str) -> None:
    predicted, true, probabilities, subjects = random_cases()
    found = ClassEstimates(predicted, true, probabilities, subjects).whole[name]

    def score(kept: Any) -> float:
        confusion = metrics.confusion_matrix(predicted[kept], true[kept], classes=3)
        return {
            "accuracy": lambda: metrics.accuracy(confusion),
            "balanced_accuracy": lambda: metrics.balanced_accuracy(confusion),
            "f1": lambda: metrics.f1(confusion),
            "auc": lambda: metrics.auc(probabilities[kept], true[kept]),
            "ece": lambda: metrics.class_calibration(probabilities[kept], predicted[kept], true[kept]).ece,
            "brier": lambda: metrics.brier(probabilities[kept], true[kept]),
        }[name]()

    people = np.array(subjects)
    assert found.value == pytest.approx(score(people != ""))
    assert found.without == pytest.approx({each: score(people != each) for each in set(subjects)})
    assert 0 <= found.interval[0] < found.value < found.interval[1]
    assert (found.cases, found.subjects) == (60, 12)


def test_perfect_ranks_are_not_certain() -> None:
    true = np.array([0, 0, 0, 0, 1, 1, 1])
    found = ClassEstimates(true, true, np.eye(2)[true], [str(n) for n in range(7)]).whole
    low, high = found["auc"].interval
    assert high == 1
    assert low == pytest.approx(0.025 ** (1 / 3))  # Clopper and Pearson, three of the three subjects of the rarer class
    assert found["balanced_accuracy"].interval == pytest.approx((low, 1))


def test_a_class_of_a_single_subject_leaves_means_over_classes_without_interval() -> None:
    predicted, true, probabilities, subjects = random_cases()
    subjects = ["only" if t == 2 else each for t, each in zip(true, subjects, strict=True)]
    found = ClassEstimates(predicted, true, probabilities, subjects).whole
    assert math.isnan(found["balanced_accuracy"].interval[0])
    assert math.isnan(found["auc"].interval[0])
    assert not math.isnan(found["accuracy"].interval[0])


def test_one_subject_gives_scores_without_intervals(tmp_path: Path) -> None:
    made = predictions(tmp_path / "p", {"1": 0.9, "2": 0.1})
    facts = evaluate_classes(made, truth(tmp_path / "t.csv", ["1,b,x", "2,a,x"])).facts()
    assert facts["scores"]["accuracy"] == {"value": 1.0, "interval": None, "cases": 2, "subjects": 1}
    json.dumps(facts, allow_nan=False)


def test_a_class_that_the_predictions_do_not_know_is_always_wrong_and_said(tmp_path: Path) -> None:
    made = predictions(tmp_path / "p", {"1": 0.9, "2": 0.1})
    found = evaluate_classes(made, truth(tmp_path / "t.csv", ["1,c,x", "2,a,y"]))
    assert found.classes == ("a", "b", "c")
    assert found.estimates.confusion.tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]
    assert math.isnan(found.estimates.by_class[1]["sensitivity"].value)
    assert any("do not know c" in note for note in found.notes)


def test_a_table_without_classes_or_with_an_id_twice_is_refused(tmp_path: Path) -> None:
    made = predictions(tmp_path / "p", {"1": 0.9})
    with pytest.raises(FileError, match="'id' and 'class'"):
        evaluate_classes(made, truth(tmp_path / "t.csv", ["1,b"], header="id,kind"))
    with pytest.raises(FileError, match="there twice"):
        evaluate_classes(made, truth(tmp_path / "t.csv", ["1,b,x", "1,a,x"]))
    with pytest.raises(DataError, match="no prediction has the id of a true class"):
        evaluate_classes(made, truth(tmp_path / "t.csv", ["2,b,x"]))
    with pytest.raises(DataError, match="no row has a class in the column 'class'"):
        evaluate_classes(made, truth(tmp_path / "t.csv", ["1,,x"]))
    with pytest.raises(DataError, match="found no image class"):
        evaluate_classes(made, images(tmp_path / "data", ["1"]))


def test_the_command_scores_the_classes_of_a_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = predictions(tmp_path / "p", {"1": 0.9, "2": 0.4})
    data = images(tmp_path / "data", ["1", "2"])
    truth(data / "labels.csv", ["1,b", "2,b"], header="stem,label")
    out, table = tmp_path / "scores.json", tmp_path / "scores.csv"
    assert main(["evaluate", str(made), str(data), "--split", "all", "--json", str(out), "--csv", str(table)]) == 0
    facts = json.loads(out.read_text())
    assert facts["image_classes"]["scores"]["accuracy"]["value"] == 0.5
    assert facts["image_classes"]["scores"]["auc"]["value"] is None  # all cases are of one class
    assert [row["predicted"] for row in csv.DictReader(table.read_text().splitlines())] == ["b", "a"]
    told = capsys.readouterr()
    assert "Balanced accuracy" in told.out + told.err
    assert main(["evaluate", str(made), str(data), "--split", "all", "--csv", str(table)]) == 0  # replaces its own


def test_the_command_writes_over_no_table_that_it_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = predictions(tmp_path / "p", {"1": 0.9})
    table = truth(tmp_path / "t.csv", ["1,x,b"], header="id,subject,class")  # begins like a table of scores
    for read in (table, made / "classes.csv"):
        before = read.read_text()
        assert main(["evaluate", str(made), str(table), "--csv", str(read)]) == 2
        assert read.read_text() == before
    assert "choose another file" in capsys.readouterr().err


def test_masks_and_classes_are_scored_where_both_are_there(tmp_path: Path) -> None:
    made, data = predictions(tmp_path / "p", {"1": 0.9, "2": 0.4}), images(tmp_path / "data", ["1", "2"])
    mask = np.zeros((6, 8), np.int32)
    mask[2:4] = 255
    for id in ("1", "2"):
        write_labels(made, id, mask, Geometry(shape=(6, 8), spacing=(1.0, 1.0)))
    truth(data / "labels.csv", ["1,b", "2,a"], header="stem,label")
    found = evaluate_everything(made, data, split="all")
    assert found.masks is None
    assert any("masks" in note for note in found.notes)
    with pytest.raises(SettingsError, match="of masks"):
        evaluate_everything(made, data, split="all", metrics=["dice"])
    for id in ("1", "2"):
        write_labels(data / "masks", id, mask, Geometry(shape=(6, 8), spacing=(1.0, 1.0)))
    found = evaluate_everything(made, data, split="all")
    assert found.masks is not None
    assert found.classes is not None
    assert found.facts()["mean"]["dice"] == 1
    assert found.facts()["image_classes"]["scores"]["accuracy"]["value"] == 1
    (data / "labels.csv").unlink()
    found = evaluate_everything(made, data, split="all")
    assert found.classes is None
    assert any("classes.csv was not scored" in note for note in found.notes)
    found = evaluate_everything(made, data / "masks")
    assert found.masks is not None


def test_predictions_of_a_classifier_that_list_no_mask_are_scored(tmp_path: Path) -> None:
    made = predictions(tmp_path / "p", {"1": 0.9})
    listing = {
        "run": None, "input": "elsewhere", "split": None, "classes": [], "values": [],
        "cases": [{"id": "1", "class": "b", "classes": {"a": 0.1, "b": 0.9}}],
        "failed": [{"id": "2", "error": "torn"}],
    }  # fmt: skip
    (made / "predictions.json").write_text(json.dumps(listing))
    found = evaluate_everything(made, truth(tmp_path / "t.csv", ["1,b,x", "2,a,y"]))
    assert found.failed == ["2: it was not predicted: torn"]
