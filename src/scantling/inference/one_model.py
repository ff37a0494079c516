"""What one model answers about a sample, on the grid of its file: a pass, its samples, its views."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from scantling.contract.capabilities import Segmenter
from scantling.contract.method import Method, dropouts
from scantling.contract.results import Objects, Segmentation
from scantling.contract.step import Inference
from scantling.contract.views import turned, turned_back
from scantling.core.case import Sample
from scantling.core.errors import DataError, SettingsError
from scantling.core.fields import Kind
from scantling.core.randomness import seed_layers
from scantling.core.samples import Batch
from scantling.data.preprocessing import Preprocessed, Units, preprocess, restore_grid
from scantling.inference.objects import rescaled, without
from scantling.inference.postprocessing import with_temperature

T = TypeVar("T")


def batches_of(taken: Preprocessed, *, slicing: bool, many: int, caption: str = "") -> Iterator[Batch]:
    """The image of a sample as batches: one of one, or `many` slices at a time; with its caption if it has one."""
    if taken.image is None:
        raise ValueError("a case without an image cannot be segmented")
    whole = {"image": taken.image} | ({"region": taken.fields["region"]} if "region" in taken.fields else {})
    for first in range(0, taken.image.shape[1], many) if slicing else (0,):
        some = slice(first, first + many)
        fields = {name: array[:, some].movedim(1, 0) if slicing else array[None] for name, array in whole.items()}
        numbers = torch.arange(first, first + len(fields["image"]))
        present = {} if taken.channels is None else {"image": taken.channels.expand(len(numbers), -1)}
        captions = (caption,) * len(numbers) if caption else ()
        yield Batch(numbers, torch.zeros_like(numbers), fields, present=present, captions=captions)


class Lazy(Sequence[T]):
    """Arrays that are made when they are looked at, so that many large ones never stand in memory together."""

    def __init__(self, makes: Sequence[Callable[[], T]]) -> None:
        self._makes = makes

    def __len__(self) -> int:
        return len(self._makes)

    def __getitem__(self, number: int) -> T:  # type: ignore[override]
        return self._makes[number]()


def mean_of(makes: Sequence[Callable[[], np.ndarray]]) -> np.ndarray:
    """The mean of samples, of which no more than two are held."""
    first, *others = makes
    total = first()
    for make in others:
        total = total + make()
    return total / np.float32(len(makes)) if others else total


def tensor_of(make: Callable[[], np.ndarray]) -> Tensor:
    return torch.from_numpy(make())[None]


@dataclass(frozen=True)
class Parts:
    """What one model answers about a sample: what makes each of its samples on the grid of the file, and the rest."""

    makes: list[Callable[[], np.ndarray]]
    uncertainty: Mapping[str, np.ndarray]
    decision: np.ndarray | None = None
    objects: Objects | None = None
    opinion: np.ndarray | None = None


def drawn_by(
    method: Segmenter,
    sample: Sample,
    inference: Inference,
    *,
    views: bool,
    decided: bool,
    autocast: torch.dtype | None,
    slices_at_once: int,
    units: Sequence[Units] | None,
) -> Parts:
    """What a method answers. Until they are brought onto the grid of the file, samples wait on the processor.

    Slices whose samples are those of dropout are answered one by one, so that a sample drops the same in all of them.

    Args:
        decided: what the method decides itself is its answer: it is one of several.
    """
    recipe, traits, device = method.preprocessing, method.traits.only(method.channels), inference.device
    prepared = preprocess(sample, recipe, traits, units=units)
    slicing = recipe.dimensions == 2 and len(sample.geometry.shape) == 3
    outside = sample.unanswered
    exclusive = (labels := method.labels_of(inference.options)) is None or labels.exclusive
    by_dropout = (inference.options.samples or 1) > 1 and not method.draws
    answers, opinions, classes = list[Segmentation](), list[Tensor](), classes_of(method, inference)
    seen = method.resolved_views().each if views else []
    if method.objects_in_maps:
        inference, seen = replace(inference, views=seen), []
    with torch.no_grad(), torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
        many = 1 if by_dropout else slices_at_once
        batches = batches_of(prepared, slicing=slicing, many=many, caption=sample.case.caption)
        for number, batch in enumerate(batches):
            moment = replace(inference, number=number)
            ask = (
                partial(_by_dropout, method, inference=moment)
                if by_dropout
                else partial(method.segment, inference=moment)
            )
            brought = batch.to(device, method.dtype)
            answers.append(_on_processor(_over_views(ask, brought, classes, seen) if seen else ask(brought)))
            if (opinion := method.second_opinion(brought)) is not None:
                opinions.append(opinion.float().cpu())

    def back(values: Sequence[Tensor], *, linear: bool = True) -> np.ndarray:
        answer = torch.cat(list(values))  # (slices or 1, K, *grid)
        whole = answer.movedim(0, 1) if slicing else answer[0]
        kind: Kind = "probabilities" if linear else "labels"
        found = restore_grid(whole, sample, recipe, traits, kind=kind).numpy()
        return found if outside is None else np.where(outside, found.dtype.type(0), found)

    samples = [_samples(answer, classes, decided=decided) for answer in answers]
    temperature = method.postprocessing.temperature if inference.options.postprocess else 1.0

    def make(number: int) -> np.ndarray:
        return with_temperature(back([part[number] for part in samples]), temperature, exclusive=exclusive)

    names = answers[0].uncertainty
    return Parts(
        makes=[partial(make, number) for number in range(len(samples[0]))],
        uncertainty={name: back([answer.uncertainty[name] for answer in answers])[0] for name in names},
        decision=_decision(answers, back),
        objects=_objects(method, answers, back, prepared.shape, sample),
        opinion=back(opinions) if opinions else None,
    )


def _on_processor(answer: Segmentation) -> Segmentation:
    """An answer in float32 on the processor; uncertainty and samples alike.

    Raises:
        DataError: its probabilities or samples are not finite.
    """
    for found in (answer.probabilities, answer.samples):
        if found is not None and not bool(found.sum(dtype=torch.float32).isfinite()):
            raise DataError("the model answered with probabilities that are not finite; train it again")
    return replace(
        answer,
        probabilities=None if answer.probabilities is None else answer.probabilities.float().cpu(),
        samples=None if answer.samples is None else answer.samples.float().cpu(),
        uncertainty={name: map_.float().cpu() for name, map_ in answer.uncertainty.items()},
        decision=None if answer.decision is None else answer.decision.cpu(),
        maps={},
    )


def _decision(answers: Sequence[Segmentation], back: Callable[..., np.ndarray]) -> np.ndarray | None:
    """The method's own decision on the grid of the file, where it makes one."""
    decisions = [answer.decision for answer in answers if answer.decision is not None]
    if len(decisions) < len(answers):
        return None
    layers: np.ndarray = back(decisions, linear=False).astype(np.uint8)
    return layers[0] if len(layers) == 1 else layers


def _objects(
    method: Segmenter,
    answers: Sequence[Segmentation],
    back: Callable[..., np.ndarray],
    grid: tuple[int, ...],
    sample: Sample,
) -> Objects | None:
    """The objects of one image on the grid of the file, where the method finds objects.

    Raises:
        DataError: they were found in the slices of a volume, where nobody knows which of them belong together.
    """
    shape = sample.geometry.shape
    if not answers[0].instances:
        return None
    if len(shape) > method.preprocessing.dimensions:
        raise DataError(
            f"{sample.case.id}: {method.card.name} finds objects in pictures, and this is a volume; expected an image "
            "with two axes"
        )

    def restore(layer: Tensor) -> Tensor:
        return torch.from_numpy(back([layer[None]], linear=False))

    found = rescaled(answers[0].instances[0], restore, grid, shape)
    return found if sample.unanswered is None else without(found, sample.unanswered)


def _by_dropout(method: Segmenter, batch: Batch, inference: Inference) -> Segmentation:
    """Samples of a method that draws none, by its dropout (Gal and Ghahramani, 2016)."""
    drawn = []
    with dropping(method, inference.device):
        for number in range(inference.options.samples or 1):
            seed_layers(inference.device, inference.seed, "dropout", number)
            answer = method.segment(batch, inference)
            drawn.append(_samples(answer, classes_of(method, inference), decided=True)[0].cpu())
    return Segmentation(samples=torch.stack(drawn))


@contextmanager
def dropping(method: Method, device: torch.device) -> Iterator[None]:
    """Dropout left on, for the length of the block; torch's random numbers are as before after it."""
    layers = dropouts(method)
    modes = [layer.training for layer in layers]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            for layer in layers:
                layer.train()
            yield
        finally:
            for layer, training in zip(layers, modes, strict=True):
                layer.training = training


def classes_of(method: Segmenter, inference: Inference) -> int:
    """How many classes an answer has."""
    labels = method.labels_of(inference.options)
    return 1 if labels is None else len(labels.names)


def _samples(answer: Segmentation, classes: int, *, decided: bool = False) -> Tensor:
    """(N, B, K, *S), one where the method just says how likely each class is.

    Args:
        decided: the method's own decision goes before its probabilities: several answers are to become one.

    Raises:
        SettingsError: several answers are to become one, and they hold objects.
    """
    if decided and answer.instances:
        raise SettingsError(
            "this model finds objects, and those of several answers do not become one; leave out --samples and "
            "--ensemble"
        )
    if answer.samples is not None:
        return answer.samples
    if answer.probabilities is not None and not (decided and answer.decision is not None):
        return answer.probabilities[None]
    if answer.decision is None:
        raise ValueError("a method that segments must answer with probabilities, samples or a decision")
    if answer.decision.shape[1] > 1 or classes == 1:
        return (answer.decision == 1).float()[None]
    numbers = torch.arange(1, classes + 1, device=answer.decision.device).view(1, -1, *[1] * (answer.decision.ndim - 2))
    return (answer.decision == numbers).float()[None]


def _over_views(
    ask: Callable[[Batch], Segmentation], batch: Batch, classes: int, seen: Sequence[tuple[int, ...]]
) -> Segmentation:
    """The mean over views (`Views.each`)."""
    total = torch.zeros(())
    for view in seen:
        fields = {name: turned(tensor, view) for name, tensor in batch.fields.items()}
        mean = _samples(ask(replace(batch, fields=fields)), classes, decided=True).mean(0)
        total = total.to(mean.device) + turned_back(mean, view)
    return Segmentation(probabilities=total / len(seen))
