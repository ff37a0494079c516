"""The settings of DARL, and what it decides by itself where they leave it open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from scantling.core.errors import SettingsError
from scantling.core.samples import Traits
from scantling.losses.patch_contrast import SIDES
from scantling.methods.without_labels.unpaired import Positive, UnpairedSettings, Weight


class DARLSettings(UnpairedSettings):
    """Settings of `darl` beside those of `UnpairedSettings`. The defaults are those of the authors' code on XCAD.

    Attributes:
        steps: of training: 150 epochs of 1621 images.
        rate: that of C-DARL is 1e-5.
        average: see `Player`; the authors' code names a decay but uses none.
        timesteps: T, with β linear from `beta_low` to `beta_high`.
        small: noise levels of images that are segmented, [0, small).
        large: noise levels of backgrounds, [0, large); None: all of them.
        onto: the generator paints within a pixel of the mask only; elsewhere stays what the denoiser makes of the
            background; ours.
        painter: "spade": all of a painting is the generator's; "arithmetic": outside of the mask stands the background
            itself, as in `ssvs` (whose vessels no norm shapes: here they are still painted through SPADE; ours).
        bounded: with the painter "arithmetic", a painting is no farther from its background than the strongest ridges
            of the images are from theirs: how far at a place is drawn from these, and varies slowly; ours.
        fading: σ in pixels of a Gaussian of the mask, with which that bound is multiplied, so that vessels fade towards
            their borders and thin ones are fainter, as in a photograph; 0: not at all; ours.
        denoiser: channels of each level of the denoiser; see `Denoiser` for `blocks` and `attention`.
        width: channels of the generator at full resolution.
        hidden: channels in which its norms read a mask.
        diffusion: False: the generator sees images without noise and nothing else, and there is no denoiser and no loss
            of one (Table 3, a; that the images are then clean is ours).
        switched: False: the mask comes in as a channel beside the image, not through norms (Table 3, b).
        adversarial: α.
        cycle: β; that of C-DARL is 2; 0: no cycle (Table 3, c).
        cycle_loss: "l1", or "cross-entropy" of (1 + tanh) / 2 (Table 3, d).
        contrast: weight of C-DARL's contrast of masks, 4e-4 there; 0 for none.
        patches: of each size that the contrast compares.
        judged: what discriminators look at: masks and images, or, as in C-DARL, images alone.
    """

    steps: Positive = 150 * 1621
    rate: Annotated[float, Field(gt=0)] = 5e-6
    average: Annotated[float, Field(ge=0, lt=1)] = 0.0
    interleave: Positive = 2
    timesteps: Annotated[int, Field(ge=2)] = 2000
    beta_low: Annotated[float, Field(gt=0, lt=1)] = 1e-6
    beta_high: Annotated[float, Field(gt=0, lt=1)] = 1e-2
    small: Positive = 200
    large: Positive | None = None
    onto: bool = False
    painter: Literal["spade", "arithmetic"] = "spade"
    bounded: bool = False
    fading: Weight = 0.0
    diffusion: bool = True
    switched: bool = True
    denoiser: Annotated[tuple[Positive, ...], Field(min_length=1)] = (64, 64, 128, 128, 256, 256)
    blocks: Positive = 2
    attention: tuple[Annotated[int, Field(ge=0)], ...] = (4,)
    width: Positive = 64
    hidden: Positive = 128
    adversarial: Weight = 0.2
    cycle: Weight = 5.0
    cycle_loss: Literal["l1", "cross-entropy"] = "l1"
    contrast: Weight = 0.0
    patches: Positive = 256
    judged: Literal["both", "images"] = "both"

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "steps": 1500,
            "rate": 4e-4,
            "adversarial": 0.5,
            "average": 0.99,
            "patch": 128,
            "large": 200,
            "onto": True,
            "evened": 32,
            "interleave": 1,
            "denoiser": (16, 16, 32),
            "blocks": 1,
            "attention": (),
            "width": 16,
            "hidden": 16,
            "judge": 16,
            "canvas": 256,
            "overlaid": 3,
        },
        "tiny": {
            "steps": 4,
            "batch": 2,
            "rate": 3e-4,
            "average": 0.9,
            "patch": 32,
            "denoiser": (16, 16),
            "blocks": 1,
            "attention": (),
            "width": 8,
            "hidden": 8,
            "judge": 8,
            "judge_layers": 1,
            "adversarial": 0.01,
            "cycle": 0.1,
            "pool": 3,
        },
    }

    def resolve(self, traits: Traits) -> Self:
        """Decide as `UnpairedSettings` does, and how noisy backgrounds are."""
        for name, level in (("small", self.small), ("large", self.large or self.timesteps)):
            if level > self.timesteps:
                raise SettingsError(f"--settings.{name}: found {level}, expected at most {self.timesteps} timesteps")
        if self.bounded and self.painter != "arithmetic":
            raise SettingsError("--settings.bounded: expected --settings.painter arithmetic beside it")
        if self.fading and not self.bounded:
            raise SettingsError("--settings.fading: expected --settings.bounded true beside it")
        found = super().resolve(traits)
        if self.contrast and found.side < SIDES[0]:
            raise SettingsError(
                f"--settings.contrast: found {self.contrast:g} where the networks see {found.side} pixels a side, "
                f"expected {SIDES[0]} or more for its smallest patches; leave it out"
            )
        return found.model_copy(update={"large": self.large or self.timesteps})
