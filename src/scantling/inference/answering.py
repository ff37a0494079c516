"""One case through one or several models: onto their grids, answered, and back onto the grid of the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

import numpy as np
import torch
from torch import Tensor

from scantling.data.intake import Taken, give_back, take
from scantling.data.types import Batch, Sample
from scantling.fusion import fuse, uncertainties
from scantling.inference.tiles import Tiler
from scantling.methods.contract import AS_IT_IS, Answer, Asked, Method, Now, dropouts
from scantling.randomness import seed_of


@dataclass(frozen=True)
class Answered:
    """An answer on the grid of the sample's file.

    Attributes:
        probabilities: (K, *S) float32.
        samples: (N, K, *S) float32 in [0, 1], one by one; empty where a single one was asked for.
        uncertainty: (*S) float32 by name.
    """

    probabilities: np.ndarray
    samples: Sequence[np.ndarray] = ()
    uncertainty: Mapping[str, np.ndarray] | None = None


def segment(
    method: Method,
    sample: Sample,
    *,
    device: torch.device,
    tiler: Tiler,
    views: bool = False,
    asked: Asked = AS_IT_IS,
    seed: int = 0,
    autocast: torch.dtype | None = None,
    slices_at_once: int = 8,
) -> Answered:
    """Answer one sample.

    Args:
        views: average over images mirrored along every axis and, in 2-D, turned by a quarter.
        asked: how many samples, of how many steps, made one how.
        seed: with the case's id, what the method's randomness is a function of.
        slices_at_once: how many slices of a volume a method in 2-D answers together.
    """
    asked = method.asked(asked)
    taken = take(sample, method.intake, method.traits)
    slicing = method.intake.dimensions == 2 and len(sample.geometry.shape) == 3
    batches = batches_of(taken, slicing=slicing, many=slices_at_once)
    now = Now(seed=seed_of(seed, sample.case.id), stage="answer", device=device, tile=tiler, asked=asked)
    exclusive = method.traits.labels is None or method.traits.labels.exclusive
    parts = []
    with torch.no_grad(), torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
        for number, batch in enumerate(batches):
            ask = partial(_asked, method, now=replace(now, step=number), exclusive=exclusive)
            on_device = batch.to(device, method.dtype)
            parts.append(_over_views(ask, on_device) if views else ask(on_device))

    def back(values: Sequence[Tensor]) -> np.ndarray:
        answer = torch.cat([part.float().cpu() for part in values])  # (slices or 1, K, *grid)
        whole = answer.movedim(0, 1) if slicing else answer[0]
        return give_back(whole, sample, method.intake, method.traits).numpy()

    drawn = [part.samples for part in parts if part.samples is not None]
    return Answered(
        probabilities=back([_probabilities(part) for part in parts]),
        samples=_Lazy(len(drawn[0]) if drawn else 0, lambda number: back([part[number] for part in drawn])),
        uncertainty={name: back([part.uncertainty[name] for part in parts])[0] for name in parts[0].uncertainty},
    )


def ensemble(answers: Sequence[Answered], *, rule: str, exclusive: bool) -> Answered:
    """The answers of several models, each of whose samples counts as one of all."""
    samples = [sample for answer in answers for sample in (answer.samples or [answer.probabilities])]
    stack = torch.from_numpy(np.stack(samples))[:, None]  # (N, 1, K, *S)
    told = uncertainties(stack, exclusive=exclusive)
    return Answered(
        fuse(rule, stack)[0].float().numpy(), samples, {name: map_[0, 0].float().numpy() for name, map_ in told.items()}
    )


def decide(probabilities: np.ndarray, *, exclusive: bool) -> np.ndarray:
    """Class numbers (*S) uint8 of exclusive classes, the background one of them; else (K, *S) of 0 and 1."""
    if not exclusive or len(probabilities) == 1:
        chosen = (probabilities > 0.5).astype(np.uint8)
        return chosen[0] if exclusive else chosen
    background = 1 - probabilities.sum(0)
    best = probabilities.argmax(0)
    return np.where(probabilities.max(0) > background, best + 1, 0).astype(np.uint8)


def batches_of(taken: Taken, *, slicing: bool, many: int) -> Iterator[Batch]:
    """The image of a sample as batches: one of one, or `many` slices at a time."""
    if taken.image is None:
        raise ValueError("a case without an image cannot be segmented")
    image, region = taken.image, taken.fields.get("region")
    if not slicing:
        yield _batch(image[None], None if region is None else region[None], 0)
        return
    for first in range(0, image.shape[1], many):
        some = slice(first, first + many)
        yield _batch(image[:, some].movedim(1, 0), None if region is None else region[:, some].movedim(1, 0), first)


def _batch(image: Tensor, region: Tensor | None, first: int) -> Batch:
    numbers = torch.arange(first, first + len(image))
    fields = {"image": image} | ({} if region is None else {"region": region})
    return Batch(numbers, torch.zeros_like(numbers), fields)


class _Lazy(Sequence[np.ndarray]):
    """Arrays that are made when they are looked at, so that many large ones never stand in memory together."""

    def __init__(self, count: int, make: Callable[[int], np.ndarray]) -> None:
        self._count, self._make = count, make

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> np.ndarray:  # type: ignore[override]
        if not 0 <= number < self._count:
            raise IndexError(number)
        return self._make(number)


def _asked(method: Method, batch: Batch, *, now: Now, exclusive: bool) -> Answer:
    """The method's answer, its samples made one and their uncertainties read where the method leaves that to us."""
    count = now.asked.samples or 1
    answer = _dropped(method, batch, now, count) if count > 1 and not method.draws else method.segment(batch, now)
    if answer.samples is None:
        return answer
    told = uncertainties(answer.samples, exclusive=exclusive) if count > 1 else {}
    probabilities = answer.probabilities
    if probabilities is None:
        probabilities = fuse(now.asked.fuse or "mean", answer.samples, votes=now.asked.votes)
    return replace(
        answer,
        probabilities=probabilities,
        samples=answer.samples if count > 1 else None,
        uncertainty={**told, **answer.uncertainty},
    )


def _dropped(method: Method, batch: Batch, now: Now, count: int) -> Answer:
    """Samples of a method that draws none, by its dropout (Gal and Ghahramani, 2016)."""
    drawn = []
    with torch.random.fork_rng(devices=[now.device] if now.device.type == "cuda" else []), _dropping(method):
        for number in range(count):
            torch.manual_seed(seed_of(now.seed, "dropout", now.step, number))
            drawn.append(_probabilities(method.segment(batch, now)))
    return Answer(samples=torch.stack(drawn))


@contextmanager
def _dropping(method: Method) -> Iterator[None]:
    layers = dropouts(method)
    modes = [layer.training for layer in layers]
    try:
        for layer in layers:
            layer.train()
        yield
    finally:
        for layer, training in zip(layers, modes, strict=True):
            layer.training = training


def _probabilities(answer: Answer) -> Tensor:
    if answer.probabilities is None:
        raise ValueError("a method that segments must answer with probabilities or samples")
    return answer.probabilities


def _over_views(ask: Callable[[Batch], Answer], batch: Batch) -> Answer:
    """The mean over all mirrored images, times quarter turns in 2-D."""
    dimensions = batch.image.ndim - 2
    total = torch.zeros(())
    views = list(product(range(2 if dimensions == 2 else 1), *[(False, True)] * dimensions))
    for quarter, *mirrored in views:
        axes = [2 + axis for axis, wanted in enumerate(mirrored) if wanted]
        turned = {name: torch.rot90(tensor, quarter, (2, 3)).flip(axes) for name, tensor in batch.fields.items()}
        seen = _probabilities(ask(replace(batch, fields=turned)))
        total = total.to(seen.device) + torch.rot90(seen.flip(axes), -quarter, (2, 3))
    return Answer(probabilities=total / len(views))
