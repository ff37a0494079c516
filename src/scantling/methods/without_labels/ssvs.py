"""SSVS: vessels found without a label, by two translators that undo each other, before DARL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from scantling.contract.method import Method
from scantling.contract.results import Segmentation
from scantling.contract.stage import Game, Player, Stage
from scantling.contract.step import Draws, Inference, Step
from scantling.core.samples import Batch, Traits
from scantling.diffusion.chain import exact
from scantling.losses.overlap import binary_cross_entropy
from scantling.methods.catalogue import CARDS
from scantling.methods.without_labels.unpaired import Positive, UnpairedSegmenter, UnpairedSettings, Weight
from scantling.networks.padding import cropped, padded
from scantling.networks.polyphase import apart, together
from scantling.networks.translator import Translator


class SSVSSettings(UnpairedSettings):
    """Settings of `ssvs` beside those of `UnpairedSettings`. The defaults are those of the authors' code on XCAD.

    Attributes:
        steps: of training: 200 epochs of 1621 images, four a step; the rate falls to 0 over the second half.
        average: see `Player`; the authors have none.
        width: channels of the translators at full resolution.
        residuals: residual blocks of each.
        cycle: λ, the weight of both cycles.
        clip: the greatest norm of the translators' gradient.
    """

    steps: Positive = 200 * 1621 // 4
    batch: Positive = 4
    average: Annotated[float, Field(ge=0, lt=1)] = 0.0
    width: Positive = 64
    residuals: Positive = 10
    cycle: Weight = 10.0
    clip: Annotated[float, Field(gt=0)] = 5.0

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "steps": 1000,
            "batch": 1,
            "rate": 4e-4,
            "cycle": 1.0,
            "average": 0.99,
            "patch": 128,
            "evened": 32,
            "width": 16,
            "residuals": 4,
            "judge": 16,
            "canvas": 256,
            "overlaid": 3,
        },
        "tiny": {
            "steps": 4,
            "batch": 2,
            "average": 0.9,
            "patch": 32,
            "width": 8,
            "residuals": 1,
            "judge": 8,
            "judge_layers": 1,
            "cycle": 0.1,
            "pool": 3,
        },
    }


class SSVS(UnpairedSegmenter):
    r"""Self-supervised vessel segmentation via adversarial learning (Ma et al., 2021), from which DARL came.

    A translator P gives a mask s the look of vessels, which are laid onto a background b by arithmetic; a translator F
    finds vessels. Each undoes the other:

    .. math:: \hat x = s \, P(s) + (1 - s) \, b, \quad \hat s' = F(\hat x), \quad
              \hat s = F(x), \quad \hat x' = \hat s \, P(\hat s) + (1 - \hat s) \, x

    .. math:: L = (D_a(\hat x) - 1)^2 + (D_s(\hat s) - 1)^2 + λ \, [H(s, \hat s') + |\hat x' - x|_1]

    Departures from the authors' code, whose ranges do not fit: it takes the output of F in [-1, 1] for logits and masks
    in [-1, 1] for their targets, where H is the cross-entropy of probabilities (1 + F) / 2 here; and its sum gives
    vessels values of 2 P - 1, down to -3. Images and backgrounds are drawn independently, and no vessel lies outside
    the region of interest. The mirroring and turning of DARL, which the authors leave out, stay. `quick` is ours; its
    prior and evened images are those of `darl`, and so is what they owe to labels. Its rate and λ were chosen in sight
    of the masks of DRIVE's training images, where the paper's, in as many steps, find nothing.
    """

    card = CARDS["ssvs"]
    Settings = SSVSSettings
    settings: SSVSSettings
    answering = ("finder",)

    def __init__(self, settings: SSVSSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None) -> None:
        super().__init__(settings, traits, uses=uses)
        self.painter = Translator(width=settings.width, blocks=settings.residuals)
        self.finder = Translator(width=settings.width, blocks=settings.residuals)
        self.judge("masks", "images")

    def stages(self) -> Sequence[Stage]:
        """One stage: both translators against the discriminators."""
        of = self.settings
        common: dict[str, Any] = {"betas": (0.5, 0.999), "schedule": _second_half}
        translators = (self.painter, self.finder)
        players = (
            Player(name="translators", modules=translators, rate=of.rate, clip=of.clip, average=of.average, **common),
            Player(name="discriminators", modules=(self.judges,), rate=of.judge_rate or of.rate, **common),
        )
        stage = Stage(
            name="train",
            players=players,
            streams=self.streams(),
            steps=of.steps,
            objectives=self.objectives,
            prepares=self.prepares(),
            criterion=self.by_cycle(),
        )
        return (stage,)

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The translators' move, and then the discriminators'."""
        of = self.settings
        angiogram, background, vessels = self.drawn(batch, step)  # (B, 1, side, side)
        masks = 2 * vessels.to(angiogram.dtype) - 1
        # a mask is painted and found again
        painted = self.painted(masks, background)
        again = self.finder(painted)
        # what is found in an image is painted onto it
        found = self.finder(angiogram)
        restored = self.painted(found, angiogram)
        fakes = {"masks": found, "images": painted}
        yield (
            "translators",
            {
                "adversarial": self.fooled(fakes, step),
                "cycle": of.cycle * binary_cross_entropy((1 + exact(again)) / 2, vessels),
                "image cycle": of.cycle * F.l1_loss(exact(restored), angiogram),
            },
        )
        yield "discriminators", self.told_apart({"masks": masks, "images": angiogram}, fakes, step)

    def painted(self, masks: Tensor, background: Tensor) -> Tensor:
        """Masks (B, 1, H, W) in [-1, 1], soft or not, laid onto backgrounds (B, 1, H, W) with the painter's look."""
        share = (1 + masks) / 2
        look: Tensor = self.painter(masks)
        return share * look + (1 - share) * background

    def segment(self, batch: Batch, inference: Inference) -> Segmentation:
        """In one pass of the finder: (1 + tanh) / 2 of all phases put together; 0 outside the region."""
        grey, region = self.grey(batch)
        soft = inference.tile(lambda canvas: self._in_phases(self.finder, canvas), grey)
        return Segmentation(probabilities=((1 + soft) / 2).clamp(0, 1).masked_fill(~region, 0))

    def demonstrated(self, batch: Batch, draws: Draws) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """See `UnpairedSegmenter`."""
        background, vessels = self.demonstration(batch, draws)
        masks = 2 * vessels.to(background.dtype) - 1
        look = self._in_phases(self.painter, masks)
        painted = torch.where(vessels, look.to(background.dtype), background)
        return background, vessels, painted, self._in_phases(self.finder, painted)

    def _in_phases(self, network: Translator, canvas: Tensor) -> Tensor:
        """What a translator makes of a canvas of any size, phase by phase, interleaved again."""
        factor = self.settings.interleave
        made = network(apart(padded(canvas, (factor, factor)), factor))
        return cropped(together(made, factor), tuple(canvas.shape[2:]))


def _second_half(done: float) -> float:
    """The share of the rate after `done` of the steps: all of it, and in the second half less and less, down to 0."""
    return min(1.0, 2 * (1 - done))
