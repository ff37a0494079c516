"""How the systems that draw masks are set, and the grid and the patch that follow from their data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import Field

from scantling import planning
from scantling.contract.settings import Settings
from scantling.core.errors import SettingsError
from scantling.core.samples import Preprocessing, Traits
from scantling.diffusion.schedules import Schedule, Spacing
from scantling.planning import Grid

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
T = TypeVar("T")


QUICK: Mapping[str, Any] = {
    "steps": 1200, "batch": 16, "rate": 2e-3, "schedule_of_rate": "one-cycle", "average": 0.99, "size": None,
    "longest": 64, "foreground": 0.33, "flips": True, "turns": True, "rotation": 30.0, "zoom": 0.2, "jitter": 0.2,
    "sampler": "ddim", "samples": 8, "sampling_steps": 10, "widths": (16, 32, 64, 64), "blocks": 1, "attention": (),
}  # fmt: skip
"""What the presets `quick` of systems in Gaussian noise and that of their control share; ours."""
TINY: Mapping[str, Any] = {
    "steps": 4, "batch": 2, "rate": 1e-2, "average": 0.9, "size": 32, "chain": 20, "samples": 2, "sampling_steps": 3,
    "widths": (8, 8), "blocks": 1, "attention": (1,),
}  # fmt: skip
"""The same of the presets `tiny`."""


class MaskDiffusionSettings(Settings):
    """Settings that all of them share; what no source gives is ours.

    Attributes:
        steps: of training.
        batch: images or patches a step.
        average: decay of the averaged weights, which answer.
        size: the side of the square that every image is resampled to; None: images keep their own pixels.
        longest: the longest side that images are shrunk to, instead of `size`; their proportions stay. Where the
            objects would become too small (`planning.Grid`), patches of this side are taken on a finer grid instead,
            unless `patch` is given.
        patch: the side of a training patch; None: the whole image or, on images of their own pixels, the largest
            square that every image has room for.
        foreground: the share of patches centred on a labelled pixel.
        flips: mirror and, with `turns`, turn by a right angle at random; `rotation` (degrees), `zoom` and `jitter`
            go beyond it; see `Augmentation`.
        chain: T, steps of the noise process; 0: none, the same network says the mask of the image at once.
        schedule: of its noise.
        samples: masks drawn for an image.
        sampling_steps: steps of the chain that are walked to draw one.
        spacing: which steps these are: "trailing" starts at the noisiest, "leading" does not.
        fuse: how samples become one mask.
        widths: channels of each level of the denoising network.
        blocks: residual blocks a level.
        attention: the levels with self-attention, 0 is full resolution.
        heads: of each attention.
        dropout: in each residual block.
    """

    steps: Positive = 100_000
    batch: Positive = 32
    rate: Annotated[float, Field(gt=0)] = 1e-4
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    schedule_of_rate: Literal["constant", "cosine", "one-cycle"] = "constant"
    average: Annotated[float, Field(ge=0, lt=1)] = 0.9999
    size: Positive | None = 256
    longest: Positive | None = None
    patch: Positive | None = None
    foreground: Share = 0.0
    flips: bool = False
    turns: bool = False
    rotation: Annotated[float, Field(ge=0)] = 0.0
    zoom: Annotated[float, Field(ge=0)] = 0.0
    jitter: Annotated[float, Field(ge=0)] = 0.0
    chain: Annotated[int, Field(ge=0)] = 1000
    schedule: Schedule = "linear"
    samples: Positive = 16
    sampling_steps: Positive = 100
    spacing: Spacing = "trailing"
    fuse: Literal["mean", "vote", "staple", "uncertainty"] = "mean"
    widths: Annotated[tuple[Positive, ...], Field(min_length=1)] = (128, 128, 256, 256, 512, 512)
    blocks: Positive = 2
    attention: tuple[Annotated[int, Field(ge=0)], ...] = (4,)
    heads: Positive = 1
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    architecture: ClassVar[tuple[str, ...]] = ("widths", "blocks", "attention", "heads")
    binary: ClassVar[bool] = True
    """Whether the paper knows one class only."""

    @property
    def divisor(self) -> int:
        """What the levels divide the sides of an image by."""
        return int(2 ** (len(self.widths) - 1))

    @classmethod
    def preset(cls, name: str, changes: Mapping[str, Any] | None = None) -> Self:
        """See `Settings.preset`; a size that is given goes before the longest side of a preset."""
        sized = changes is not None and changes.get("size") is not None
        return super().preset(name, {"longest": None, **(changes or {})} if sized else changes)

    def shape(self, traits: Traits) -> tuple[int, int]:
        """The shape of what the network is trained on, with resolved settings: a patch, or an image as a whole.

        Of images with a longest side the smallest shape that the levels divide and that holds the median image.
        """
        side = self.patch or self.size
        if side is not None:
            return (side, side)
        height, width = Preprocessing(dimensions=2, longest=self.longest).grid(traits.slices().shape, (1.0, 1.0))
        return -(-height // self.divisor) * self.divisor, -(-width // self.divisor) * self.divisor

    def explain(self, traits: Traits) -> tuple[str, ...]:
        """How small images are seen and why, where a size was not given."""
        return () if self.size is not None else planning.sentences(traits, self._grid(traits), self.shape(traits))

    def _grid(self, traits: Traits) -> Grid:
        """The grid that the settings give: that of the files, or the one on which the median image is so long."""
        spacing = traits.slices().spacing
        factor = 1.0 if self.longest is None else max(traits.slices().shape) / self.longest
        given = [mm * factor for mm in spacing]
        return Grid.of(traits.slices(), math.prod(self.shape(traits)), spacing=given)

    def resolve(self, traits: Traits) -> Self:
        """Refuse data and chains that cannot be, plan the grid, and fit the patch into the images."""
        name = type(self).__name__.removesuffix("Settings")
        if traits.labels is None:
            raise SettingsError(f"{name} needs masks to know its classes; the training data have none")
        if self.binary and len(traits.classes) > 1:
            raise SettingsError(
                f"{name} knows one class only; the data have {len(traits.classes)} ({', '.join(traits.classes)}); "
                "merge them in a manifest, or take a method for several classes"
            )
        if self.chain:
            check_steps(self.sampling_steps, self.chain, "--settings.sampling_steps")
        if self.size is not None and self.longest is not None:
            raise SettingsError(
                f"--settings.size {self.size} and --settings.longest {self.longest}: expected one of them; leave the "
                "other out"
            )
        if self.longest is not None and self.patch is None:
            grid = Grid.of(traits.slices(), self.longest**2)
            if any(traits.thickness) and not grid.whole:
                finer = max(grid.shape) if grid.shrink > 1 else None
                return self.model_copy(update={"longest": finer, "patch": self.longest}).resolve(traits)
        longest = None if self.longest is None else min(self.longest, max(traits.slices().shape))
        room = self.size or longest or min(traits.slices().smallest)
        if room < self.divisor:
            raise SettingsError(
                f"--settings.widths: {len(self.widths)} levels need images of {self.divisor} pixels a side; found "
                f"{room}; take fewer levels or a larger --settings.size"
            )
        if self.patch is not None and self.patch < self.divisor:
            raise SettingsError(
                f"--settings.patch {self.patch}: {len(self.widths)} levels need patches of {self.divisor} pixels a "
                "side; take a larger patch or fewer levels"
            )
        if any(level >= len(self.widths) for level in self.attention):
            raise SettingsError(
                f"--settings.attention {self.attention}: the levels are 0 to {len(self.widths) - 1}; name some of them"
            )
        for width in (*(self.widths[level] for level in self.attention), self.widths[-1]):
            if width % self.heads:
                raise SettingsError(
                    f"--settings.heads {self.heads}: they share the {width} channels of a level with attention; take a "
                    "number that divides them"
                )
        side = self.patch if self.patch is not None else (None if self.size or longest else room)
        patch = None if side is None else min(side, room) // self.divisor * self.divisor
        return self.model_copy(update={"longest": longest, "patch": patch})


def check_steps(steps: int, chain: int, flag: str) -> None:
    """Make sure that a chain of `chain` steps can be walked in so many.

    Raises:
        SettingsError: it cannot.
    """
    if not 1 <= steps <= chain:
        raise SettingsError(f"{flag} {steps}: the chain has {chain} steps; take 1 to {chain}")
