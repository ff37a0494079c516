"""A GAN that grows: it learns images of 4 pixels, then of 8, and so on, each level faded in."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import nullcontext
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from scantling.contract.method import Method
from scantling.contract.stage import Game, Stage, frozen
from scantling.contract.step import Step, Total
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch, Traits
from scantling.diffusion.chain import exact
from scantling.losses.adversarial import fooling_loss, telling_loss
from scantling.methods.catalogue import CARDS
from scantling.methods.generation.noise_gan import Decay, NoiseGan, NoiseGanSettings, Positive, Rate, Weight
from scantling.networks.progressive import COARSE, ProgressiveDiscriminator, ProgressiveGenerator


class PgGanSettings(NoiseGanSettings):
    """Settings of `pggan`: Adam, penalties and average of Karras et al. (2018); steps and size are ours.

    Attributes:
        width: channels of the finest level; each coarser one has twice as many, up to `widest`.
        fading: the share of a level's steps over which it is faded in: half in the paper.
        penalty: of the slope of the critic between real images and fakes.
        drift: of the square of the scores of real images.
    """

    batch: Positive = 16
    rate: Rate = 1e-3
    judge_rate: Rate = 1e-3
    betas: tuple[Decay, Decay] = (0.0, 0.99)
    average: Decay = 0.999
    size: Positive = 256
    noise: Positive = 512
    width: Positive = 64
    widest: Positive = 512
    fading: Annotated[float, Field(gt=0, le=1)] = 0.5
    penalty: Weight = 10.0
    drift: Weight = 1e-3

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "steps": 3000, "size": 128, "noise": 128, "width": 16, "widest": 128, "average": 0.99, "flips": True,
        },
        "tiny": {
            "steps": 8, "batch": 2, "rate": 1e-3, "judge_rate": 3e-2, "average": 0.9, "size": 8, "noise": 4,
            "width": 4, "widest": 4, "penalty": 0.01,
        },
    }  # fmt: skip
    architecture: ClassVar[tuple[str, ...]] = (*NoiseGanSettings.architecture, "widest")

    @property
    def widths(self) -> tuple[int, ...]:
        """The channels of each level, from the coarsest one."""
        levels = (self.size // COARSE).bit_length() - 1
        return tuple(min(self.width * 2 ** (levels - level), self.widest) for level in range(levels + 1))

    def check_size(self) -> None:
        """Refuse a side that is no power of 2, and settings of the game that a growing GAN does not have.

        Raises:
            SettingsError: it is none.
        """
        if self.size < COARSE or self.size & (self.size - 1):
            raise SettingsError(f"--settings.size: found {self.size}; pggan doubles 4 pixels: 8, 16, 32, 64, 128, ...")
        if self.judge_steps != 1 or self.augmented != "no":
            raise SettingsError(
                "--settings.judge_steps, --settings.augmented: pggan updates both players in each step and changes no "
                "images; leave them out"
            )


class PgGan(NoiseGan):
    """Progressive growing of GANs (Karras et al., 2018): a stage for each level, of equal numbers of steps.

    Real images are averaged down to the level, and while it is faded in mixed with the next coarser one, as in the
    authors' code. Equalised rates, pixel norm, the deviation within the batch (`ProgressiveDiscriminator`).
    """

    card = CARDS["pggan"]
    Settings = PgGanSettings
    settings: PgGanSettings
    generator: ProgressiveGenerator
    judge: ProgressiveDiscriminator

    def __init__(self, settings: PgGanSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None) -> None:
        super().__init__(settings, traits, uses=uses)
        self.generator = ProgressiveGenerator(self.width, noise=settings.noise, widths=settings.widths)
        self.judge = ProgressiveDiscriminator(self.width, widths=settings.widths)

    @property
    def last(self) -> int:
        """The number of the finest level."""
        return len(self.settings.widths) - 1

    def stages(self) -> Sequence[Stage]:
        """One for each level."""
        steps = max(1, self.settings.steps // (self.last + 1))
        return tuple(
            self.stage(_name(level), self.generator.at(level), self.judge.at(level), steps=steps)
            for level in range(self.last + 1)
        )

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The generator's move at the level of the stage, and then the discriminator's."""
        of = self.settings
        level = next(n for n in range(self.last + 1) if step.stage == _name(n))
        share = min(1.0, (step.number + 1) / (of.fading * step.count)) if level else 1.0
        real = reduced(batch["images"].image, self.last - level, share)
        fake = exact(self.generator(self.start(step, real), level, share))
        scores = yield from self._scores(fake, level, share, step, held=True)
        yield "generator", {"fooling": fooling_loss(scores, kind="wasserstein")}
        fake = fake.detach()
        u = step.rand("between", like=real.new_empty(len(real), 1, 1, 1))
        between = (u * real + (1 - u) * fake).requires_grad_(True)
        real_scores = yield from self._scores(real, level, share, step)
        fake_scores = yield from self._scores(fake, level, share, step)
        between_scores = yield from self._scores(between, level, share, step)
        (slope,) = torch.autograd.grad(between_scores.sum(), between, create_graph=True)
        terms = {
            "telling": telling_loss(real_scores, fake_scores, kind="wasserstein"),
            "slope": of.penalty * (slope.flatten(1).norm(dim=1) - 1).square().mean(),
            "drift": of.drift * real_scores.square().mean(),
        }
        yield "judge", terms

    def _scores(
        self, images: Tensor, level: int, share: float, step: Step, *, held: bool = False
    ) -> Generator[Total, Tensor, Tensor]:
        """The scores (B,) of images, which see the mean over the whole step; no gradient for a judge that is `held`."""
        with frozen(self.judge) if held else nullcontext():
            maps = exact(self.judge.maps(images.to(self.dtype), level, share))
        total = yield Total(maps.detach().sum(0))
        with frozen(self.judge) if held else nullcontext():
            found = exact(self.judge.scores(maps, total / (len(images) * step.slots)))[:, 0]
        return found

    def made(self, noise: Tensor, kinds: Tensor | None) -> Tensor:
        """Images of the finest level."""
        del kinds
        made: Tensor = self.generator(noise, self.last)
        return made

    def stepped(self, step: Step, returned: Sequence[Any]) -> None:
        """Nothing follows a step."""
        del step, returned


def _name(level: int) -> str:
    side = COARSE * 2**level
    return f"{side} x {side}"


def reduced(images: Tensor, halvings: int, share: float) -> Tensor:
    """Images (B, C, H, W) averaged over blocks of 2ⁿ pixels; of a level that is faded in mixed with the coarser one."""
    images = F.avg_pool2d(images, 2**halvings) if halvings else images
    if share < 1:
        coarser = F.interpolate(F.avg_pool2d(images, 2), scale_factor=2.0, mode="nearest")
        images = share * images + (1 - share) * coarser
    return images
