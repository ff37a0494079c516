"""A 3-D GAN, the control of the claim that diffusion keeps modes that GANs lose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from scantling.contract.capabilities import Generator
from scantling.contract.method import Method
from scantling.contract.results import Generation
from scantling.contract.stage import Game, Player, Stage, frozen
from scantling.contract.step import Inference, Step
from scantling.core.samples import Batch, Traits
from scantling.core.streams import Augmentation, Stream
from scantling.diffusion.chain import exact
from scantling.losses.adversarial import Adversarial, fooling_loss, r1_penalty, telling_loss
from scantling.methods.catalogue import CARDS
from scantling.methods.generation.volumes import RANGE, OnVolumes, Positive, VolumeSettings, shown
from scantling.networks.diff_augment import CHANGES, diff_augment
from scantling.networks.discriminators import patch_discriminator
from scantling.networks.residual_blocks import norm
from scantling.networks.spectral_norm import power_iteration

SHOWN = 3
BETAS = (0.0, 0.9)


class Gan3DSettings(VolumeSettings):
    """Settings of `gan-3d`; all are ours.

    Attributes:
        rate, judge_rate: of the learning of the generator and of the discriminator.
        average: decay of the averaged weights of the generator, which answer.
        noise: numbers that a volume is made from.
        width: channels of the generator at full resolution; each of `levels` halvings below has twice as many.
        judge, judge_layers: width and layers of the discriminator.
        loss: what the two minimise.
        r1: γ of the penalty on the discriminator's slope at real volumes; 0 spares the second pass back.
        augmented: both kinds of volumes are changed before they are judged (DiffAugment).
        flips: mirror real volumes at random.
    """

    rate: Annotated[float, Field(gt=0)] = 1e-4
    judge_rate: Annotated[float, Field(gt=0)] = 4e-4
    average: Annotated[float, Field(ge=0, lt=1)] = 0.999
    noise: Positive = 128
    width: Positive = 32
    levels: Positive = 4
    judge: Positive = 32
    judge_layers: Positive = 4
    loss: Adversarial = "hinge"
    r1: Annotated[float, Field(ge=0)] = 0.0
    augmented: bool = True
    flips: bool = False

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "steps": 2000,
            "batch": 4,
            "rate": 5e-4,
            "judge_rate": 1e-3,
            "average": 0.99,
            "voxels": 2**15,
            "noise": 64,
            "width": 8,
            "levels": 2,
            "judge": 8,
            "judge_layers": 3,
            "flips": True,
        },
        "tiny": {
            "steps": 4,
            "rate": 1e-3,
            "judge_rate": 3e-2,
            "average": 0.9,
            "plane": (8, 8),
            "depth": 6,
            "noise": 4,
            "width": 4,
            "levels": 1,
            "judge": 4,
            "judge_layers": 1,
            "r1": 0.01,
        },
    }
    architecture: ClassVar[tuple[str, ...]] = ("noise", "width", "levels", "plane", "depth", "with_masks")

    @property
    def divisor(self) -> tuple[int, int, int]:
        """What the doublings of the generator make multiples of."""
        return (2**self.levels,) * 3


class Gan3D(Generator, OnVolumes):
    """A convolutional GAN of volumes (Goodfellow et al., 2014): a control, not anybody's published system.

    A linear layer, then levels of doubling and convolution; a PatchGAN with spectral norm (Miyato et al., 2018) that
    is shown augmented volumes (Zhao et al., 2020), since it has few. It sees the same volumes on the same grid as
    `medical-diffusion`, and trains as long as it is told to, so that both can have one budget.
    """

    card = CARDS["gan-3d"]
    Settings = Gan3DSettings
    settings: Gan3DSettings
    answering = ("generator",)

    def __init__(self, settings: Gan3DSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None) -> None:
        super().__init__(settings, traits, uses=uses)
        of = settings
        self.generator = VolumeGenerator(self.width, noise=of.noise, shape=of.shape, width=of.width, levels=of.levels)
        self.judge = patch_discriminator(
            3, self.width, width=of.judge, layers=of.judge_layers, norm="spectral", padding=2
        )

    def stages(self) -> Sequence[Stage]:
        """One stage: the generator against the discriminator."""
        of = self.settings
        augment = Augmentation(turns=False) if of.flips else None
        stage = Stage(
            name="train",
            players=(
                Player(name="generator", modules=(self.generator,), rate=of.rate, betas=BETAS, average=of.average),
                Player(name="judge", modules=(self.judge,), rate=of.judge_rate, betas=BETAS),
            ),
            streams=(Stream(name="volumes", reads=self.reads, batch=of.batch, augment=augment),),
            steps=of.steps,
            objectives=self.objectives,
            stepped=lambda step, returned: power_iteration(self.judge),
        )
        return (stage,)

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The generator's move, and then the discriminator's."""
        of = self.settings
        real, _ = self.volume(batch["volumes"])
        coins = {name: step.rand(name, like=real.new_empty(len(real), CHANGES)) for name in ("fooling", "real", "fake")}
        fake = self.generator(step.randn("noise", like=real.new_empty(len(real), of.noise)))
        with frozen(self.judge):
            fooled = fooling_loss(self._judged(fake, coins["fooling"]), kind=of.loss)
        yield "generator", {"fooling": fooled}
        real = real.detach().requires_grad_(of.r1 > 0)
        scores = self._judged(real, coins["real"])
        terms = {"telling": telling_loss(scores, self._judged(fake.detach(), coins["fake"]), kind=of.loss)}
        if of.r1:
            terms["slope"] = of.r1 * r1_penalty(scores, real)
        yield "judge", terms

    def generate(self, count: int, inference: Inference, given: Batch | None = None) -> Generation:
        """Volumes on the grid of the training, one by one."""
        del given
        numbers = range(inference.number, inference.number + count)
        return self.generation(torch.cat([self.drawn(replace(inference, number=number)) for number in numbers]))

    def drawn(self, inference: Inference) -> Tensor:
        """One volume (1, channels, D, H, W)."""
        like = torch.empty((1, self.settings.noise), device=inference.device, dtype=self.dtype)
        return exact(self.generator(inference.randn("noise", like=like))).clamp(*RANGE)

    def pictures(self, batch: Batch, inference: Inference) -> Mapping[str, Tensor]:
        """A real volume beside some that are made."""
        volume, _ = self.volume(batch)
        made = [self.drawn(replace(inference, number=number)) for number in range(SHOWN)]
        return {f"The middle slice of a real volume, and of {SHOWN} that are made": shown(torch.cat([volume, *made]))}

    def _judged(self, volumes: Tensor, coins: Tensor) -> Tensor:
        shown = diff_augment(volumes, coins) if self.settings.augmented else volumes
        return exact(self.judge(shown)[-1])


class VolumeGenerator(nn.Module):
    """A volume (B, channels, *shape) in [-1, 1] of numbers (B, noise): a linear layer, and levels that double."""

    def __init__(self, channels: int, *, noise: int, shape: Sequence[int], width: int, levels: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in reversed(range(levels + 1))]
        self.coarse = [widths[0], *(side // 2**levels for side in shape)]
        self.first = nn.Linear(noise, int(torch.tensor(self.coarse).prod()))
        self.levels = nn.ModuleList(
            nn.Sequential(norm(a), nn.SiLU(), nn.Conv3d(a, b, 3, padding=1)) for a, b in pairwise(widths)
        )
        self.head = nn.Sequential(norm(width), nn.SiLU(), nn.Conv3d(width, channels, 3, padding=1))

    def forward(self, noise: Tensor) -> Tensor:
        """See the class."""
        h = self.first(noise).view(-1, *self.coarse)
        for level in self.levels:
            h = level(F.interpolate(h, scale_factor=2.0, mode="nearest"))
        return torch.tanh(self.head(h))
