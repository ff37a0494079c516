"""One case through a method: onto its grid, answered, and back onto the grid of the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np
import torch
from torch import Tensor

from scantling.data.intake import Taken, give_back, take
from scantling.data.types import Batch, Sample
from scantling.inference.tiles import Tiler
from scantling.methods.contract import Answer, Method, Now
from scantling.randomness import seed_of


def segment(
    method: Method,
    sample: Sample,
    *,
    device: torch.device,
    tiler: Tiler,
    views: bool = False,
    seed: int = 0,
    autocast: torch.dtype | None = None,
    slices_at_once: int = 8,
) -> np.ndarray:
    """Probabilities (K, *S) float32 on the grid of the sample's file.

    Args:
        views: average over images mirrored along every axis and, in 2-D, turned by a quarter.
        seed: with the case's id, what the method's randomness is a function of.
        slices_at_once: how many slices of a volume a method in 2-D answers together.
    """
    taken = take(sample, method.intake, method.traits)
    slicing = method.intake.dimensions == 2 and len(sample.geometry.shape) == 3
    batches = batches_of(taken, slicing=slicing, many=slices_at_once)
    now = Now(seed=seed_of(seed, sample.case.id), stage="answer", device=device, tile=tiler)
    parts = []
    with torch.no_grad(), torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
        for number, batch in enumerate(batches):
            ask = partial(method.segment, now=replace(now, step=number))
            on_device = batch.to(device, method.dtype)
            seen = _over_views(ask, on_device) if views else _probabilities(ask(on_device))
            parts.append(seen.float().cpu())
    answer = torch.cat(parts)  # (slices or 1, K, *grid)
    whole = answer.movedim(0, 1) if slicing else answer[0]
    return give_back(whole, sample, method.intake, method.traits).numpy()


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


def _probabilities(answer: Answer) -> Tensor:
    if answer.probabilities is None:
        raise ValueError("a method that segments must answer with probabilities")
    return answer.probabilities


def _over_views(ask: Callable[[Batch], Answer], batch: Batch) -> Tensor:
    """The mean over all mirrored images, times quarter turns in 2-D."""
    dimensions = batch.image.ndim - 2
    total = torch.zeros(())
    views = list(product(range(2 if dimensions == 2 else 1), *[(False, True)] * dimensions))
    for quarter, *mirrored in views:
        axes = [2 + axis for axis, wanted in enumerate(mirrored) if wanted]
        turned = {name: torch.rot90(tensor, quarter, (2, 3)).flip(axes) for name, tensor in batch.fields.items()}
        seen = _probabilities(ask(replace(batch, fields=turned)))
        total = total.to(seen.device) + torch.rot90(seen.flip(axes), -quarter, (2, 3))
    return total / len(views)
