"""How good the weights are on validation cases, each answered whole; processes share the cases.

A method that draws samples draws one of each case.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from scantling.contract.capabilities import Classifier, Registrar, Segmenter
from scantling.contract.method import Method
from scantling.core.case import IGNORE, Case, Labels, Sample
from scantling.core.errors import ScantlingError
from scantling.core.fields import reads_masks
from scantling.data.loading import load
from scantling.inference.answering import segment
from scantling.inference.bands import answer_in_bands
from scantling.inference.classifying import classify
from scantling.inference.registration import displacement_between
from scantling.inference.resampling import resample_onto
from scantling.inference.tiles import Tiler
from scantling.metrics.arrays import mean_of_defined
from scantling.metrics.classification import balanced_accuracy, confusion_matrix
from scantling.metrics.overlap import confusion
from scantling.training.processes import Processes

KEPT = 1 << 30
"""Bytes of validation cases that are kept in memory."""


class Validation(ABC):
    """Scores a method on validation cases with a truth.

    Args:
        labels: of the truth, whose classes the method knows; None: the method's own.

    Attributes:
        metric: the name of its value, of which more is better.
    """

    metric: str
    reads: tuple[str, ...]

    def __init__(
        self,
        method: Method,
        cases: Sequence[Case],
        *,
        device: torch.device,
        autocast: torch.dtype | None,
        seed: int,
        group: Processes,
        labels: Labels | None = None,
    ) -> None:
        self.method = method
        self.labels = labels or method.traits.labels
        self.cases = sorted(cases, key=lambda case: case.id)
        self.device, self.autocast, self.seed, self.group = device, autocast, seed, group
        self._tiler = Tiler()
        self._kept: dict[str, Sample] = {}
        self._held = 0

    def value(self) -> float:
        """The score over all cases; NaN where none has one."""
        own = [self._one_or_none(case) for case in self.cases[self.group.rank :: self.group.count]]
        return self.summary([one for part in self.group.all(own) for one in part if one is not None])

    def seconds(self, *, most: float) -> float:
        """What `value` takes, told from the first cases, which take `most` seconds together or are all.

        The first one is answered once before, for the sake of what is read and measured only once.
        """
        own = self.cases[self.group.rank :: self.group.count]
        for case in own[:1]:
            self._one_or_none(case)
        begun, spent = time.monotonic(), 0.0
        for number, case in enumerate(own, start=1):
            self._one_or_none(case)
            spent = time.monotonic() - begun
            if spent >= most or number == len(own):
                spent *= len(own) / number
                break
        return float(max(self.group.all(spent)))

    @abstractmethod
    def one(self, case: Case) -> Any:
        """What is known of the answer about one case."""

    @abstractmethod
    def summary(self, found: Sequence[Any]) -> float:
        """The score of what is known of all cases."""

    def _one_or_none(self, case: Case) -> Any:
        """None where the case cannot be read, which ends no training; its last answer says why (`train`'s warnings)."""
        try:
            return self.one(case)
        except ScantlingError:
            return None

    def sample(self, case: Case) -> Sample:
        """The case, from memory where it is kept."""
        kept = self._kept.get(case.id)
        if kept is None:
            method = self.method
            kept = load(
                case, labels=self.labels, channels=method.channels, reads=self.reads, partial=method.partial,
                layered=case.drawn_classes is not None,
            )  # fmt: skip
            size = kept.image.nbytes + sum(mask.nbytes for mask in kept.masks)
            if self._held + size <= KEPT:
                self._kept[case.id] = kept
                self._held += size
        return kept


class DiceValidation(Validation):
    """The mean over cases of the mean over classes of Dice, of those that the truth has.

    Without postprocessing, which is learnt on the same cases.
    """

    metric, reads = "dice", ("image", "mask", "region")
    method: Segmenter
    views = False
    """Whether the answer is the mean over the views of the method."""

    def one(self, case: Case) -> float:
        """The mean of the classes that the truth has; NaN where it has none."""
        labels, own = self.labels, self.method.traits.labels
        if labels is None or own is None:
            raise ValueError("without classes there is nothing to score")
        sample = self.sample(case)
        answer = partial(
            segment,
            self.method,
            device=self.device,
            tiler=self._tiler,
            options=self.method.segment_with.of(
                {"samples": 1, "seed": self.seed, "views": self.views, "postprocess": False}
            ),
            autocast=self.autocast,
        )
        decided = answer_in_bands(answer, sample, [self.method], exclusive=own.exclusive, maps=False).decision
        return dice_of(_renumbered(decided, own, labels), sample.masks[0], labels)

    def summary(self, found: Sequence[float]) -> float:
        """The mean over the cases that define it."""
        return mean_of_defined(found)


class ClassValidation(Validation):
    """Balanced accuracy: the mean over the image classes of the share of their cases that are recognised."""

    metric, reads = "balanced_accuracy", ("image", "region")
    method: Classifier

    def one(self, case: Case) -> tuple[str | None, str]:
        """The true class and the one that is answered."""
        found = classify(
            [self.method],
            self.sample(case),
            tilers=[self._tiler],
            options=self.method.classify_with.of({"samples": 1, "seed": self.seed}),
            device=self.device,
            autocast=self.autocast,
        )
        return case.image_class, found["image_class"]

    def summary(self, found: Sequence[tuple[str, str]]) -> float:
        """NaN without cases."""
        numbers = {name: number for number, name in enumerate(sorted({name for pair in found for name in pair}))}
        truth, answered = ([numbers[pair[side]] for pair in found] for side in (0, 1))
        return balanced_accuracy(confusion_matrix(answered, truth, classes=len(numbers)))


class WarpedValidation(Validation):
    """Dice of each case's mask and that of the next one, warped onto it: the mean over classes, then over the pairs."""

    metric, reads = "dice_warped", ("image", "mask", "region")
    method: Registrar

    def one(self, case: Case) -> float:
        """The mean of the classes that the mask of the case has; NaN for the last case, which has no next one."""
        place = self.cases.index(case)
        if place + 1 == len(self.cases):
            return math.nan
        fixed, moving = self.sample(case), self.sample(self.cases[place + 1])
        options = self.method.register_with.of({"seed": self.seed})
        displacement = displacement_between(
            self.method, fixed, moving, device=self.device, tiler=self._tiler, options=options, autocast=self.autocast
        ).displacement
        warped = resample_onto(
            moving.masks[0], fixed.geometry, moving.geometry, displacement=displacement, linear=False
        )
        labels = self.labels
        layers = len(labels.names) if labels is not None and labels.exclusive else len(warped)
        scores = []
        for number in range(layers):
            together = len(warped) == 1
            layer, value = (0, number + 1) if together else (number, 1)
            wanted, found = fixed.masks[0][layer], warped[layer]
            known = (wanted != IGNORE) & (found != IGNORE)
            scores.append(_dice_of_known(found == value, wanted == value, known))
        return mean_of_defined(scores)

    def summary(self, found: Sequence[float]) -> float:
        """The mean over the pairs that define it."""
        return mean_of_defined(found)


def dice_of(decided: np.ndarray, truth: np.ndarray, labels: Labels) -> float:
    """The mean over the classes that the truth has of Dice over the pixels that are known; NaN where it has none.

    Args:
        decided: class numbers (*S), or (K, *S) of 0 and 1 where classes overlap.
        truth: as in `Sample.masks`, or layered.
    """
    return mean_of_defined([_dice_of_known(*layers) for layers in _layers_of(decided, truth, labels)])


def marked_in(decided: np.ndarray, truth: np.ndarray, labels: Labels) -> dict[str, bool]:
    """Whether an answer marks any known pixel, for each class that the truth has.

    Args:
        decided, truth: as of `dice_of`.
    """
    layers = zip(labels.names, _layers_of(decided, truth, labels), strict=True)
    return {name: bool((found & known).any()) for name, (found, wanted, known) in layers if (wanted & known).any()}


def _layers_of(
    decided: np.ndarray, truth: np.ndarray, labels: Labels
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For each class what is marked, what the truth has, and where that is known, (*S) bool."""
    for number in range(len(labels.names)):
        flat = labels.exclusive and len(truth) == 1
        wanted = truth[0] == number + 1 if flat else truth[number] == 1
        found = decided == number + 1 if labels.exclusive else decided[number] == 1
        yield found, wanted, (truth[0] if flat else truth[number]) != IGNORE


def _renumbered(decided: np.ndarray, own: Labels, labels: Labels) -> np.ndarray:
    """A decision in the classes of a model, in those of the data, which are among them."""
    if own == labels:
        return decided
    places = [own.names.index(name) for name in labels.names]
    layers = [decided == place + 1 if own.exclusive else decided[place] == 1 for place in places]
    if not labels.exclusive:
        return np.stack(layers).astype(np.uint8)
    numbers = np.zeros(layers[0].shape, np.uint8)
    for number, layer in enumerate(layers, start=1):
        numbers[layer] = number  # where a model's classes overlap and these do not, the last one
    return numbers


def _dice_of_known(found: np.ndarray, wanted: np.ndarray, known: np.ndarray) -> float:
    """Dice over the pixels that are known (*S); NaN where none is."""
    return confusion(found, wanted, region=None if known.all() else known).dice if known.any() else math.nan


def with_truth(method: Method, cases: Sequence[Case]) -> list[Case]:
    """The cases with an image and with a truth for what the method answers: a mask, or an image class."""
    masks = isinstance(method, Segmenter) and "segment" in method.gives and method.traits.labels is not None
    classes = isinstance(method, Classifier) and "classify" in method.gives
    return [
        case
        for case in cases
        if case.has("image") and ((masks and case.has("mask")) or (classes and case.image_class is not None))
    ]


def validation_of(
    method: Method,
    cases: Sequence[Case],
    *,
    device: torch.device,
    autocast: torch.dtype | None,
    seed: int,
    group: Processes,
) -> Validation | None:
    """What scores a method in training: by masks where it segments and learns from masks, else by image classes.

    None where no case has a truth that the method may read.
    """
    reads = {word for words in method.card.needs for word in words}
    masked = [case for case in cases if case.has("image") and case.has("mask")]
    classed = [case for case in cases if case.has("image") and case.has("image_class")]
    kinds: list[tuple[type[Validation], bool, list[Case]]] = [
        (DiceValidation, "segment" in method.gives and reads_masks(reads), masked),
        (WarpedValidation, "register" in method.gives and reads_masks(reads), masked if len(masked) > 1 else []),
        (ClassValidation, "classify" in method.gives and "image_class" in reads, classed),
    ]
    for kind, may, chosen in kinds:
        if may and chosen:
            return kind(method, chosen, device=device, autocast=autocast, seed=seed, group=group)
    return None
