"""The basic GAN that the multimodal one is measured against: its generator and its discriminator, of noise alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from scantling.contract.method import Method
from scantling.contract.step import Inference, Step
from scantling.core.errors import SettingsError
from scantling.core.samples import Traits
from scantling.losses.adversarial import Adversarial
from scantling.methods.catalogue import CARDS
from scantling.methods.generation.noise_gan import NoiseGan, NoiseGanSettings, Positive, Rate
from scantling.networks.modality_unet import ModalityUNet
from scantling.networks.vgg import VGGJudge


class BasicGanSettings(NoiseGanSettings):
    """Settings of `gan`: rate, batch and size of the thesis; what it does not give is ours.

    Attributes:
        widths: channels of each level of the U-Net, from full resolution down.
        width: channels of the first stage of the discriminator.
        stages: how often the discriminator halves an image.
        noise: unused: the noise is a plane as large as the image.
    """

    batch: Positive = 4
    rate: Rate = 1e-5
    judge_rate: Rate = 1e-5
    size: Positive = 512
    noise: Positive = 1
    width: Positive = 64
    widths: Annotated[tuple[Positive, ...], Field(min_length=2)] = (64, 128, 256, 512)
    stages: Positive = 4

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "steps": 1500, "rate": 2e-4, "judge_rate": 2e-4, "size": 96, "width": 16, "widths": (16, 32, 64, 64),
            "augmented": "adaptive", "adapts_in": 20_000, "average": 0.99, "flips": True,
        },
        "tiny": {
            "steps": 4, "batch": 2, "rate": 1e-3, "judge_rate": 3e-2, "average": 0.9, "size": 16, "width": 4,
            "widths": (4, 4), "stages": 2,
        },
    }  # fmt: skip
    architecture: ClassVar[tuple[str, ...]] = ("size", "channel", "width", "widths", "stages")

    def check_size(self) -> None:
        """Refuse a side that the networks cannot halve.

        Raises:
            SettingsError: it is too small.
        """
        least = 2 ** max(len(self.widths), self.stages)
        if self.size < least:
            raise SettingsError(f"--settings.size: found {self.size}; these networks need {least} pixels or more")


class BasicGan(NoiseGan):
    """The GAN of the thesis' tables: a U-Net-like generator of a plane of noise, a discriminator after VGG11.

    Its loss is the squares of Mao et al. (2017), as in all systems there.
    """

    card = CARDS["gan"]
    Settings = BasicGanSettings
    settings: BasicGanSettings
    loss: ClassVar[Adversarial] = "least-squares"

    def __init__(self, settings: BasicGanSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None) -> None:
        super().__init__(settings, traits, uses=uses)
        self.generator = ModalityUNet(1, self.width, widths=settings.widths)
        self.judge = Patches(VGGJudge(self.width, width=settings.width, stages=settings.stages))

    def start(self, draws: Step | Inference, like: Tensor) -> Tensor:
        """A plane of noise (B, 1, size, size)."""
        return draws.randn("noise", like=like.new_empty(len(like), 1, *(self.settings.size,) * 2))


class Patches(nn.Module):
    """The scores (B, n) of all patches of an image, of a discriminator that gives maps of them."""

    def __init__(self, judge: VGGJudge) -> None:
        super().__init__()
        self.judge = judge

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        return torch.flatten(self.judge(images)[0], 1)
