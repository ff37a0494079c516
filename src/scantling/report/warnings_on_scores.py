"""Doubts about scores: too few cases, cases that stand out, numbers that flatter."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

from scantling.evaluation.intervals import FEW
from scantling.metrics.catalogue import length_of
from scantling.report.targets import EvaluationFile, Run
from scantling.report.warnings import Check, ReportWarning
from scantling.report.words import in_order, listing, metric, percent, plural

FULL = 0.95
"""A mask that marks more of the pixels than this is nearly full."""
WIDE = 0.04
"""An interval of Dice wider than this hides the differences between good methods."""
FAR = 0.1
"""A Dice this far below the median is another kind of result."""
MISCALIBRATED = 0.05
TORN = math.log(2)
"""|log VCA| of twice as many, or half as many, pieces as the truth has."""
LOPSIDED = 0.1
"""Sensitivity and precision this far apart speak of a threshold in the wrong place."""
TINY = 0.01
"""A class on fewer pixels than this makes accuracy and specificity meaningless."""
GAP = 0.05
"""A test score this far below the validation score is no accident of few cases."""


@dataclass(frozen=True)
class Scores:
    """An evaluation, and the run that made its masks where it is known."""

    evaluation: EvaluationFile
    run: Run | None = None

    @property
    def same_data(self) -> bool:
        """Whether the scored cases come from a folder that the run was trained on."""
        truth = Path(self.evaluation.record.truth).resolve()
        roots = [Path(one.path).resolve() for one in self.run.record.data] if self.run is not None else []
        return any(root == truth or root in truth.parents for root in roots)


def _few(scores: Scores) -> Iterable[ReportWarning]:
    record = scores.evaluation.record
    if not record.cases:
        yield ReportWarning("serious", "0 cases were scored.")
        return
    scored = [case for case, _ in scores.evaluation.of("dice")] or list(record.cases)
    number = len({case.subject or case.id for case in scored})
    only = f"Only {plural(number, 'subject was', 'subjects were')} scored"
    mean, interval = record.mean.get("dice"), record.interval.get("dice")
    low, high = interval or (None, None)
    if mean is None or low is None or high is None:
        if number < FEW:
            yield ReportWarning("caution", f"{only}, too few to tell luck from merit.")
        return
    rests = f"the mean Dice of {mean:.3f} has a 95 % interval from {low:.3f} to {high:.3f}"
    if number < FEW:
        yield ReportWarning("caution", f"{only}: {rests}.")
    elif high - low > WIDE:
        wide = f"{high - low:.3f} wide: differences smaller than that mean little"
        yield ReportWarning("caution", f"Over {number:,} subjects {rests}, {wide}.")


def _subjects(scores: Scores) -> Iterable[ReportWarning] | None:
    cases = scores.evaluation.record.cases
    if any(case.subject is None for case in cases):
        return None
    subjects = len({case.subject for case in cases})
    if subjects == len(cases):
        return []
    return [
        ReportWarning(
            "caution",
            f"The {len(cases):,} cases come from {plural(subjects, 'subject')}, and images of one subject resemble "
            f"each other: think of {subjects:,} independent results, not {len(cases):,}.",
        )
    ]


def _failed(scores: Scores) -> Iterable[ReportWarning]:
    record = scores.evaluation.record
    scored, failed = len(record.cases), [failure.id for failure in record.failed]
    if failed:
        yield ReportWarning(
            "serious",
            f"{len(failed):,} of {plural(scored + len(failed), 'case')} could not be scored ({listing(failed)}); "
            "the means leave them out.",
        )
    lost = [failure.id for failure in scores.evaluation.predictions.failed if failure.id not in failed]
    if lost:
        text = f"{plural(len(lost), 'case')} could not be predicted ({listing(lost)})"
        yield ReportWarning("serious", f"{text}; the means leave them out.")


def _trained_on(scores: Scores) -> Iterable[ReportWarning] | None:
    record, run = scores.evaluation.record, scores.run
    if record.split == "train":
        return [ReportWarning("serious", "These are training cases: their scores say nothing about new images.")]
    if run is None or not scores.same_data:
        return None
    ids = {case.id for case in record.cases}
    truth = Path(record.truth).resolve()
    names = [one.name for one in run.record.data if Path(one.path).resolve() in (truth, *truth.parents)]

    def among(split: str) -> list[str]:
        """The scored cases of a split; an id that several joined sets use stands behind the name of its own."""
        known = set(run.record.split.get(split, ()))
        return sorted(id for id in ids if not known.isdisjoint((id, *(f"{name}_{id}" for name in names))))

    trained, seen = among("train"), among("validation")
    scored = plural(len(ids), "scored case")
    doubts = []
    if trained:
        means = "were trained on, so their scores say nothing about new images"
        doubts.append(ReportWarning("serious", f"{len(trained):,} of {scored} ({listing(trained)}) {means}."))
    if seen and run.record.selected is not None and run.record.selected.rule == "best":
        means = "chose the weights, so their scores may flatter"
        doubts.append(ReportWarning("caution", f"{len(seen):,} of {scored} ({listing(seen)}) {means}."))
    return doubts


def _gap(scores: Scores) -> Iterable[ReportWarning] | None:
    run, dice = scores.run, scores.evaluation.record.mean.get("dice")
    held = run.validation.record.mean.get("dice") if run is not None and run.validation is not None else None
    if dice is None or held is None or (run is not None and scores.evaluation is run.validation):
        return None
    if held - dice <= GAP:
        return []
    return [
        ReportWarning(
            "caution",
            f"Mean Dice is {held:.3f} on the validation cases and {dice:.3f} here, {held - dice:.3f} lower: "
            "these cases are harder, differ in kind, or the choice of weights flattered the validation.",
        )
    ]


def _outliers(scores: Scores) -> Iterable[ReportWarning] | None:
    pairs = scores.evaluation.of("dice")
    if len(pairs) < 3:
        return None
    values = [value for _, value in pairs]
    middle = median(values)
    spread = 1.4826 * median(abs(value - middle) for value in values)  # the deviation, were they normal
    low = sorted((value, case.id) for case, value in pairs if value < middle - max(FAR, 3 * spread))
    if not low:
        return []
    text = listing([f"{name} with {value:.3f}" for value, name in low])
    lie = plural(len(low), "case lies", "cases lie")
    return [ReportWarning("caution", f"{lie} far below the median Dice of {middle:.3f}: {text}.")]


def _nothing_found(scores: Scores) -> Iterable[ReportWarning] | None:
    pairs = scores.evaluation.of("dice")
    if not pairs:
        return None
    missed = [case.id for case, value in pairs if value == 0]
    if not missed:
        return []
    of = f"{len(missed):,} of {plural(len(pairs), 'case')}"
    return [ReportWarning("serious", f"In {of} the mask and the truth share no pixel (Dice 0): {listing(missed)}.")]


def _trivial(scores: Scores) -> Iterable[ReportWarning] | None:
    marked = [case.marked for case in scores.evaluation.record.cases]
    pairs = [(one.get("prediction"), one.get("truth")) for one in marked]
    known = [(mask, truth) for mask, truth in pairs if mask is not None and truth is not None]
    if not known:
        return None
    if all(mask == 0 for mask, _ in known) and any(truth > 0 for _, truth in known):
        return [
            ReportWarning(
                "serious", f"Every one of the {plural(len(known), 'mask')} is empty: the model marks nothing."
            )
        ]
    if all(mask > FULL >= truth for mask, truth in known):
        least = percent(min(mask for mask, _ in known))
        return [
            ReportWarning("serious", f"Every mask marks {least} of the pixels or more: the model marks everything.")
        ]
    return []


def _false_alarms(scores: Scores) -> Iterable[ReportWarning] | None:
    counted = scores.evaluation.record.detection.get("false_alarm")
    if counted is None or not counted.cases[1]:
        return None
    if not counted.cases[0]:
        return []
    weight: Literal["serious", "caution"] = "serious" if 2 * counted.cases[0] > counted.cases[1] else "caution"
    classes = len(scores.evaluation.record.classes)
    where = "in which the truth is empty, the masks mark something, which no score of a structure shows"
    return [ReportWarning(weight, f"False alarms in {counted.text(classes)} {where}.")]


def _older(scores: Scores) -> Iterable[ReportWarning]:
    record = scores.evaluation.record
    if record.cases and not record.detection and "dice" in record.mean and "found" not in record.mean:
        yield ReportWarning(
            "note",
            "The record says nothing of structures found and of false alarms; one by an older version counts an empty "
            "truth answered by an empty mask as a Dice of 1. Score the masks again.",
        )


def _undefined(scores: Scores) -> Iterable[ReportWarning]:
    record, cases = scores.evaluation.record, len(scores.evaluation.record.cases)
    apart = {key: sum(case.unit != length_of(unit) for case in record.cases) for key, unit in record.units.items()}
    missing = {key: cases - count - apart.get(key, 0) for key, count in record.count.items()}
    left_out = [f"{one.title} in {missing[one.key]:,}" for one in in_order(record.mean) if missing.get(one.key, 0) > 0]
    if undefined := listing(left_out, most=6):
        yield ReportWarning(
            "note", f"Of {plural(cases, 'case')}, metrics leave out those where they are undefined: {undefined}."
        )


def _calibration(scores: Scores) -> Iterable[ReportWarning] | None:
    error = scores.evaluation.record.mean.get("ece")
    if error is None:
        return None
    if error <= MISCALIBRATED:
        return []
    sure = ""
    bins = scores.evaluation.record.reliability
    if bins is not None:
        pairs = zip(bins.confidence, bins.accuracy, bins.count, strict=False)
        known = [(text - true) * number for text, true, number in pairs if text is not None and true is not None]
        excess = math.fsum(known)
        sure = ", mostly too high" if excess > 0 else ", mostly too low"
    return [
        ReportWarning(
            "caution",
            f"The expected calibration error is {error:.3f}: probabilities are off by {percent(error)} on average"
            f"{sure}, so do not read them as odds.",
        )
    ]


def _torn(scores: Scores) -> Iterable[ReportWarning] | None:
    record = scores.evaluation.record
    size, pieces = record.mean.get("log_vca"), record.mean.get("vca")
    if size is None or pieces is None:
        return None
    if size <= TORN:
        return []
    if pieces > 1:
        words = f"structures are broken: the masks have {pieces:.1f} times as many pieces as the truth"
    else:
        words = f"structures are merged or missing: the masks have {pieces:.2f} times as many pieces as the truth"
    return [ReportWarning("caution", f"Mean |log VCA| is {size:.2f}, and {words}.")]


def _lopsided(scores: Scores) -> Iterable[ReportWarning] | None:
    mean = scores.evaluation.record.mean
    found, right = mean.get("sensitivity"), mean.get("precision")
    if found is None or right is None:
        return None
    if abs(found - right) <= LOPSIDED:
        return []
    what = "miss more than they add" if found < right else "add more than they miss"
    better = "lower" if found < right else "higher"
    return [
        ReportWarning(
            "note",
            f"The masks {what}: sensitivity {found:.3f}, precision {right:.3f}. "
            f"A {better} threshold, chosen on validation cases, may serve better.",
        )
    ]


def _weak_class(scores: Scores) -> Iterable[ReportWarning] | None:
    record = scores.evaluation.record
    per_class = {name: means.get("dice") for name, means in record.classes_mean.items()}
    known = {name: value for name, value in per_class.items() if value is not None}
    mean = record.mean.get("dice")
    if len(known) < 2 or mean is None:
        return None
    weak = sorted((value, name) for name, value in known.items() if value < mean - FAR)
    if not weak:
        return []
    text = listing([f"{name} with {value:.3f}" for value, name in weak])
    return [ReportWarning("caution", f"The mean Dice over classes, {mean:.3f}, hides weak ones: {text}.")]


def _tiny(scores: Scores) -> Iterable[ReportWarning] | None:
    traits = scores.run.record.traits if scores.run is not None else None
    shares = traits.get("foreground") if traits else None
    mean = scores.evaluation.record.mean
    flattered = [metric(key).title.lower() for key in ("accuracy", "specificity") if key in mean]
    if not isinstance(shares, list) or not shares or not flattered:
        return None
    share = min(float(value) for value in shares)
    if share >= TINY:
        return []
    return [
        ReportWarning(
            "note",
            f"The smallest class covers {percent(share)} of the training pixels: a mask that finds none of it still "
            f"reaches an accuracy of {1 - share:.4f}, so {' and '.join(flattered)} say little.",
        )
    ]


def _region(scores: Scores) -> Iterable[ReportWarning] | None:
    traits = scores.run.record.traits if scores.run is not None else None
    if not traits or not traits.get("regions") or not scores.same_data:
        return None
    cases = scores.evaluation.record.cases
    without = [case.id for case in cases if case.files.region is None]
    mean = scores.evaluation.record.mean
    flattered = [metric(key).title.lower() for key in ("accuracy", "specificity") if key in mean]
    flattered += ["ROC-AUC"] if "auc" in mean else []
    if not without or not flattered:
        return []
    return [
        ReportWarning(
            "note",
            f"The data have regions of interest, but {len(without):,} of {plural(len(cases), 'case')} "
            f"{'was' if len(without) == 1 else 'were'} scored over the whole image; easy surroundings raise "
            f"{listing(flattered)}.",
        )
    ]


SCORE_CHECKS: tuple[Check[Scores], ...] = (
    Check("the number of cases and the width of the interval", _few),
    Check("subjects with several cases", _subjects),
    Check("failed cases", _failed),
    Check("training cases among those scored", _trained_on),
    Check("the gap between validation and these scores", _gap),
    Check("cases far below the median", _outliers),
    Check("cases in which nothing was found", _nothing_found),
    Check("masks that mark nothing or everything", _trivial),
    Check("false alarms", _false_alarms),
    Check("the convention for empty masks", _older),
    Check("undefined metrics", _undefined),
    Check("calibration", _calibration),
    Check("broken or merged structures", _torn),
    Check("the balance of sensitivity and precision", _lopsided),
    Check("weak classes", _weak_class),
    Check("the share of foreground", _tiny),
    Check("regions of interest", _region),
)
