"""Dropout that is a function of the sample: the same whatever part of a step's batch the sample stands in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor

from scantling.contract.method import DROPOUTS, Dropout
from scantling.core.randomness import seed_of


@contextmanager
def by_sample(layers: Sequence[Dropout], slot: Callable[[], int]) -> Iterator[None]:
    """Let dropout layers draw for each row of their input by itself, for the length of the block.

    What a row is drawn from is the number that torch's generator gives for this call, the same in every part of a
    step, and the row's place in the batch of the whole step. The generator is used, and not a count of calls, so that
    a pass that is computed again for its gradient (checkpointing) drops the same.

    Args:
        slot: which part of the step's batch is computed now; all parts are equally large.
    """
    for layer in layers:
        layer.forward = partial(_dropped, layer, slot)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _dropped(layer: Dropout, slot: Callable[[], int], x: Tensor) -> Tensor:
    """x (B, ...) with zeros where something is dropped, the rest divided by the share that stays."""
    if not layer.training:
        return x
    call = int(torch.randint(1 << 62, ()))
    trailing = next(place for place, kind in enumerate(DROPOUTS) if isinstance(layer, kind))
    shape = (*x.shape[1 : x.ndim - trailing], *(1,) * trailing)
    generator = torch.Generator(x.device)
    first = slot() * len(x)
    rows = []
    for row in range(len(x)):
        generator.manual_seed(seed_of(call, first + row))
        rows.append(torch.rand(shape, generator=generator, device=x.device))
    kept = torch.stack(rows) >= layer.p
    return x * kept / max(1 - layer.p, 1e-9)
