"""The page doubts what its facts give reason to doubt, and nothing else."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reported import evaluation, log_lines, page_of, run_facts, settled_run, write_run


@pytest.fixture(name="run")
def a_run(tmp_path: Path) -> Path:
    return settled_run(tmp_path)


def test_nothing_is_doubted_without_a_reason(run: Path) -> None:
    page = page_of(run)
    assert page.doubts() == []
    assert "Nothing that was looked at gives reason for doubt." in page.text
    for looked_at in ("failed cases", "calibration", "cases far below the median", "the course of the validation"):
        assert looked_at in page.text.split("found in order:")[1]


Facts = dict[str, Any]
Change = Callable[[Facts, Facts, list[Any]], Any]


def _set(facts: Facts, key: str, value: Any) -> None:
    """Set "a.b" in nested facts."""
    *outer, last = key.split(".")
    for name in outer:
        facts = facts[name]
    facts[last] = value


def _one_case(scores: Facts, number: int, **values: Any) -> None:
    scores["cases"][number] |= values


def _only(scores: Facts, cases: int) -> None:
    scores["cases"] = scores["cases"][:cases]
    scores["count"] = dict.fromkeys(scores["count"], cases)


def _validation(lines: list[Any], dice: Callable[[int], float]) -> None:
    for line in lines:
        if "validation" in line:
            line["validation"]["dice"] = dice(line["step"])


def _loss(lines: list[Any], loss: Callable[[int], float]) -> None:
    for line in lines:
        if "losses" in line:
            line["losses"]["segmenter"] = {"dice": loss(line["step"])}


@pytest.mark.parametrize(
    ("change", "sentences"),
    [
        pytest.param(
            lambda run, scores, log: _only(scores, 9),
            ["Only 9 subjects were scored: the mean Dice of 0.811 has"],
            id="few",
        ),
        pytest.param(lambda run, scores, log: _only(scores, 10), [], id="ten are not few"),
        pytest.param(
            lambda run, scores, log: (_only(scores, 1), scores["interval"].update(dice=None)),
            ["Only 1 subject was scored, too few to tell luck from merit."],
            id="one",
        ),
        pytest.param(
            lambda run, scores, log: scores["interval"].update(dice=[0.78, 0.83]),
            ["Over 12 subjects the mean Dice of 0.811 has a 95 % interval from 0.780 to 0.830, 0.050 wide"],
            id="wide",
        ),
        pytest.param(lambda run, scores, log: scores["interval"].update(dice=[0.79, 0.829]), [], id="not wide"),
        pytest.param(
            lambda run, scores, log: _one_case(scores, 0, subject="s01"),
            ["The 12 cases come from 11 subjects"],
            id="subjects",
        ),
        pytest.param(
            lambda run, scores, log: _set(scores, "failed", [{"id": "x", "error": "gone"}]),
            ["1 of 13 cases could not be scored (x)"],
            id="failed",
        ),
        pytest.param(
            lambda run, scores, log: _set(scores, "split", "train"), ["These are training cases"], id="training split"
        ),
        pytest.param(
            lambda run, scores, log: run["split"]["train"].extend(["case-00", "case-01"]),
            ["2 of 12 scored cases (case-00 and case-01) were trained on"],
            id="trained on",
        ),
        pytest.param(
            lambda run, scores, log: (run["split"]["train"].append("case-00"), _set(scores, "truth", "/elsewhere")),
            [],
            id="an equal id in other data",
        ),
        pytest.param(
            lambda run, scores, log: run["split"]["validation"].append("case-00"), [], id="validation did not choose"
        ),
        pytest.param(
            lambda run, scores, log: (
                run["split"]["validation"].append("case-00"),
                _set(run, "selected", {"rule": "best", "step": 90, "value": 0.81}),
            ),
            [
                "1 of 12 scored cases (case-00) chose the weights",
                "The weights are the best with 0.810 at step 90 of 10 looks at 7 validation cases",
            ],
            id="chosen on",
        ),
        pytest.param(
            lambda run, scores, log: _one_case(scores, 3, dice=0.41),
            ["1 case lies far below the median Dice of 0.811: case-03 with 0.410."],
            id="outlier",
        ),
        pytest.param(lambda run, scores, log: _one_case(scores, 3, dice=0.72), [], id="no outlier within a tenth"),
        pytest.param(
            lambda run, scores, log: _one_case(scores, 3, dice=0.0),
            ["In 1 of 12 cases the mask and the truth share no pixel (Dice 0): case-03.", "1 case lies far below"],
            id="zero",
        ),
        pytest.param(
            lambda run, scores, log: _set(scores, "count.hd95", 9), ["95 % Hausdorff distance in 3"], id="undefined"
        ),
        pytest.param(
            lambda run, scores, log: (
                _set(scores, "mean.ece", 0.12),
                _set(scores, "reliability.confidence", [0.4, 0.9]),
            ),
            ["The expected calibration error is 0.120: probabilities are off by 12 % on average, mostly too high"],
            id="sure",
        ),
        pytest.param(
            lambda run, scores, log: (_set(scores, "mean.ece", 0.12), _set(scores, "reliability", None)),
            ["probabilities are off by 12 % on average, so"],
            id="miscalibrated",
        ),
        pytest.param(
            lambda run, scores, log: scores["mean"].update(vca=36.64, log_vca=3.4),
            ["Mean |log VCA| is 3.40, and structures are broken: the masks have 36.6 times as many pieces"],
            id="broken",
        ),
        pytest.param(
            lambda run, scores, log: scores["mean"].update(vca=0.25, log_vca=1.4),
            ["structures are merged or missing: the masks have 0.25 times as many pieces"],
            id="merged",
        ),
        pytest.param(
            lambda run, scores, log: scores["mean"].update(sensitivity=0.7, precision=0.88),
            ["The masks miss more than they add: sensitivity 0.700, precision 0.880. A lower threshold"],
            id="misses",
        ),
        pytest.param(
            lambda run, scores, log: scores["mean"].update(sensitivity=0.9, precision=0.7),
            ["The masks add more than they miss: sensitivity 0.900, precision 0.700. A higher threshold"],
            id="adds",
        ),
        pytest.param(
            lambda run, scores, log: _set(scores, "classes_mean", {"head": {"dice": 0.95}, "tail": {"dice": 0.67}}),
            ["The mean Dice over classes, 0.811, hides weak ones: tail with 0.670."],
            id="weak class",
        ),
        pytest.param(
            lambda run, scores, log: _set(run, "traits.foreground", [0.2, 0.0023]),
            ["covers 0.23 % of the training pixels: a mask that finds none of it still reaches an accuracy of 0.9977"],
            id="tiny",
        ),
        pytest.param(
            lambda run, scores, log: _set(run, "traits.regions", True),
            ["but 12 of 12 cases were scored over the whole image; easy surroundings raise accuracy."],
            id="regions",
        ),
        pytest.param(
            lambda run, scores, log: _set(run, "finished", None), ["its log ends at step 100 of 400"], id="unfinished"
        ),
        pytest.param(
            lambda run, scores, log: _set(run, "warnings", ["2 threads, not 4."]),
            ["The run warned: 2 threads, not 4."],
            id="warned",
        ),
        pytest.param(
            lambda run, scores, log: log[3]["losses"]["segmenter"].update(dice=None),
            ["1 logged loss is not a number"],
            id="no number",
        ),
        pytest.param(
            lambda run, scores, log: _set(run, "split.validation", []),
            ["0 validation cases were held out: the weights are the last ones (step 400)"],
            id="no validation",
        ),
        pytest.param(
            lambda run, scores, log: (
                _set(run, "split.validation", ["v"]),
                _set(run, "selected", {"rule": "best", "step": 90, "value": 0.8}),
            ),
            ["of 10 looks at 1 validation case: the validation score flatters, and 1 case is few to choose by"],
            id="few to choose",
        ),
        pytest.param(
            lambda run, scores, log: _loss(log, lambda step: 1 - step / 200),
            ["The training loss was still falling, from 0.6475 to 0.5475"],
            id="falling",
        ),
        pytest.param(lambda run, scores, log: _loss(log, lambda step: 1 - step / 5000), [], id="hardly falling"),
        pytest.param(
            lambda run, scores, log: _loss(log, lambda step: 0.4 + (3 - step / 50) * (step % 2)),
            [],
            id="noise does not fall",
        ),
        pytest.param(
            lambda run, scores, log: _validation(log, lambda step: step / 200),
            ["Validation Dice was still rising at the end, from 0.400 to 0.500"],
            id="rising",
        ),
        pytest.param(
            lambda run, scores, log: _validation(log, lambda step: 0.8 - abs(step - 60) / 1000),
            ["Validation Dice peaked at 0.800 (step 60) and ended at 0.760: the training overfitted. Fewer steps"],
            id="overfitted",
        ),
        pytest.param(
            lambda run, scores, log: _set(run, "traits.labelled", 2),
            ["It learnt from 2 labelled cases"],
            id="few labels",
        ),
        pytest.param(
            lambda run, scores, log: _set(run, "preset", "tiny"),
            ["The preset tiny tests the program in 400 steps"],
            id="tiny preset",
        ),
        pytest.param(
            lambda run, scores, log: run["command"].extend(
                ["--steps", "9", "--settings.depth", "3", "--settings.width=8"]
            ),
            ["3 settings depart from the preset: steps 9, depth 3 and width=8."],
            id="settings",
        ),
    ],
)
def test_a_doubt_is_raised_exactly_when_its_facts_hold(change: Change, sentences: list[str], tmp_path: Path) -> None:
    record, log = run_facts(tmp_path / "masks" / "truth"), log_lines()
    scores = copy.deepcopy(evaluation(tmp_path / "masks"))
    change(record, scores, log)
    doubts = page_of(write_run(tmp_path / "run", record, log, scores)).doubts()
    assert len(doubts) == len(sentences), doubts
    for sentence in sentences:
        assert any(sentence in doubt for doubt in doubts), doubts
    assert all(re.search(r"\d", doubt) for doubt in doubts if "training cases" not in doubt), "each rests on a number"


def test_a_gap_to_the_validation_scores_is_doubted(run: Path, tmp_path: Path) -> None:
    facts = evaluation(tmp_path / "validation-masks", split="validation")
    for dice, doubts in ((0.92, 1), (0.84, 0)):
        facts["mean"]["dice"] = dice
        (run / "validation").mkdir(exist_ok=True)
        (run / "validation" / "scores.json").write_text(json.dumps(facts))
        found = page_of(run).doubts()
        assert len(found) == doubts
        assert all("Mean Dice is 0.920 on the validation cases and 0.811 here, 0.109 lower" in doubt for doubt in found)


def test_cases_that_could_not_be_predicted_are_doubted(run: Path, tmp_path: Path) -> None:
    (tmp_path / "masks" / "predictions.json").write_text(
        json.dumps({"values": [[255]], "failed": [{"id": "z", "error": "gone"}]})
    )
    assert page_of(run).doubts() == ["1 case could not be predicted (z); the means leave them out."]
