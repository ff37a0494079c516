"""A toy that registers: it shifts one image onto the other by what lies between their centres of mass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from scantling.contract.capabilities import Registrar
from scantling.contract.card import Card
from scantling.contract.results import Registration
from scantling.contract.settings import Settings
from scantling.contract.stage import Game, Player, Stage
from scantling.contract.step import Inference, Step
from scantling.core.samples import Batch, Preprocessing, Traits
from scantling.core.streams import Stream
from scantling.warping import pixel_grid

CARD = Card(
    name="toy-shift",
    title="A toy that registers",
    authors="nobody",
    year=2026,
    needs=(("image",),),
    gives=("register",),
    dimensions=(2, 3),
    fits="shift",
    implementation="toys_registration:ToyShift",
)


class ToyShiftSettings(Settings):
    presets = {"tiny": {"steps": 6, "size": 32}}
    steps: int = 120
    size: int | None = None
    spacing: tuple[float, ...] | None = None


class ToyShift(Registrar):
    """Learns how many pixels a pixel between the centres of mass is: one."""

    card = CARD
    Settings = ToyShiftSettings

    def __init__(self, settings: ToyShiftSettings, traits: Traits, *, uses: Mapping[str, object] | None = None) -> None:
        super().__init__(settings, traits)
        self.gain = nn.Parameter(torch.tensor(0.5))

    @property
    def preprocessing(self) -> Preprocessing:
        dimensions, size = self.traits.dimensions, self.settings.size
        return Preprocessing(
            dimensions=dimensions,
            normalise="unit",
            spacing=self.settings.spacing,
            size=None if size is None else (size,) * dimensions,
        )

    def stages(self) -> Sequence[Stage]:
        return (
            Stage(
                name="shift",
                players=(Player(name="gain", modules=(self,), rate=0.05, schedule="cosine"),),
                streams=(Stream(name="images", reads=("image",), batch=2 if self.settings.size else 1),),
                steps=self.settings.steps,
                objectives=self.objectives,
            ),
        )

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        image = batch["images"].image
        rolled = torch.roll(image, (2, 1), (2, 3))
        wanted = torch.zeros(image.ndim - 2).to(image)
        wanted[:2] = torch.tensor([2.0, 1.0])
        yield "gain", {"shift": (self.shift(image, rolled) - wanted).square().mean()}

    def shift(self, fixed: Tensor, moving: Tensor) -> Tensor:
        """(B, D) pixels."""
        return self.gain * (centre(moving) - centre(fixed))

    def register(self, fixed: Batch, moving: Batch, inference: Inference) -> Registration:
        shift = self.shift(fixed.image, moving.image)
        shape = fixed.image.shape[2:]
        displacement = shift.view(*shift.shape, *[1] * len(shape)).expand(*shift.shape, *shape)
        apart = (fixed.image - moving.image).abs().mean(1, keepdim=True)
        return Registration(displacement=displacement, uncertainty={"difference": apart})


def centre(image: Tensor) -> Tensor:
    """The centre of mass (B, D) of the bright half of images (B, C, *S) in [-1, 1]."""
    weight = image.mean(1, keepdim=True).clamp(min=0)
    grid = pixel_grid(tuple(image.shape[2:]), like=image)
    return (grid * weight).flatten(2).sum(2) / weight.flatten(2).sum(2).clamp(min=1e-6)
