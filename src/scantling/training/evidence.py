"""What is kept of the answers to validation cases to learn a postprocessing from: some pixels, and components."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from scantling.contract.capabilities import Segmenter
from scantling.core.case import IGNORE, Case, Sample
from scantling.core.errors import ScantlingError
from scantling.core.pieces import value_counts
from scantling.core.postprocessing import Rule
from scantling.core.randomness import numpy_generator
from scantling.data.loading import load
from scantling.inference.answering import decide, segment
from scantling.inference.bands import answer_in_bands
from scantling.inference.postprocessing import components_of, pixel_size, stay
from scantling.inference.tiles import Tiler
from scantling.metrics.arrays import bounding_box

PIXELS = 100_000
"""About so many pixels of all cases are kept with their probabilities."""
THRESHOLDS = (0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8, 0.1, 0.9, 0.05, 0.95)
"""That are tried, the nearest to one half first."""


@dataclass(frozen=True)
class Components:
    """The components of a class in an answer, those of one size together; rules depend on the size alone.

    Attributes:
        sizes: (N,) in the unit of the traits, rising.
        found, right: (N,) their known pixels, and those of them that the truth has too.
        truth: known pixels of the truth.
        known: whether any pixel is known.
    """

    sizes: np.ndarray
    found: np.ndarray
    right: np.ndarray
    truth: int
    known: bool = True

    @classmethod
    def of(cls, mask: np.ndarray, truth: np.ndarray, known: np.ndarray, *, pixel: float) -> Components:
        """Of a mask, a truth and what is known, all (*S) of bool."""
        wanted, box = int(np.count_nonzero(truth & known)), bounding_box(mask)
        if box is None:
            none = np.zeros(0)
            return cls(none, none, none, wanted, bool(known.any()))
        numbers, pixels = components_of(mask[box])
        places = (known[box], truth[box] & known[box])
        inside = [value_counts(numbers[place], low=0, high=len(pixels) - 1) for place in places]
        sizes, which = np.unique(pixels[1:], return_inverse=True)
        found, right = (np.bincount(which, weights=counts[1:], minlength=len(sizes)) for counts in inside)
        return cls(sizes * pixel, found, right, wanted, bool(known.any()))

    def dice(self, rule: Rule) -> float:
        """Dice of the components that stay; 1 where truth and answer are empty, NaN where nothing is known."""
        kept = stay(self.sizes, rule)
        both = self.truth + float(self.found[kept].sum())
        return (2 * float(self.right[kept].sum()) / both if both else 1.0) if self.known else math.nan


@dataclass(frozen=True)
class Evidence:
    """What is kept of an answer and its truth.

    Attributes:
        likely: (n, K) float32, the probabilities of known pixels from all of the image.
        true: (n, K) bool, their classes.
        tables: for each class the components above each of `THRESHOLDS`; of several exclusive classes those of the most
            likely class, once.
        truths: for each class the components of the truth.
    """

    subject: str
    likely: np.ndarray
    true: np.ndarray
    tables: tuple[tuple[Components, ...], ...]
    truths: tuple[Components, ...]

    @classmethod
    def of(
        cls, probabilities: np.ndarray, sample: Sample, *, exclusive: bool, pixel: float = 1.0, pixels: int = PIXELS
    ) -> Evidence:
        """Of probabilities (K, *S) and a sample with its mask.

        Args:
            pixel: the area or volume of one.
            pixels: how many are kept, at most.
        """
        mask, count = sample.masks[0], len(probabilities)
        layers = [mask[0] == number + 1 if exclusive else mask[number] == 1 for number in range(count)]
        known = [(mask[0] if exclusive else mask[number]) != IGNORE for number in range(count)]
        known = known if sample.region is None else [one & sample.region for one in known]
        cut = not exclusive or count == 1
        decided = None if cut else decide(probabilities, exclusive=True)
        tables = []
        for number in range(count):
            masks = (
                (probabilities[number] > np.float32(threshold) for threshold in THRESHOLDS)
                if decided is None
                else (decided == number + 1,)
            )
            tables.append(tuple(Components.of(one, layers[number], known[number], pixel=pixel) for one in masks))
        size, draw = mask[0].size, numpy_generator("postprocessing", sample.case.id)
        places = np.arange(size) if size <= 4 * pixels else np.sort(draw.integers(0, size, 4 * pixels))
        places = places[np.logical_and.reduce([one.reshape(-1)[places] for one in known])]
        places = places[np.linspace(0, len(places) - 1, min(pixels, len(places))).astype(np.intp)]
        true = np.stack([layer.reshape(-1)[places] for layer in layers], 1)
        likely = np.clip(probabilities.reshape(count, -1)[:, places].T, 0, 1)
        truths = tuple(Components.of(layer, layer, layer, pixel=pixel) for layer in layers)
        return cls(sample.case.subject, likely, true, tuple(tables), truths)


def evidence_of(
    method: Segmenter, cases: Sequence[Case], *, device: torch.device, autocast: torch.dtype | None
) -> list[Evidence]:
    """Of cases with masks that can be read and know all classes; none where the method decides itself."""
    labels, tiler, found = method.traits.labels, Tiler(), list[Evidence]()
    cases = [case for case in cases if case.drawn_classes is None]
    if labels is None:
        return []
    about = partial(
        segment, method, device=device, tiler=tiler, autocast=autocast, options=method.segment_with(postprocess=False)
    )
    for case in cases:
        try:
            sample = load(
                case, labels=labels, channels=method.channels, reads=("image", "mask", "region"),
                partial=method.partial,
            )  # fmt: skip
            answer = answer_in_bands(about, sample, [method], exclusive=labels.exclusive, maps=True)
        except ScantlingError:
            continue  # the answers to the validation cases say why
        likely = answer.probabilities
        decides = likely is None or not np.array_equal(decide(likely, exclusive=labels.exclusive), answer.decision)
        if likely is None or decides or answer.objects is not None or len(answer.samples):
            return []
        pixel, pixels = pixel_size(sample.geometry, method.traits), max(1, PIXELS // len(cases))
        found.append(Evidence.of(likely, sample, exclusive=labels.exclusive, pixel=pixel, pixels=pixels))
    return found
