"""Doubts about a training: stopped early or late, chosen on its own evidence, on unusual terms."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import fmean, stdev

from scantling.records.run import never_found
from scantling.report.logs import Curve
from scantling.report.targets import Run
from scantling.report.warnings import Check, ReportWarning
from scantling.report.words import listing, metric, plural

FALLING = 0.05
"""A loss that fell by this share over the last fifth of a training was not done falling."""
FELL = 0.01
"""A loss that is lower at the end than at the start by less than this share never fell."""
RISING = 0.005
"""A validation value that gained this much over the last quarter was not done rising."""
OVERFITTED = 0.02
"""A validation value that ends this far below its best speaks of overfitting."""
FEW_LABELS = 5
FEW_VALIDATION = 5


def _unfinished(run: Run) -> Iterable[ReportWarning]:
    record = run.record
    if record.finished is None:
        planned = f" of {record.steps:,}" if record.steps else ""
        at = f"its log ends at step {run.log.last_step:,}{planned}"
        yield ReportWarning("serious", f"The training is not finished: {at}. The same command takes it up again.")


def _unread(run: Run) -> Iterable[ReportWarning]:
    if run.log.broken:
        yield ReportWarning(
            "note", f"{plural(run.log.broken, 'line')} of log.jsonl could not be read and count in no curve."
        )
    for sentence in run.unread:
        yield ReportWarning("caution", f"{sentence}.")


def _warnings(run: Run) -> Iterable[ReportWarning]:
    return [ReportWarning("caution", f"The run warned: {warning.rstrip('.')}.") for warning in run.record.warnings]


def _numbers(run: Run) -> Iterable[ReportWarning] | None:
    if not run.log.losses:
        return None
    broken = sum(math.isnan(value) for _, values in run.log.losses.values() for value in values)
    if not broken:
        return []
    losses = plural(broken, "logged loss is not a number", "logged losses are not numbers")
    return [ReportWarning("serious", f"{losses}: the training broke down in part.")]


def _validation(run: Run) -> Iterable[ReportWarning] | None:
    record, selected = run.record, run.record.selected
    if not record.split:
        return None
    held = len(record.split.get("validation", ()))
    if not held:
        step = f" (step {selected.step:,})" if selected is not None and selected.step is not None else ""
        kept = f"the weights are the last ones{step}, and overfitting could not be seen"
        return [ReportWarning("note", f"0 validation cases were held out: {kept}.")]
    if selected is None or selected.rule != "best":
        return []
    looks = max((len(steps) for steps, _ in run.log.validation.values()), default=0)
    value = f" with {selected.value:.3f}" if selected.value is not None else ""
    step = f" at step {selected.step:,}" if selected.step is not None else ""
    few = f", and {plural(held, 'case is', 'cases are')} few to choose by" if held < FEW_VALIDATION else ""
    return [
        ReportWarning(
            "caution" if few else "note",
            f"The weights are the best{value}{step} of {plural(looks, 'look')} at {plural(held, 'validation case')}: "
            f"the validation score flatters{few}; trust scores on other cases.",
        )
    ]


def _still_falling(run: Run) -> Iterable[ReportWarning] | None:
    if not _terms_of_loss(run):
        return None
    total = _total(run)
    fifth = len(total) // 5
    if fifth < 4:
        return None
    before, last = total[-2 * fifth : -fifth], total[-fifth:]
    if not _below(last, before, share=FALLING):
        return []
    return [
        ReportWarning(
            "note",
            f"The training loss was still falling, from {fmean(before):.4g} to {fmean(last):.4g} between the last two "
            "fifths of the training: more steps may give more.",
        )
    ]


def _never_fell(run: Run) -> Iterable[ReportWarning] | None:
    fell = _fell(run)
    if fell is None:
        return None
    if fell:
        return []
    total = _total(run)
    fifth = len(total) // 5
    from_to = ""
    if fifth:
        from_to = f": it is {fmean(total[:fifth]):.4g} over the first fifth of the training and "
        from_to += f"{fmean(total[-fifth:]):.4g} over the last"
    return [
        ReportWarning(
            "serious",
            f"The training loss never fell{from_to}. The model learnt nothing from its labels: see with "
            "`scantling check` whether they lie on their images, and try another learning rate.",
        )
    ]


def _course(run: Run) -> Iterable[ReportWarning] | None:
    found = _watched(run)
    if found is None:
        return None
    key, (steps, values) = found
    name = metric(key).title
    best = max(range(len(values)), key=values.__getitem__)
    quarter = values[-1 - max(1, len(values) // 4)]
    chosen = run.record.selected is not None and run.record.selected.rule == "best"
    if values[best] - values[-1] > OVERFITTED:
        fell = _fell(run)
        why = {
            True: ": the training overfitted",
            False: ", while the training loss never fell: the training did not overfit, it is unstable",
            None: "",
        }[fell]
        better = "A lower learning rate" if fell is False else "Fewer steps"
        remedy = "" if chosen else f" {better}, or --select best, would have served better."
        return [
            ReportWarning(
                "note" if chosen else "caution",
                f"Validation {name} peaked at {values[best]:.3f} (step {steps[best]:,.0f}) and ended at "
                f"{values[-1]:.3f}{why}.{remedy}",
            )
        ]
    if best == len(values) - 1 and values[-1] - quarter > RISING:
        return [
            ReportWarning(
                "note",
                f"Validation {name} was still rising at the end, from {quarter:.3f} to {values[-1]:.3f} over the last "
                "quarter: train longer.",
            )
        ]
    return []


def _terms_of_loss(run: Run) -> list[dict[float, float]]:
    """The finite values, by step, of each term of the loss of the last stage; none of players against each other,
    whose losses need not fall."""
    if not run.log.losses:
        return []
    stage = run.log.stages[-1]
    terms = {key: curve for key, curve in run.log.losses.items() if key[0] == stage}
    if len({player for _, player, _ in terms}) != 1:
        return []
    return [
        {step: value for step, value in zip(*curve, strict=True) if math.isfinite(value)} for curve in terms.values()
    ]


def _total(run: Run) -> list[float]:
    """The loss at the steps of which every term is known; terms may begin late."""
    terms = _terms_of_loss(run)
    return [math.fsum(term[step] for term in terms) for step in terms[0] if all(step in term for term in terms)]


def _fell(run: Run) -> bool | None:
    """Whether any term of the loss is lower at the end than at the start; None where the log is too short to tell.

    A sum may rise although all is well, since methods raise the weights of some terms.
    """
    finite = [list(term.values()) for term in _terms_of_loss(run)]
    fifths = [(values[: len(values) // 5], values[-(len(values) // 5) :]) for values in finite if len(values) >= 20]
    return any(_below(last, first, share=FELL) for first, last in fifths) if fifths else None


def _below(last: list[float], before: list[float], *, share: float) -> bool:
    """Whether values lie below earlier ones, of the same number, by more than their noise and by this share of them."""
    fall = fmean(before) - fmean(last)
    doubt = math.sqrt((stdev(before) ** 2 + stdev(last) ** 2) / len(last))
    return fall >= share * abs(fmean(before)) and fall >= 2 * doubt and fall > 0


def _marked(run: Run) -> Iterable[ReportWarning] | None:
    marked = run.record.marked
    if not marked and run.validation is not None and (found := run.validation.record.detection.get("found")):
        classes = run.validation.record.classes
        marked = {name: each.cases for name, each in found.classes.items()} or {" and ".join(classes): found.cases}
    if not marked:
        return None
    return [ReportWarning("serious", sentence) for sentence in never_found(marked)]


def _watched(run: Run) -> tuple[str, Curve] | None:
    """The validation curve of a higher-is-better metric in the last stage, Dice first, if it has four values."""
    curves = {key: curve for (stage, key), curve in run.log.validation.items() if stage == run.log.stages[-1]}
    for key in sorted(curves, key=lambda key: (key != "dice", key)):
        kept = [(step, value) for step, value in zip(*curves[key], strict=True) if math.isfinite(value)]
        if metric(key).direction == "higher" and len(kept) >= 4:
            return key, ([step for step, _ in kept], [value for _, value in kept])
    return None


def _labels(run: Run) -> Iterable[ReportWarning] | None:
    labelled = (run.record.traits or {}).get("labelled")
    if not isinstance(labelled, int) or labelled == 0 or run.blind:
        return None
    if labelled >= FEW_LABELS:
        return []
    few = plural(labelled, "labelled case")
    return [ReportWarning("caution", f"It learnt from {few}: another choice of so few could end differently.")]


def _terms(run: Run) -> Iterable[ReportWarning]:
    if run.record.preset == "tiny":
        steps = f" in {run.record.steps:,} steps" if run.record.steps else ""
        yield ReportWarning(
            "serious", f"The preset tiny tests the program{steps}: it was never meant to give good masks."
        )
    command = run.command
    changed = [
        " ".join(
            (word.removeprefix("--").removeprefix("settings."), *([] if "=" in word else command[at + 1 : at + 2]))
        )
        for at, word in enumerate(command)
        if word.startswith("--settings.") or word.partition("=")[0] == "--steps"
    ]
    if changed:
        depart = plural(len(changed), "setting departs", "settings depart")
        yield ReportWarning("note", f"{depart} from the preset: {listing(changed, most=6)}.")


ABOUT_TRAINING: tuple[Check[Run], ...] = (
    Check("whether the training finished", _unfinished),
    Check("what could not be read", _unread),
    Check("warnings of the run", _warnings),
    Check("losses that are no numbers", _numbers),
    Check("how the weights were chosen", _validation),
    Check("the fall of the training loss", _never_fell),
    Check("the end of the training loss", _still_falling),
    Check("the course of the validation", _course),
    Check("classes that were never found", _marked),
    Check("the number of labelled cases", _labels),
    Check("the preset and its settings", _terms),
)
