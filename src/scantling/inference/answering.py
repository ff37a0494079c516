"""One case through one or several models: onto their grids, answered, and back onto the grid of the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from scantling.contract.capabilities import Segmenter
from scantling.contract.method import Method
from scantling.contract.options import SEGMENT_DEFAULTS, SegmentOptions
from scantling.contract.results import Objects
from scantling.contract.step import Inference
from scantling.core.case import Sample
from scantling.core.errors import DataError, SettingsError
from scantling.core.postprocessing import AS_ANSWERED, Postprocessing
from scantling.core.randomness import seed_of
from scantling.data.channels import narrowed
from scantling.data.contents import some
from scantling.data.preprocessing import Units
from scantling.fusion import fuse, uncertainties
from scantling.inference.one_model import Lazy, Parts, drawn_by, mean_of, tensor_of
from scantling.inference.tiles import Tiler


@dataclass(frozen=True)
class Answered:
    """An answer on the grid of the sample's file.

    Attributes:
        probabilities: (K, *S) float32, after the temperature of the postprocessing.
        samples: (N, K, *S) float32 in [0, 1], one by one; empty where there is a single one.
        uncertainty: (*S) float32 by name.
        decision: class numbers (*S) uint8, or (K, *S) of 0 and 1 where classes overlap; None where the probabilities
            decide.
        objects: what was found, where the method finds objects.
        opinion: (1, *S) in [0, 1], where every model that answers has a second one (`Segmenter.second_opinion`).
        postprocessing: whose thresholds and rules of components follow; those of one answer, not of several.
    """

    probabilities: np.ndarray
    samples: Sequence[np.ndarray] = ()
    uncertainty: Mapping[str, np.ndarray] | None = None
    decision: np.ndarray | None = None
    objects: Objects | None = None
    opinion: np.ndarray | None = None
    postprocessing: Postprocessing = AS_ANSWERED


def segment(
    method: Segmenter,
    sample: Sample,
    *,
    device: torch.device,
    tiler: Tiler,
    others: Sequence[tuple[Segmenter, Tiler]] = (),
    options: SegmentOptions = SEGMENT_DEFAULTS,
    autocast: torch.dtype | None = None,
    slices_at_once: int = 8,
    units: Sequence[Sequence[Units]] | None = None,
) -> Answered:
    """Answer one sample: what is drawn is brought onto the grid of the file first, one by one, and made one there.

    Beyond the region of interest, and where the image holds no number, every answer is 0 (`Sample.unanswered`).

    Args:
        tiler: the method's own.
        others: models that answer together with it, each with its tiler; each of their samples counts as one of all,
            but for the rule "dempster", which needs independent sources: the mean of the samples of a model is one.
            Where they read other channels, the sample has those of all (`channels_of`), and a model of which it has
            none is left out (`seen_by`); as many votes as were asked are then asked of those that answer, at most all.
        options: how many samples, of how many steps, made one how; views; the seed, of which with the case's id and
            the number of the model all randomness is a function.
        slices_at_once: how many slices of a volume a method in 2-D answers together.
        units: for each model those of the channels of the whole image, where the sample is a part of one.

    Raises:
        DataError: the sample lacks channels without which a model cannot answer, or has those of none.
    """
    plan = method.segment_options(options)
    labels = method.labels_of(options)
    exclusive = labels is None or labels.exclusive
    reliabilities = options.reliabilities
    if isinstance(reliabilities, str):
        raise SettingsError(
            "--options.reliabilities learn: they are learnt by `scantling predict` on whole folders; for one image "
            "give numbers (scantling.evidence.learn_reliabilities finds them)"
        )
    drawn, believed = list[Parts](), list[tuple[float, ...]]()
    each_sees = seen_by([method, *(each for each, _ in others)], sample)
    for number, ((each, own), seen) in enumerate(zip([(method, tiler), *others], each_sees, strict=True)):
        if seen is None:
            continue  # its reliability is 0
        root = _seed(options, sample, number)
        resolved = each.segment_options(options)
        inference = Inference(seed=root, stage="answer", device=device, tile=own, find=own.find, options=resolved)
        parts = drawn_by(
            each, seen, inference, views=each.uses_views(options), decided=bool(others), autocast=autocast,
            slices_at_once=slices_at_once, units=None if units is None else units[number],
        )  # fmt: skip
        drawn.append(parts)
        believed.append(reliabilities[number] if reliabilities else (1.0,))
    first, makes = drawn[0], [make for parts in drawn for make in parts.makes]
    own_maps = {} if others else first.uncertainty
    opinions = [parts.opinion for parts in drawn if parts.opinion is not None]
    opinion = np.mean(opinions, axis=0) if len(opinions) == len(drawn) else None
    samples = Lazy(makes)
    if len(samples) == 1 and not others:
        plain = plan.postprocess and first.decision is None and first.objects is None
        rules = method.postprocessing if plain else AS_ANSWERED
        return Answered(samples[0], (), own_maps, first.decision, first.objects, opinion, rules)
    tensors = Lazy([partial(tensor_of, make) for make in makes])
    votes = options.votes if others else plan.votes  # the settings of one model say nothing of the samples of all
    if votes is not None and len(drawn) <= len(others):
        votes = min(votes, len(samples))
    sources, weights = tensors, None
    if plan.fuse == "dempster":
        sources = Lazy([partial(tensor_of, partial(mean_of, parts.makes)) for parts in drawn])
        weights = torch.tensor(believed)
    fused = fuse(plan.fuse or "mean", sources, votes=votes, exclusive=exclusive, reliabilities=weights)
    read = {name: map_[0, 0].float().numpy() for name, map_ in uncertainties(tensors, exclusive=exclusive).items()}
    together = fused[0].float().numpy()
    if (beyond := sample.unanswered) is not None:  # several that are not sure of their 0 may make more of it
        together = np.where(beyond, np.float32(0), together)
    return Answered(together, samples, read | dict(own_maps), None, first.objects, opinion)


def opinion(
    method: Segmenter,
    sample: Sample,
    *,
    number: int = 0,
    device: torch.device,
    tiler: Tiler,
    options: SegmentOptions,
    autocast: torch.dtype | None = None,
    slices_at_once: int = 8,
) -> np.ndarray:
    """What a model says of a sample as one source of several (K, *S): the mean of its samples, or what it decides.

    Args:
        number: of the model among the several, from 0; its random numbers are those of `segment`.
    """
    seed, resolved = _seed(options, sample, number), method.segment_options(options)
    inference = Inference(seed=seed, stage="answer", device=device, tile=tiler, find=tiler.find, options=resolved)
    parts = drawn_by(
        method, sample, inference, views=method.uses_views(options), decided=True, autocast=autocast,
        slices_at_once=slices_at_once, units=None,
    )  # fmt: skip
    return mean_of(parts.makes)


def _seed(options: SegmentOptions, sample: Sample, number: int) -> int:
    """Of the random numbers of one of several models about a sample."""
    return seed_of(options.seed, *((sample.case.id, "model", number) if number else (sample.case.id,)))


def channels_of(methods: Sequence[Method]) -> tuple[str, ...]:
    """The channels that any of the methods reads, in their order."""
    return tuple(dict.fromkeys(name for each in methods for name in each.channels))


def seen_by(methods: Sequence[Method], sample: Sample) -> list[Sample | None]:
    """The sample as each of the methods sees it, with its own channels; None for one of which it has none.

    Args:
        sample: with the channels of all (`channels_of`); one method alone sees it as it is.

    Raises:
        DataError: it has some channels of a method that needs all of its own, or those of no method.
    """
    channels, found = channels_of(methods), list[Sample | None]()
    for each in methods:
        seen = narrowed(sample, channels, each.channels)
        if seen.channels is None or len(methods) == 1:
            found.append(seen)
        elif not seen.channels.any():
            found.append(None)
        elif each.partial:
            found.append(seen)
        else:
            lacks = [name for name, there in zip(each.channels, seen.channels, strict=True) if not there]
            raise DataError(f"{sample.case.id}: it lacks {some(lacks)}, without which {each.card.name} cannot answer")
    if all(seen is None for seen in found):
        raise DataError(f"{sample.case.id}: found no channel that a model reads; expected one of {some(channels)}")
    return found


def decide(probabilities: np.ndarray, *, exclusive: bool, thresholds: Sequence[float] = ()) -> np.ndarray:
    """Class numbers (*S) uint8 of exclusive classes, the background one of them; else (K, *S) of 0 and 1.

    Thresholds are one for each class, or one half; of several exclusive classes the most likely one is decided.
    """
    if not exclusive or len(probabilities) == 1:
        least = np.array(thresholds or (0.5,), np.float32).reshape(-1, *[1] * (probabilities.ndim - 1))
        chosen = (probabilities > least).astype(np.uint8)
        return chosen[0] if exclusive else chosen
    background = 1 - probabilities.sum(0)
    best = probabilities.argmax(0)
    return np.where(probabilities.max(0) > background, best + 1, 0).astype(np.uint8)
