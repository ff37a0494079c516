"""What is done to the answers of a trained segmenter is learnt on validation subjects, and kept where it helps there.

Each part (a temperature; by class a threshold and a rule of components) is chosen for each subject by the others, and
kept where the gain of subjects for which it was so chosen is beyond noise: a paired t-test, one-sided at 5 %. Nearly
all subjects' others choose the same value, the luckiest of all, so the level is divided by the number of values that
are tried (Bonferroni), of all thresholds and rules together; of temperatures by two, above and below 1, since the
log-loss is convex in 1/T. The design is ours; of the temperature see Guo et al. (2017).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Literal, TypeVar

import numpy as np
import torch
from scipy.special import stdtrit

from scantling.contract.capabilities import Segmenter
from scantling.contract.method import Method
from scantling.core.case import Case
from scantling.core.fields import reads_masks
from scantling.core.postprocessing import AS_ANSWERED, Postprocessing, Rule, Trial
from scantling.inference.postprocessing import with_temperature
from scantling.metrics.arrays import mean_of_defined
from scantling.metrics.calibration import calibration
from scantling.training.evidence import THRESHOLDS, Evidence, evidence_of

T = TypeVar("T")

LEAST, MOST = 5, 50
"""Validation subjects: with fewer nothing is learnt, of more so many are seen."""
CASES = 200
"""At most so many of their cases are seen."""
LEVEL, GAIN = 0.05, 0.002
"""A threshold or a rule has to gain more Dice than this, too."""
TEMPERATURES = np.exp(np.linspace(math.log(0.25), math.log(8), 71)).round(4)
"""5 % apart."""
FRACTIONS = (4**-1, 4**-2, 4**-3, 4**-4, 4**-5, 4**-6)
"""Sizes that are tried, as shares of the component in which a pixel of the truth lies, in the median over pixels."""


def learn_postprocessing(
    method: Method, cases: Sequence[Case], *, device: torch.device, autocast: torch.dtype | None
) -> Postprocessing:
    """What is done to the answers of `method`, learnt on validation cases: a function of model and cases.

    A method that reads no masks, draws samples, decides itself or calibrates itself is left alone, and so is one with
    fewer than `LEAST` validation subjects with a mask.
    """
    labels = method.traits.labels
    if not can_be_learnt(method) or not isinstance(method, Segmenter) or labels is None:
        return AS_ANSWERED
    subjects = {case.subject for case in cases if case.has("image") and case.has("mask")}
    chosen = cases_learnt_from(method, cases)
    evidence = evidence_of(method, chosen, device=device, autocast=autocast) if chosen else []
    if len({one.subject for one in evidence}) < LEAST:
        return Postprocessing(of=len(subjects)) if not chosen else AS_ANSWERED
    return fitted(evidence, labels.names, exclusive=labels.exclusive, of=len(subjects))


def can_be_learnt(method: Method) -> bool:
    """Whether a method reads masks, answers once, and does not calibrate itself."""
    reads = {word for words in method.card.needs for word in words}
    segments = isinstance(method, Segmenter) and "segment" in method.gives and not method.draws
    return segments and method.traits.labels is not None and method.calibration() is None and reads_masks(reads)


def cases_learnt_from(method: Method, cases: Sequence[Case]) -> list[Case]:
    """Those of the validation cases that are answered to learn a postprocessing; none where none is learnt."""
    if not can_be_learnt(method):
        return []
    masked = sorted((case for case in cases if case.has("image") and case.has("mask")), key=lambda case: case.id)
    subjects = sorted({case.subject for case in masked})
    if len(subjects) < LEAST:
        return []
    seen = _spread(subjects, MOST)
    return [
        case
        for subject in seen
        for case in _spread([case for case in masked if case.subject == subject], CASES // len(seen))
    ]


def fitted(evidence: Sequence[Evidence], names: Sequence[str], *, exclusive: bool, of: int = 0) -> Postprocessing:
    """The postprocessing that evidence about validation cases speaks for.

    Args:
        names: of the classes.
        exclusive: whether they are.
        of: how many validation subjects there are, seen or not.
    """
    subjects = sorted({one.subject for one in evidence})
    together = [[one for one in evidence if one.subject == subject] for subject in subjects]
    trials, temperature, ece = [], 1.0, None
    trial = _temperature(together, exclusive=exclusive)
    if trial is not None:
        trials.append(trial)
        temperature = float(trial.value) if trial.kept and isinstance(trial.value, float) else 1.0
        ece = (_ece(evidence, 1.0, exclusive=exclusive), _ece(evidence, temperature, exclusive=exclusive))
    cut = not exclusive or len(names) == 1
    level = LEVEL / (len(names) * (cut * (len(THRESHOLDS) - 1) + len(FRACTIONS) + 1))
    thresholds, rules = list[float](), list[Rule]()
    for number, name in enumerate(names):
        place = 0
        if cut:
            trial, place = _threshold(together, number, name, temperature, level)
            trials += [trial] if trial is not None else []
        thresholds.append(_heated(THRESHOLDS[place], temperature))
        trial, rule = _components(together, number, place, name, level)
        trials += [trial] if trial is not None else []
        rules.append(rule)
    return Postprocessing(
        temperature=temperature,
        thresholds=tuple(thresholds) if any(value != THRESHOLDS[0] for value in thresholds) else (),
        components=tuple(rules) if any(rule is not None for rule in rules) else (),
        ece=ece, subjects=len(subjects), cases=len(evidence), of=max(of, len(subjects)), trials=tuple(trials),
    )  # fmt: skip


@dataclass(frozen=True)
class _Choice:
    """Which of several ways is best, and what choosing it gains on subjects that did not choose it."""

    place: int
    kept: bool
    before: float
    after: float
    error: float
    subjects: int

    def trial(
        self, part: Literal["temperature", "threshold", "components"], name: str, value: Rule, *, sign: int = 1
    ) -> Trial:
        """As it is recorded; `sign` turns scores of which more is better into what they stand for."""
        return Trial(
            part=part, name=name, value=value if self.place else None, kept=self.kept,
            before=round(sign * self.before, 6), after=round(sign * self.after, 6), error=round(self.error, 6),
            subjects=self.subjects,
        )  # fmt: skip


def _choose(scores: np.ndarray, *, level: float, least: float) -> _Choice | None:
    """Choose a column of scores (subjects, ways), of which the first is to do nothing and earlier ones win ties.

    None where fewer than `LEAST` subjects define a score.
    """
    scores = scores[~np.isnan(scores).any(1)]
    count = len(scores)
    if count < LEAST:
        return None
    total = scores.sum(0)
    picked = np.round(total - scores, 9).argmax(1)  # each subject's by the others
    after = scores[np.arange(count), picked]
    gains = after - scores[:, 0]
    error = float(gains.std(ddof=1)) / math.sqrt(count)
    place = int(np.round(total, 9).argmax())
    beyond = float(gains.mean()) > max(least, float(stdtrit(count - 1, 1 - level)) * error)
    return _Choice(place, bool(place) and beyond, float(scores[:, 0].mean()), float(after.mean()), error, count)


def _temperature(together: Sequence[Sequence[Evidence]], *, exclusive: bool) -> Trial | None:
    """The temperature of the least negative log-likelihood, the same weight for every subject."""
    order = np.argsort(np.abs(np.log(TEMPERATURES)), kind="stable")
    ways = np.concatenate([[1.0], TEMPERATURES[order]])
    scores = np.stack([-_nll(cases, ways, exclusive=exclusive) for cases in together])
    choice = _choose(scores, level=LEVEL / 2, least=0.0)
    return None if choice is None else choice.trial("temperature", "", float(ways[choice.place]), sign=-1)


def _nll(cases: Sequence[Evidence], temperatures: np.ndarray, *, exclusive: bool) -> np.ndarray:
    """(T,) the mean over sampled pixels of -log p of the truth, by temperature; of classes that overlap over all."""
    likely = np.concatenate([case.likely for case in cases]).astype(np.float64)
    true = np.concatenate([case.true for case in cases])
    if not len(likely):
        return np.full(len(temperatures), math.nan)
    if exclusive:
        outcomes = np.concatenate([1 - likely.sum(1, keepdims=True), likely], 1)
        truth = np.where(true.any(1), true.argmax(1) + 1, 0)
    else:
        outcomes = np.stack([1 - likely.ravel(), likely.ravel()], 1)
        truth = true.ravel().astype(np.intp)
    outcomes = outcomes.clip(1e-7, 1)  # float32 knows no more
    own = -np.log(outcomes[np.arange(len(outcomes)), truth]).mean()
    return np.array([own / value + np.log((outcomes ** (1 / value)).sum(1)).mean() for value in temperatures])


def _ece(evidence: Sequence[Evidence], temperature: float, *, exclusive: bool) -> float:
    """The expected calibration error of the sampled pixels of all classes, each against the rest."""
    tables = []
    for case in evidence:
        if len(case.likely):
            likely = with_temperature(case.likely.T, temperature, exclusive=exclusive)
            tables += [calibration(np.clip(p, 0, 1), y) for p, y in zip(likely, case.true.T, strict=True)]
    return round(reduce(add, tables).ece, 6)


def _threshold(
    together: Sequence[Sequence[Evidence]], number: int, name: str, temperature: float, level: float
) -> tuple[Trial | None, int]:
    """The threshold of a class, and its place among `THRESHOLDS`, 0 where one half stays."""
    scores = np.array([
        [mean_of_defined(case.tables[number][place].dice(None) for case in cases) for place in range(len(THRESHOLDS))]
        for cases in together
    ])  # fmt: skip
    choice = _choose(scores, level=level, least=GAIN)
    if choice is None:
        return None, 0
    value = _heated(THRESHOLDS[choice.place], temperature)
    return choice.trial("threshold", name, value), choice.place if choice.kept else 0


def _components(
    together: Sequence[Sequence[Evidence]], number: int, place: int, name: str, level: float
) -> tuple[Trial | None, Rule]:
    """The rule of components of a class after the threshold at this place; None where all stay."""
    truths = [case.truths[number] for cases in together for case in cases]
    sizes, pixels = (np.concatenate(parts) for parts in zip(*((one.sizes, one.found) for one in truths), strict=True))
    if not len(sizes):
        return None, None
    order = sizes.argsort()
    typical = float(sizes[order][np.searchsorted(pixels[order].cumsum(), pixels.sum() / 2)])
    ways: tuple[Rule, ...] = (None, *(float(f"{typical * share:.4g}") for share in reversed(FRACTIONS)), "largest")
    scores = np.array([
        [mean_of_defined(case.tables[number][place].dice(way) for case in cases) for way in ways]
        for cases in together
    ])  # fmt: skip
    choice = _choose(scores, level=level, least=GAIN)
    if choice is None:
        return None, None
    return choice.trial("components", name, ways[choice.place]), ways[choice.place] if choice.kept else None


def _heated(threshold: float, temperature: float) -> float:
    """The threshold after the temperature that decides as this one does before it."""
    if threshold == THRESHOLDS[0]:
        return threshold
    return float(with_temperature(np.array([threshold]), temperature, exclusive=True)[0])


def _spread(values: Sequence[T], most: int) -> list[T]:
    """At most so many of the values, evenly spread; at least one."""
    if len(values) <= most:
        return list(values)
    return [values[place] for place in np.linspace(0, len(values) - 1, max(1, most)).round().astype(int)]
