"""Small semi-supervised segmenters, batches of noise for them, and one step of their objectives."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from scantling.contract.method import build
from scantling.contract.stage import Game
from scantling.contract.step import Total
from scantling.core.case import Labels
from scantling.core.samples import Batch, Intensity, Traits
from scantling.methods.catalogue import CARDS, implementation_of

SIDE = 24


def segmenter(
    name: str, *, classes: int = 1, unlabelled: int = 6, exclusive: bool = True, seed: int = 3, **settings: Any
) -> Any:
    """The method `name` with `tiny` settings for grey pictures, in float64 and in training mode."""
    values = tuple((number + 1,) for number in range(classes)) if exclusive else ((),) * classes
    traits = Traits(
        dimensions=2,
        channels=("grey",),
        labels=Labels(names=tuple(f"class {number}" for number in range(classes)), values=values),
        spacing=(1.0, 1.0),
        shape=(SIDE, SIDE),
        smallest=(SIDE, SIDE),
        intensity=(Intensity(mean=0, std=1, low=-2, high=2, minimum=-3, maximum=3),),
        labelled=3,
        unlabelled=unlabelled,
    )
    kind = implementation_of(CARDS[name])
    return build(kind, kind.Settings.preset("tiny", settings).resolve(traits), traits, seed=seed).double().train()


def noise(seed: int, *, count: int = 2, classes: int = 0, companions: tuple[str, ...] = ()) -> Batch:
    """A batch of noise, with a mask where there are classes; every companion is other noise."""
    generator, rows = torch.Generator().manual_seed(seed), torch.arange(count)
    fields = {"image": torch.randn(count, 1, SIDE, SIDE, generator=generator, dtype=torch.float64)}
    if classes:
        fields["mask"] = torch.randint(0, classes + 1, (count, 1, SIDE, SIDE), generator=generator, dtype=torch.uint8)
    others = {name: noise(seed + 1000 * (place + 1), count=count) for place, name in enumerate(companions)}
    return Batch(rows, rows, fields, others)


def played(objectives: Game) -> dict[str, dict[str, Tensor]]:
    """The terms of each player in a step that is not divided; nobody is updated."""
    found, answer = dict[str, dict[str, Tensor]](), None
    while True:
        try:
            move = objectives.send(answer)  # type: ignore[arg-type]
        except StopIteration:
            return found
        if isinstance(move, Total):
            answer = move.part.detach()
        else:
            (name, terms), answer = move, None
            found[str(name)] = dict(terms)


def value_of(tensor: Tensor) -> float:
    """The value of a tensor of one element, with a gradient or without."""
    return float(tensor.detach())
