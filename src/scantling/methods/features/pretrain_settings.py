"""The settings of the pre-training, and the grid that follows from the data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from scantling.contract.settings import Settings
from scantling.core.errors import SettingsError
from scantling.core.samples import Preprocessing, Traits
from scantling.diffusion.schedules import Schedule
from scantling.networks.denoiser import Resample

Positive = Annotated[int, Field(gt=0)]


class PretrainSettings(Settings):
    """Settings of `diffusion-pretrain`: network, noise and rate of guided-diffusion at 256 pixels.

    Batch, steps and all of `quick` are ours.

    Attributes:
        steps: of training; 0 keeps the `weights` as they are.
        batch: images a step.
        average: decay of the averaged weights, which answer.
        size: the side of the square that every image is resampled to, whatever its proportions.
        longest: the longest side that images are shrunk to, instead of `size`; their proportions stay.
        patch: the side of squares that are cut from images as they are, instead of `size`.
        flips, turns: mirror, and turn by a right angle, at random.
        chain: T, steps of the noise process.
        schedule: of its noise.
        learned_variance: the network also says how sure each step back is (Nichol and Dhariwal, 2021).
        widths: channels of each level of the network; see `Denoiser` for `blocks`, `attention`, `head_channels`,
            `resample`, `scale_shift` and `dropout`.
        sampling_steps: of DDIM, by which images are made.
        weights: a file with the weights of such a network by the names of guided-diffusion, to begin with.
    """

    steps: Annotated[int, Field(ge=0)] = 100_000
    batch: Positive = 32
    rate: Annotated[float, Field(gt=0)] = 1e-4
    schedule_of_rate: Literal["constant", "one-cycle"] = "constant"
    average: Annotated[float, Field(ge=0, lt=1)] = 0.9999
    size: Positive | None = 256
    longest: Positive | None = None
    patch: Positive | None = None
    flips: bool = True
    turns: bool = False
    chain: Annotated[int, Field(ge=2)] = 1000
    schedule: Schedule = "linear"
    learned_variance: bool = True
    widths: Annotated[tuple[Positive, ...], Field(min_length=1)] = (256, 256, 512, 512, 1024, 1024)
    blocks: Positive = 2
    attention: tuple[Annotated[int, Field(ge=0)], ...] = (3, 4, 5)
    head_channels: Positive = 64
    resample: Resample = "block"
    scale_shift: bool = True
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    sampling_steps: Positive = 50
    weights: Path | None = None

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "steps": 1000,
            "batch": 8,
            "rate": 1e-3,
            "schedule_of_rate": "one-cycle",
            "average": 0.99,
            "size": None,
            "longest": 96,
            "learned_variance": False,
            "widths": (16, 32, 64, 128),
            "blocks": 1,
            "attention": (),
            "head_channels": 32,
            "resample": "convolution",
            "sampling_steps": 25,
        },
        "tiny": {
            "steps": 4,
            "batch": 2,
            "rate": 1e-2,
            "average": 0.9,
            "size": 16,
            "chain": 20,
            "widths": (8, 16),
            "blocks": 1,
            "attention": (1,),
            "head_channels": 8,
            "sampling_steps": 2,
        },
    }
    architecture: ClassVar[tuple[str, ...]] = (
        "widths", "blocks", "attention", "head_channels", "resample", "scale_shift", "learned_variance",
    )  # fmt: skip

    @property
    def preprocessing(self) -> Preprocessing:
        """Planes of one size or longest side, or as they are, each channel in [-1, 1]."""
        size = None if self.size is None else (self.size, self.size)
        return Preprocessing(dimensions=2, normalise="unit", size=size, longest=self.longest)

    @property
    def divisor(self) -> int:
        """What the levels divide the sides of an image by."""
        return int(2 ** (len(self.widths) - 1))

    @classmethod
    def preset(cls, name: str, changes: Mapping[str, Any] | None = None) -> Self:
        """See `Settings.preset`; of a size, a longest side and a patch that of the user counts."""
        given, ways = changes or {}, ("size", "longest", "patch")
        chosen = any(given.get(way) is not None for way in ways)
        return super().preset(name, {**(dict.fromkeys(ways) if chosen else {}), **given})

    def shape(self, traits: Traits) -> tuple[int, int]:
        """The shape of the images that it is trained on, and makes: the smallest that the levels divide.

        Of images with a longest side the one that holds the median image.
        """
        if self.patch is not None:
            return (-(-self.patch // self.divisor) * self.divisor,) * 2
        recipe = Preprocessing(
            dimensions=2, size=None if self.size is None else (self.size, self.size), longest=self.longest
        )
        height, width = recipe.grid(traits.slices().shape, (1.0, 1.0))
        return -(-height // self.divisor) * self.divisor, -(-width // self.divisor) * self.divisor

    def resolve(self, traits: Traits) -> Self:
        """Refuse a network or a chain that cannot be; images are not enlarged to a longest side."""
        if sum(each is not None for each in (self.size, self.longest, self.patch)) != 1:
            patch = "" if self.patch is None else f" and --settings.patch {self.patch}"
            raise SettingsError(
                f"--settings.size {self.size} and --settings.longest {self.longest}{patch}: expected one of them"
            )
        if not self.steps and self.weights is None:
            raise SettingsError("--settings.steps 0 keeps the weights of a file; name one with --settings.weights")
        if self.sampling_steps > self.chain:
            raise SettingsError(f"--settings.sampling_steps {self.sampling_steps}: the chain has {self.chain} steps")
        if any(level >= len(self.widths) for level in self.attention):
            raise SettingsError(
                f"--settings.attention {self.attention}: the levels are 0 to {len(self.widths) - 1}; name some of them"
            )
        for width in (*(self.widths[level] for level in self.attention), self.widths[-1]):
            if width % self.head_channels:
                raise SettingsError(
                    f"--settings.head_channels {self.head_channels}: they share the {width} channels of a level with "
                    "attention; take a number that divides them"
                )
        longest = None if self.longest is None else min(self.longest, max(traits.slices().shape))
        if (self.size or longest or self.patch or 0) < self.divisor:
            raise SettingsError(
                f"--settings.widths: {len(self.widths)} levels need images of {self.divisor} pixels a side; found "
                f"{self.size or longest or self.patch}; take fewer levels or a larger --settings.size"
            )
        return self.model_copy(update={"longest": longest})

    def explain(self, traits: Traits) -> tuple[str, ...]:
        """How many images it learns from, and how large they are."""
        images = traits.slices()
        height, width = self.shape(traits)
        number = images.labelled + images.unlabelled
        few = " (so few that it learns little that lasts)" if number < FEW else ""
        return (f"learns from {number} images{few} on a grid of {height} x {width}; no label is read",)


FEW = 50
"""Fewer images than this are hardly a pre-training; ours."""
