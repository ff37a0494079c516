"""Toy generators that the contract must hold: volumes alone, channels under masks, objects that are rejected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from scantling.contract.capabilities import Generator
from scantling.contract.card import Card
from scantling.contract.method import Method
from scantling.contract.options import GenerateOptions
from scantling.contract.results import Generation, Objects
from scantling.contract.settings import Settings
from scantling.contract.stage import Game, Player, Stage
from scantling.contract.step import Inference, Step
from scantling.core.case import IGNORE, Labels
from scantling.core.randomness import numpy_generator
from scantling.core.samples import Batch, Intensity, Preprocessing, Traits
from scantling.core.streams import Stream


def card(name: str, implementation: str, **facts: Any) -> Card:
    return Card(
        name=name, title=name, authors="nobody", year=2026, gives=("generate",),
        implementation=f"toys_generation:{implementation}", **facts,
    )  # fmt: skip


CARDS = {
    each.name: each
    for each in (
        card("volume-maker", "VolumeMaker", needs=(("image",),), asks=(), dimensions=(3,), fits="mse"),
        card("translator", "Translator", needs=(("image", "mask"),), asks=("mask",), dimensions=(2, 3), fits="mse"),
        card(
            "classwise",
            "Classwise",
            needs=(("image", "image_class"),),
            asks=("image_class",),
            dimensions=(2,),
            fits="mse",
        ),
        card("sower", "Sower", needs=(), asks=(), dimensions=(2,)),
    )
}


class ToySettings(Settings):
    presets = {"tiny": {"steps": 4}}
    steps: int = 8
    batch: int = 2


class Painter(Generator):
    """Learns the mean of each channel, of each class where it reads any."""

    Settings = ToySettings

    def __init__(self, settings: Any, traits: Traits, *, uses: Mapping[str, Method] | None = None) -> None:
        super().__init__(settings, traits, uses=uses)
        self.means = nn.Embedding(1 + len(traits.classes) + len(traits.image_classes), len(traits.channels))

    @property
    def preprocessing(self) -> Preprocessing:
        return Preprocessing(dimensions=self.traits.dimensions, normalise="dataset")

    def stages(self) -> Sequence[Stage]:
        reads = self.card.needs[0]
        images = Stream(name="images", reads=reads, batch=self.settings.batch, patch=tuple(self.traits.smallest))
        player = Player(name="means", modules=(self.means,), rate=0.1)
        of = self.settings
        stage = Stage(
            name="paint", players=(player,), streams=(images,), steps=of.steps, objectives=self.objectives
        )  # fmt: skip
        return (stage,)

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        images = batch["images"]
        if "mask" in images.fields:
            painted, wanted = self.painted(images.mask), images.image
        else:
            wanted = images.image.flatten(2).mean(-1)
            painted = self.means(images.fields.get("image_class", torch.zeros_like(images.index)))
        yield "means", {"mse": F.mse_loss(painted, wanted)}

    def painted(self, numbers: torch.Tensor) -> torch.Tensor:
        """(B, C, *S) of class numbers (B, 1, *S)."""
        return self.means(numbers[:, 0].long().masked_fill(numbers[:, 0] == IGNORE, 0)).movedim(-1, 1)


class VolumeMaker(Painter):
    """Images alone, in the units of its preprocessing."""

    card = CARDS["volume-maker"]

    def generate(self, count: int, inference: Inference, given: Batch | None = None) -> Generation:
        blank = torch.zeros(count, 1, *self.traits.smallest, device=inference.device)
        images = self.painted(blank)
        return Generation(images=images + inference.randn("noise", like=images), normalised=True)


class Brightness(GenerateOptions):
    """`brighter`: what is added, in units of the preprocessing."""

    brighter: Annotated[float, Field(ge=0, le=1)] = 0.0


class Translator(Painter):
    """Images of all channels under the masks that it is given."""

    card = CARDS["translator"]
    generate_with = Brightness

    def generate(self, count: int, inference: Inference, given: Batch | None = None) -> Generation:
        assert given is not None
        images = self.painted(given.mask) + inference.options.brighter
        classes = torch.cat([given.mask == 1 + number for number in range(len(self.traits.classes))], 1)
        return Generation(images=images, masks=classes, normalised=True)


class Classwise(Painter):
    """Images of a class, whose brightness is its number."""

    card = CARDS["classwise"]

    def generate(self, count: int, inference: Inference, given: Batch | None = None) -> Generation:
        assert given is not None
        share = given.image_class.float() / max(len(self.traits.image_classes) - 1, 1)
        images = share[:, None, None, None].expand(-1, len(self.traits.channels), 8, 8)
        return Generation(images=images, image_classes=given.image_class)


class SowerSettings(Settings):
    presets = {"tiny": {"discs": 4}}
    discs: int = 12
    size: int = 48


class Sower(Generator):
    """Discs that must not touch: those that do not fit are rejected, and those that are too small."""

    card = CARDS["sower"]
    Settings = SowerSettings

    @classmethod
    def blank(cls, settings: Any) -> Traits:
        side = (settings.size,) * 2
        return Traits(
            dimensions=2,
            channels=("grey",),
            labels=Labels(names=("even", "odd"), values=((1,), (2,))),
            spacing=(1.0, 1.0),
            shape=side,
            smallest=side,
            intensity=(Intensity(mean=0.5, std=0.25, low=0, high=1, minimum=0, maximum=1),),
        )

    @property
    def preprocessing(self) -> Preprocessing:
        return Preprocessing(dimensions=2)

    def generate(self, count: int, inference: Inference, given: Batch | None = None) -> Generation:
        made = [self.sow(numpy_generator(inference.seed, "sow", inference.number + n)) for n in range(count)]
        masks = torch.stack([classes for classes, _, _ in made])
        rejected = {
            "does not fit": sum(lost["does not fit"] for _, _, lost in made),
            "too small": sum(lost["too small"] for _, _, lost in made),
        }
        return Generation(
            masks=masks,
            images=masks.any(1, keepdim=True) * 0.5,
            instances=[objects for _, objects, _ in made],
            points=[objects.boxes.mean(-1) for _, objects, _ in made],
            point_classes=[objects.classes for _, objects, _ in made],
            rejected=rejected,
        )

    def sow(self, generator: np.random.Generator) -> tuple[torch.Tensor, Objects, dict[str, int]]:
        size = self.settings.size
        grid = np.stack(np.mgrid[:size, :size], -1)
        taken, discs, lost = np.zeros((size, size), bool), [], {"does not fit": 0, "too small": 0}
        while len(discs) < self.settings.discs:
            radius = generator.uniform(1, 5)
            disc = np.linalg.norm(grid - generator.uniform(0, size, 2), axis=-1) < radius
            if radius < 1.5:
                lost["too small"] += 1
            elif (disc & taken).any() or not disc.any():
                lost["does not fit"] += 1
            else:
                taken |= disc
                discs.append(torch.from_numpy(disc))
        numbers = torch.arange(len(discs)) % 2
        classes = torch.stack([torch.stack(discs[first::2]).any(0) for first in (0, 1)])
        return classes, Objects.of_masks(discs, classes=numbers), lost
