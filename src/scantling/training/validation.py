"""How good the weights are on validation cases: mean Dice where the truth has something, each case answered whole.

A method that draws samples draws one of each case.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from scantling.contract.capabilities import Segmenter
from scantling.contract.options import SegmentOptions
from scantling.core.case import IGNORE, Case, Sample
from scantling.core.errors import ScantlingError
from scantling.data.loading import load
from scantling.inference.answering import decide, segment
from scantling.inference.tiles import Tiler
from scantling.metrics.arrays import mean_of_defined
from scantling.metrics.overlap import confusion
from scantling.training.processes import Processes

KEPT = 1 << 30
"""Bytes of validation cases that are kept in memory."""


class Validation:
    """Scores a method on labelled validation cases; processes share the cases."""

    def __init__(
        self,
        method: Segmenter,
        cases: Sequence[Case],
        *,
        device: torch.device,
        autocast: torch.dtype | None,
        seed: int,
        group: Processes,
    ) -> None:
        self.method = method
        self.cases = sorted(cases, key=lambda case: case.id)
        self.device, self.autocast, self.seed, self.group = device, autocast, seed, group
        self._tiler = Tiler()
        self._kept: dict[str, Sample] = {}
        self._held = 0

    def dice(self) -> float:
        """The mean over cases of the mean over classes, of those that the truth has; NaN where it has none anywhere."""
        own = self.cases[self.group.rank :: self.group.count]
        scores = [self._dice_or_nan(case) for case in own]
        return mean_of_defined(score for part in self.group.all(scores) for score in part)

    def _dice_or_nan(self, case: Case) -> float:
        """NaN where the case cannot be read, which ends no training; its last answer says why (`train`'s warnings)."""
        try:
            return self._dice(case)
        except ScantlingError:
            return math.nan

    def _dice(self, case: Case) -> float:
        labels = self.method.traits.labels
        if labels is None:
            raise ValueError("without classes there is nothing to score")
        sample = self._sample(case)
        answer = segment(
            self.method,
            sample,
            device=self.device,
            tiler=self._tiler,
            options=SegmentOptions(samples=1, seed=self.seed),
            autocast=self.autocast,
        )
        probabilities = answer.probabilities
        decided, truth = decide(probabilities, exclusive=labels.exclusive), sample.masks[0]
        scores = []
        for number in range(len(labels.names)):
            wanted = truth[0] == number + 1 if labels.exclusive else truth[number] == 1
            found = decided == number + 1 if labels.exclusive else decided[number] == 1
            known = (truth[0] if labels.exclusive else truth[number]) != IGNORE
            scores.append(confusion(found, wanted, region=None if known.all() else known).dice)
        return mean_of_defined(scores)

    def _sample(self, case: Case) -> Sample:
        kept = self._kept.get(case.id)
        if kept is None:
            traits = self.method.traits
            kept = load(case, labels=traits.labels, channels=traits.channels, reads=("image", "mask", "region"))
            size = kept.image.nbytes + sum(mask.nbytes for mask in kept.masks)
            if self._held + size <= KEPT:
                self._kept[case.id] = kept
                self._held += size
        return kept
