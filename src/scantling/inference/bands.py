"""A large image is answered part by part, so that only its own pixels and its masks lie in memory as a whole.

The parts are bands, or squares where objects are found in maps: then those of neighbouring squares are stitched.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from typing import Any, Protocol

import numpy as np

from scantling.contract.capabilities import Segmenter
from scantling.contract.results import DISPUTED, Objects
from scantling.core.case import Sample
from scantling.core.machine import memory_free
from scantling.core.postprocessing import Rule
from scantling.data.channels import narrowed
from scantling.data.preprocessing import Units, units_of
from scantling.inference.answering import Answered, channels_of, decide
from scantling.inference.objects import gather, within
from scantling.inference.one_model import Lazy
from scantling.inference.postprocessing import drop_components, pixel_size
from scantling.metrics.confidence import confidence_sums

ENOUGH = 1 << 29
"""Bytes that the arrays of a band may take; ours. Of what is free, at most a quarter."""
CONTEXT = {2: 64, 3: 32}
"""Pixels beside a band that the networks see and that are answered with the neighbours; ours."""
OBJECTS_CONTEXT = 128
"""The same of a square in which objects are found; squares share twice as much, and what is larger is joined; ours."""
OBJECTS_BYTES = 130
"""What finding objects in maps takes a pixel, as measured with `hover-net`: gradients, markers and a watershed."""
ALIGNED = 32
"""Bands begin at multiples of so many pixels, as the grids of networks that halve them five times do."""


class Answer(Protocol):
    """Answers one sample, or a band of one: then with the units of the channels of the whole for each model."""

    def __call__(self, sample: Sample, /, *, units: Sequence[Sequence[Units]] | None = None) -> Answered:
        """The answer on the grid of the sample."""


@dataclass(frozen=True)
class Decided:
    """What is written of an answer.

    Attributes:
        decision: class numbers (*S) uint8, or (K, *S) of 0 and 1 where classes overlap.
        probabilities: (K, *S) float32; None of a large image where they are not wanted.
        samples: what each sample decides, one by one.
        uncertainty: (*S) float32 by name; `DISPUTED` of an answer with a second opinion.
        objects: what was found, where the method finds objects.
        sums: (K, 3) of `metrics.confidence`, where the image came in bands or there is a second opinion.
    """

    decision: np.ndarray
    probabilities: np.ndarray | None = None
    samples: Sequence[np.ndarray] = ()
    uncertainty: Mapping[str, np.ndarray] = field(default_factory=dict)
    objects: Objects | None = None
    sums: np.ndarray | None = None

    @property
    def confidence_sums(self) -> np.ndarray | None:
        """(K, 3) of `metrics.confidence` of the whole image."""
        if self.sums is None and self.probabilities is not None:
            return confidence_sums(self.probabilities, self.decision)
        return self.sums

    @classmethod
    def of(cls, answer: Answered, *, exclusive: bool) -> Decided:
        """Of an answer about a whole image."""
        decision = answer.decision
        if decision is None:
            decision = decide(answer.probabilities, exclusive=exclusive, thresholds=answer.postprocessing.thresholds)
        samples = Lazy([partial(_sample, answer, number, exclusive) for number in range(len(answer.samples))])
        uncertainty, sums = dict(answer.uncertainty or {}), None
        if answer.opinion is not None:
            uncertainty[DISPUTED] = np.abs(decision.reshape(answer.opinion.shape) - answer.opinion)[0]
            sums = confidence_sums(answer.opinion, decision)
        return cls(decision, answer.probabilities, samples, uncertainty, answer.objects, sums)


def _sample(answer: Answered, number: int, exclusive: bool) -> np.ndarray:
    return decide(answer.samples[number], exclusive=exclusive)


@dataclass(frozen=True)
class Band:
    """Where a part of an image lies, as start and stop along each axis.

    Attributes:
        seen: of what the models see.
        kept: of what is kept of their answer.
    """

    seen: tuple[tuple[int, int], ...]
    kept: tuple[tuple[int, int], ...]

    def see(self, whole: np.ndarray) -> np.ndarray:
        """What is seen of an array (..., *S) about the image."""
        return whole[_slices(self.seen)]

    def put(self, whole: np.ndarray, part: np.ndarray) -> None:
        """Put what is kept of an answer about the band, (..., *S_band), into that about the image."""
        whole[_slices(self.kept)] = self.keep(part)

    def keep(self, part: np.ndarray) -> np.ndarray:
        """What is kept of an answer about the band, (..., *S_band)."""
        return part[_slices(self.inside)]

    @property
    def inside(self) -> list[tuple[int, int]]:
        """What is kept, counted from where that which is seen begins."""
        return [(a - low, b - low) for (a, b), (low, _) in zip(self.kept, self.seen, strict=True)]


def _slices(ends: Sequence[tuple[int, int]]) -> tuple[Any, ...]:
    return (..., *(slice(start, stop) for start, stop in ends))


def bands_of(sample: Sample, models: Sequence[Segmenter], *, most: int | None = None) -> Iterator[Band]:
    """The bands of an image, or squares where objects are found in maps; one where it is small enough.

    One, too, where a model sees the whole image at a fixed size or longest side, draws samples, each of which is one
    hypothesis about all of it, or finds objects in windows of its own. Volumes of which a model sees single slices come
    in bands of slices.

    Args:
        most: bytes; None: `ENOUGH`, or a quarter of what is free.
    """
    shape = sample.geometry.shape
    recipe, traits = models[0].preprocessing, models[0].traits
    slicing = recipe.dimensions == 2 and len(shape) == 3
    axis = traits.slice_axis if slicing else shape.index(max(shape))
    in_maps = any(model.objects_in_maps for model in models)
    if most is None:  # objects at seams depend on the squares, and so not on what is free
        most = ENOUGH if in_maps else min(ENOUGH, memory_free() // 4)
    grown = max(1.0, sample.scale**-2)  # pixels on the grid of a method for one of the file
    each = math.ceil(grown * (OBJECTS_BYTES * in_maps + 4 * (len(sample.image) + 4 * max(1, len(traits.classes)))))
    recipes = [model.preprocessing for model in models]
    whole = any(model.draws or (model.finds_objects and not model.objects_in_maps) for model in models) or any(
        one.size is not None or one.longest for one in recipes
    )
    steps, context = list(shape), 0 if slicing else OBJECTS_CONTEXT if in_maps else CONTEXT[len(shape)]
    if each * math.prod(shape) > most and (slicing or not whole):
        fit = math.isqrt(most // each) if in_maps else most // (each * math.prod(shape) // shape[axis])
        step = max(1 if slicing else ALIGNED, (fit - 2 * context) // ALIGNED * ALIGNED)
        steps = [min(step, length) if in_maps or place == axis else length for place, length in enumerate(shape)]
    for corner in product(*(range(0, length, step) for length, step in zip(shape, steps, strict=True))):
        kept = [(a, min(a + step, length)) for a, step, length in zip(corner, steps, shape, strict=True)]
        seen = [(max(0, a - context), min(length, b + context)) for (a, b), length in zip(kept, shape, strict=True)]
        yield Band(tuple(seen), tuple(kept))


def answer_in_bands(
    answer: Answer, sample: Sample, models: Sequence[Segmenter], *, exclusive: bool, maps: bool, most: int | None = None
) -> Decided:
    """Answer a sample as a whole, or band by band where it is large; then drop the components that are to be dropped.

    Intensities are normalised by those of the whole image, and components are those of the whole mask. Objects are
    those that reach into what is kept of a band, each once (`objects.gather`).

    Args:
        answer: about a sample or a band.
        models: all that answer.
        exclusive: whether the classes are.
        maps: whether the probabilities of a large image are wanted.
        most: bytes that a band may take; see `bands_of`.
    """
    bands = list(bands_of(sample, models, most=most))
    if len(bands) == 1:
        return _whole(answer, sample, models, exclusive=exclusive)
    channels = [model.traits.only(model.channels) for model in models]
    all_ = channels_of(models)
    units = [
        units_of(narrowed(sample, all_, model.channels).image, sample.region, model.preprocessing, traits)
        for model, traits in zip(models, channels, strict=True)
    ]
    whole: Decided | None = None
    sums, windows = np.zeros((1, 3)), list[tuple[tuple[int, ...], tuple[int, ...], Objects]]()
    rules = tuple[Rule, ...]()
    for band in bands:
        found = answer(_part(sample, band), units=units)
        if found.objects is not None:
            corner, shape = tuple(a for a, _ in band.seen), tuple(b - a for a, b in band.seen)
            windows.append((corner, shape, within(found.objects, band.inside)))
        part, rules = Decided.of(found, exclusive=exclusive), found.postprocessing.components
        whole = _empty(part, sample.geometry.shape, maps=maps) if whole is None else whole
        believed = found.probabilities if found.opinion is None else found.opinion
        kept = (band.keep(array) for array in (believed, part.decision))
        sums = sums + confidence_sums(*kept)
        band.put(whole.decision, part.decision)
        if whole.probabilities is not None:
            band.put(whole.probabilities, found.probabilities)
        for target, drawn in zip(whole.samples, part.samples, strict=True):
            band.put(target, drawn)
        for name, target in whole.uncertainty.items():
            band.put(target, part.uncertainty[name])
    if whole is None:
        raise ValueError("an empty image has no bands")
    objects = gather(windows, sample.geometry.shape) if windows else None
    return _cleaned(replace(whole, sums=sums, objects=objects), rules, sample, models, exclusive=exclusive)


def _whole(answer: Answer, sample: Sample, models: Sequence[Segmenter], *, exclusive: bool) -> Decided:
    found = answer(sample)
    rules = found.postprocessing.components
    return _cleaned(Decided.of(found, exclusive=exclusive), rules, sample, models, exclusive=exclusive)


def _cleaned(
    decided: Decided, rules: Sequence[Rule], sample: Sample, models: Sequence[Segmenter], *, exclusive: bool
) -> Decided:
    """Without the components of the whole mask that the rules drop.

    The confidence is that of the mask before, but of classes of which nothing stays: those were not found.
    """
    if all(rule is None for rule in rules):
        return decided
    pixel = pixel_size(sample.geometry, models[0].traits) / sample.scale**2
    cleaned = drop_components(decided.decision, rules, exclusive=exclusive, pixel=pixel)
    sums = decided.confidence_sums
    if sums is not None:
        stays = [bool((cleaned == place + 1 if exclusive else cleaned[place]).any()) for place in range(len(sums))]
        sums = np.where(np.array(stays)[:, None], sums, sums * (0, 1, 0))
    return replace(decided, decision=cleaned, sums=sums)


def _empty(part: Decided, shape: tuple[int, ...], *, maps: bool) -> Decided:
    """Arrays for an image of this shape, for answers like that about its first band."""

    def like(array: np.ndarray) -> np.ndarray:
        return np.zeros((*array.shape[: array.ndim - len(shape)], *shape), array.dtype)

    return Decided(
        like(part.decision),
        like(part.probabilities) if maps and part.probabilities is not None else None,
        [like(sample) for sample in part.samples],
        {name: like(map_) for name, map_ in part.uncertainty.items()},
    )


def _part(sample: Sample, band: Band) -> Sample:
    """The sample of a band: images and regions cut, no labels."""

    def cut(array: np.ndarray | None) -> np.ndarray | None:
        return None if array is None else band.see(array)

    image = cut(sample.image)
    return replace(
        sample,
        image=sample.image if image is None else image,
        region=cut(sample.region),
        outside=cut(sample.unanswered),
        geometry=replace(sample.geometry, shape=tuple(b - a for a, b in band.seen), stored=None, orientation=None),
        masks=(),
    )
