"""Each diagnosis, asked of made runs that have its fault and of made runs that lack it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from reported import evaluation, log_lines, run_facts, write_run
from scantling.report.targets import open_run
from scantling.report.warnings_on_scores import SCORE_CHECKS, Scores
from scantling.report.warnings_on_training import ABOUT_TRAINING


@dataclass
class Made:
    """A made run: its record, its log, the scores on test cases, and those on validation cases."""

    run: dict[str, Any]
    log: list[Any]
    scores: dict[str, Any]
    held: dict[str, Any]

    def losses(self, loss: Callable[[int], float], **terms: Callable[[int], float]) -> None:
        """Another course of the loss; more terms by name."""
        for line in self.log:
            if "losses" in line:
                each = {"dice": loss, **terms}
                line["losses"]["segmenter"] = {name: course(line["step"]) for name, course in each.items()}

    def dice(self, course: Callable[[int], float]) -> None:
        """Another course of the validation."""
        for line in self.log:
            if "validation" in line:
                line["validation"]["dice"] = course(line["step"])

    def case(self, number: int, **values: Any) -> None:
        self.scores["cases"][number] |= values

    def marks(self, mask: float, truth: float) -> None:
        for case in self.scores["cases"]:
            case["marked"] = {"prediction": mask, "truth": truth}


Change = Callable[[Made], Any]


@dataclass(frozen=True)
class Pair:
    """Changes of a sound run that bring the fault, each with words of its sentence, and changes that do not."""

    fault: tuple[tuple[Change, str], ...]
    sound: tuple[Change, ...] = (lambda made: None,)


def late(made: Made, begin: int) -> None:
    """A loss that never fell, with a second term that begins late."""
    made.losses(lambda step: 0.7 + 0.05 * (step % 3))
    for line in made.log:
        if "losses" in line and line["step"] > begin:
            line["losses"]["segmenter"]["agreement"] = 9.0


def falling(made: Made, to: float) -> None:
    made.dice(lambda step: 0.8 - abs(step - 60) * to / 40)


def against(made: Made) -> None:
    """Losses of two players, which need not fall."""
    for line in made.log:
        if "losses" in line:
            line["losses"]["critic"] = {"real": 0.7}


def of_validation(made: Made) -> None:
    made.held["detection"] = {
        "found": {"cases": [4, 8], "subjects": [4, 4], "classes": {
            "head": {"cases": [4, 4], "subjects": [4, 4]}, "tail": {"cases": [0, 4], "subjects": [0, 4]},
        }}
    }  # fmt: skip


def best(made: Made) -> None:
    made.run["selected"] = {"rule": "best", "step": 90, "value": 0.8}


PAIRS: dict[str, Pair] = {
    # of a training
    "whether the training finished": Pair(
        ((lambda made: made.run.update(finished=None), "not finished: its log ends at step 100 of 400"),)
    ),
    "what could not be read": Pair(((lambda made: made.log.append("half a line"), "1 line of log.jsonl"),)),
    "warnings of the run": Pair(((lambda made: made.run.update(warnings=["2 threads."]), "warned: 2 threads."),)),
    "losses that are no numbers": Pair(
        ((lambda made: made.log[3]["losses"]["segmenter"].update(dice=None), "1 logged loss is not a number"),)
    ),
    "how the weights were chosen": Pair(
        (
            (lambda made: made.run["split"].update(validation=[]), "0 validation cases were held out"),
            (best, "The weights are the best with 0.800 at step 90"),
        )
    ),
    "the fall of the training loss": Pair(
        (
            (lambda made: made.losses(lambda step: 0.7 + 0.05 * (step % 3)), "The training loss never fell: it is 0.7"),
            (lambda made: made.losses(lambda step: 0.5 + step / 100), "never fell: it is 0.605"),
            (lambda made: late(made, 40), "never fell: it is 9.7"),
            (lambda made: late(made, 97), "The training loss never fell. The model"),
        ),
        (
            lambda made: made.losses(lambda step: 0.7 - step / 1000),
            lambda made: made.losses(lambda step: -0.1 - step / 100),  # a similarity
            # the weight of a second term rises while the first falls
            lambda made: made.losses(lambda step: 1 / step, agreement=lambda step: step / 50),
        ),
    ),
    "the end of the training loss": Pair(
        ((lambda made: made.losses(lambda step: 1 - step / 200), "was still falling, from 0.6475 to 0.5475"),),
        (
            lambda made: None,
            lambda made: made.losses(lambda step: 0.4 + (3 - step / 50) * (step % 2)),
            lambda made: late(made, 40),
        ),
    ),
    "the course of the validation": Pair(
        (
            (lambda made: falling(made, 0.04), "ended at 0.760: the training overfitted. Fewer steps"),
            (
                lambda made: (falling(made, 0.04), made.losses(lambda step: 0.7 + 0.05 * (step % 3))),
                "never fell: the training did not overfit, it is unstable. A lower learning rate",
            ),
            (lambda made: (falling(made, 0.04), against(made)), "and ended at 0.760. Fewer steps"),
            (lambda made: made.dice(lambda step: step / 200), "still rising at the end, from 0.400 to 0.500"),
        ),
        (lambda made: None, lambda made: falling(made, 0.01)),
    ),
    "classes that were never found": Pair(
        (
            (
                lambda made: made.run.update(marked={"head": [4, 4], "tail": [0, 4]}),
                "The class tail was never found in validation: the model marks it in 0 of the 4 cases",
            ),
            (of_validation, "The class tail was never found"),  # of a run of an earlier version, from its scores
        ),
        (
            lambda made: made.run.update(marked={"head": [4, 4], "tail": [1, 4]}),
            lambda made: made.run.update(marked={"head": [4, 4], "tail": [0, 0]}),  # no truth has it
        ),
    ),
    "the number of labelled cases": Pair(
        ((lambda made: made.run["traits"].update(labelled=2), "learnt from 2 labelled cases"),)
    ),
    "the preset and its settings": Pair(
        (
            (lambda made: made.run.update(preset="tiny"), "The preset tiny tests the program in 400 steps"),
            (lambda made: made.run["command"].extend(["--steps", "9"]), "1 setting departs from the preset: steps 9"),
        )
    ),
    # of scores
    "the number of cases and the width of the interval": Pair(
        (
            (lambda made: made.scores.update(cases=made.scores["cases"][:9]), "Only 9 subjects were scored"),
            (lambda made: made.scores["interval"].update(dice=[0.78, 0.83]), "0.050 wide"),
        ),
        (lambda made: made.scores["interval"].update(dice=[0.79, 0.829]),),
    ),
    "subjects with several cases": Pair(((lambda made: made.case(0, subject="s01"), "come from 11 subjects"),)),
    "failed cases": Pair(
        ((lambda made: made.scores.update(failed=[{"id": "x", "error": "gone"}]), "1 of 13 cases could not be"),)
    ),
    "training cases among those scored": Pair(
        (
            (lambda made: made.scores.update(split="train"), "These are training cases"),
            (lambda made: made.run["split"]["train"].append("case-00"), "1 of 12 scored cases (case-00) were trained"),
        ),
        (lambda made: made.run["split"]["validation"].append("case-00"),),
    ),
    "the gap between validation and these scores": Pair(
        ((lambda made: made.held["mean"].update(dice=0.92), "0.109 lower"),),
        (lambda made: made.held["mean"].update(dice=0.84),),
    ),
    "cases far below the median": Pair(
        ((lambda made: made.case(3, dice=0.41), "1 case lies far below"),), (lambda made: made.case(3, dice=0.72),)
    ),
    "cases in which nothing was found": Pair(
        ((lambda made: made.case(3, dice=0.0), "share no pixel (Dice 0): case-03"),),
        (lambda made: made.case(3, dice=0.01),),
    ),
    "masks that mark nothing or everything": Pair(
        (
            (lambda made: made.marks(0, 0.1), "the model marks nothing"),
            (lambda made: made.marks(0.99, 0.1), "the model marks everything"),
        ),
        (lambda made: made.marks(0.1, 0.1), lambda made: made.marks(0, 0), lambda made: made.marks(0.99, 0.97)),
    ),
    "false alarms": Pair(
        (
            (
                lambda made: made.scores["detection"].update(false_alarm={"cases": [1, 4], "subjects": [1, 4]}),
                "False alarms in 1 of 4 cases",
            ),
        ),
        (lambda made: made.scores["detection"].update(false_alarm={"cases": [0, 4], "subjects": [0, 4]}),),
    ),
    "the convention for empty masks": Pair(((lambda made: made.scores.update(detection={}), "Score the masks again"),)),
    "undefined metrics": Pair(((lambda made: made.scores["count"].update(hd95=9), "Hausdorff distance in 3"),)),
    "calibration": Pair(((lambda made: made.scores["mean"].update(ece=0.12), "calibration error is 0.120"),)),
    "broken or merged structures": Pair(
        (
            (lambda made: made.scores["mean"].update(vca=36.6, log_vca=3.4), "structures are broken"),
            (lambda made: made.scores["mean"].update(vca=0.25, log_vca=1.4), "structures are merged or missing"),
        )
    ),
    "the balance of sensitivity and precision": Pair(
        (
            (lambda made: made.scores["mean"].update(sensitivity=0.7, precision=0.88), "miss more than they add"),
            (lambda made: made.scores["mean"].update(sensitivity=0.9, precision=0.7), "add more than they miss"),
        )
    ),
    "weak classes": Pair(
        (
            (
                lambda made: made.scores.update(classes_mean={"head": {"dice": 0.95}, "tail": {"dice": 0.67}}),
                "tail with 0.670",
            ),
        ),
        (lambda made: made.scores.update(classes_mean={"head": {"dice": 0.85}, "tail": {"dice": 0.77}}),),
    ),
    "the share of foreground": Pair(
        ((lambda made: made.run["traits"].update(foreground=[0.2, 0.0023]), "covers 0.23 % of the training pixels"),)
    ),
    "regions of interest": Pair(
        ((lambda made: made.run["traits"].update(regions=True), "12 of 12 cases were scored over the whole image"),),
        (
            lambda made: (
                made.run["traits"].update(regions=True),
                [case["files"].update(region=case["files"]["truth"]) for case in made.scores["cases"]],
            ),
        ),
    ),
}
"""By what a diagnosis looks at."""


def asked(subject: str, change: Change, folder: Path) -> list[str] | None:
    """What a diagnosis says of a made run; None where it did not look."""
    held = evaluation(
        folder / "held", cases=4, split="validation", detection={"found": {"cases": [4, 4], "subjects": [4, 4]}}
    )
    made = Made(run_facts(folder / "masks" / "truth"), log_lines(), copy.deepcopy(evaluation(folder / "masks")), held)
    change(made)
    written = write_run(folder / "run", made.run, made.log, made.scores)
    (written / "validation").mkdir(exist_ok=True)
    (written / "validation" / "scores.json").write_text(json.dumps(made.held))
    run = open_run(written)
    for check in ABOUT_TRAINING:
        if check.subject == subject:
            found = check.ask(run)
            break
    else:
        found = next(each for each in SCORE_CHECKS if each.subject == subject).ask(Scores(run.evaluations[0], run))
    return None if found is None else [doubt.sentence for doubt in found]


def test_every_diagnosis_has_a_run_with_its_fault_and_one_without() -> None:
    subjects = [check.subject for check in (*ABOUT_TRAINING, *SCORE_CHECKS)]
    assert sorted(PAIRS) == sorted(subjects), "a diagnosis needs made runs with its fault and without: add a Pair"
    assert all(pair.fault and pair.sound for pair in PAIRS.values())


@pytest.mark.parametrize("subject", PAIRS)
def test_a_diagnosis_tells_runs_with_its_fault_from_runs_without(subject: str, tmp_path: Path) -> None:
    for number, (change, words) in enumerate(PAIRS[subject].fault):
        found = asked(subject, change, tmp_path / f"fault{number}")
        assert found is not None, f"fault {number}: it did not look"
        assert any(words in sentence for sentence in found), found
    for number, change in enumerate(PAIRS[subject].sound):
        assert asked(subject, change, tmp_path / f"sound{number}") == [], f"sound {number}: it must look and find none"
