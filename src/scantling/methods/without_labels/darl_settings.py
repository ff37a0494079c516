"""The settings of DARL, and what it decides by itself where they leave it open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from scantling.contract.settings import Settings
from scantling.core.errors import SettingsError
from scantling.core.samples import Traits
from scantling.losses.patch_contrast import SIDES

Positive = Annotated[int, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]
BACKGROUND = "background"
"""The pool of images without contrast."""


class DARLSettings(Settings):
    """Settings of `darl`. The defaults are those of the authors' code on XCAD; what is ours says so.

    Attributes:
        steps: of training: 150 epochs of 1621 images.
        batch: images a step.
        rate: of both players; that of C-DARL is 1e-5.
        average: see `Player`; the authors' code names a decay but uses none.
        patch: the side of a patch as it is read; resolved to what the images have room for.
        interleave: training sees every n-th row and column of a patch, an answer all n² phases. 1: no subsampling.
        timesteps: T, with β linear from `beta_low` to `beta_high`.
        small: noise levels of images that are segmented, [0, small).
        large: noise levels of backgrounds, [0, large); None: all of them.
        onto: the generator paints within a pixel of the mask only; elsewhere stays what the denoiser makes of the
            background; ours.
        denoiser: channels of each level of the denoiser; see `Denoiser` for `blocks` and `attention`.
        width: channels of the generator at full resolution.
        hidden: channels in which its norms read a mask.
        judge: channels of the first layer of the discriminators, which have `judge_layers` strides of 2.
        pool: fakes that each discriminator remembers.
        diffusion: False: the generator sees images without noise and nothing else, and there is no denoiser and no loss
            of one (Table 3, a; that the images are then clean is ours).
        switched: False: the mask comes in as a channel beside the image, not through norms (Table 3, b).
        adversarial: α.
        cycle: β; that of C-DARL is 2; 0: no cycle (Table 3, c).
        cycle_loss: "l1", or "cross-entropy" of (1 + tanh) / 2 (Table 3, d).
        contrast: weight of C-DARL's contrast of masks, 4e-4 there; 0 for none.
        patches: of each size that the contrast compares.
        judged: what discriminators look at: masks and images, or, as in C-DARL, images alone.
        masks: vessels come from the cases that are only a mask ("folder") or from the fractal rule; None: the folder
            where there are such cases.
        background: from the pool "background", from the images by a wide median (ours), or the image itself, as in
            C-DARL; None: the pool where there is one, else the median.
        window: of that median in pixels, more than twice the widest vessel; ours.
        canvas: the side of a fractal mask, of which a patch is cut; None: the patch's; ours.
        overlaid: fractals on one mask; ours.
        evened: half the side in pixels of the square in which the light and the contrast of an image are made even
            before anything looks at it, for photographs whose vessels are faint beside their shading; the rim of the
            region of interest then counts as outside; 0: not at all; ours.
        grey: what becomes of colour; the green channel shows vessels best.
    """

    steps: Positive = 150 * 1621
    batch: Positive = 1
    rate: Annotated[float, Field(gt=0)] = 5e-6
    average: Annotated[float, Field(ge=0, lt=1)] = 0.0
    patch: Positive = 512
    interleave: Positive = 2
    timesteps: Annotated[int, Field(ge=2)] = 2000
    beta_low: Annotated[float, Field(gt=0, lt=1)] = 1e-6
    beta_high: Annotated[float, Field(gt=0, lt=1)] = 1e-2
    small: Positive = 200
    large: Positive | None = None
    onto: bool = False
    diffusion: bool = True
    switched: bool = True
    denoiser: Annotated[tuple[Positive, ...], Field(min_length=1)] = (64, 64, 128, 128, 256, 256)
    blocks: Positive = 2
    attention: tuple[Annotated[int, Field(ge=0)], ...] = (4,)
    width: Positive = 64
    hidden: Positive = 128
    judge: Positive = 64
    judge_layers: Positive = 3
    pool: Annotated[int, Field(ge=0)] = 50
    adversarial: Weight = 0.2
    cycle: Weight = 5.0
    cycle_loss: Literal["l1", "cross-entropy"] = "l1"
    contrast: Weight = 0.0
    patches: Positive = 256
    judged: Literal["both", "images"] = "both"
    masks: Literal["folder", "fractal"] | None = None
    background: Literal["pool", "median", "image"] | None = None
    window: Positive = 28
    canvas: Positive | None = None
    overlaid: Positive = 1
    evened: Annotated[int, Field(ge=0)] = 0
    grey: Literal["green", "luminance"] = "green"

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

    @property
    def side(self) -> int:
        """Of what the networks see in training."""
        return self.patch // self.interleave

    def resolve(self, traits: Traits) -> Self:
        """Decide from the data where masks and backgrounds come from and how large a patch may be."""
        for name, level in (("small", self.small), ("large", self.large or self.timesteps)):
            if level > self.timesteps:
                raise SettingsError(f"--settings.{name}: found {level}, expected at most {self.timesteps} timesteps")
        pooled, drawn = BACKGROUND in traits.pools, traits.masks_alone > 0
        if self.background == "pool" and not pooled:
            raise SettingsError(f'--settings.background pool: no training image is in the pool "{BACKGROUND}"')
        if self.masks == "folder" and not drawn:
            raise SettingsError(
                "--settings.masks folder: no training case is only a mask; name a folder of masks with another --data"
            )
        least = self.interleave * 4 * 2**self.judge_layers  # what the last layers of a discriminator need
        if self.patch < least:
            raise SettingsError(
                f"--settings.patch: found {self.patch}, expected {least} or more for the discriminators"
            )
        patch = max(least, min(self.patch, *traits.slices().smallest) // self.interleave * self.interleave)
        seen = patch // self.interleave
        if self.contrast and seen < SIDES[0]:
            raise SettingsError(
                f"--settings.contrast: found {self.contrast:g} where the networks see {seen} pixels a side, expected "
                f"{SIDES[0]} or more for its smallest patches; leave it out"
            )
        return self.model_copy(
            update={
                "patch": patch,
                "large": self.large or self.timesteps,
                "canvas": max(self.canvas or patch, patch),
                "masks": self.masks or ("folder" if drawn else "fractal"),
                "background": self.background or ("pool" if pooled else "median"),
            }
        )
