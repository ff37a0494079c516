"""What the systems that draw masks share: a mask drowns in noise, and a network that sees the image brings it back."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor

from scantling.contract.capabilities import Segmenter
from scantling.contract.options import SegmentOptions
from scantling.contract.results import Segmentation
from scantling.contract.settings import Settings
from scantling.contract.stage import Game, Player, Stage
from scantling.contract.step import Draws, Inference, Step
from scantling.core.case import IGNORE
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch, Preprocessing, Traits
from scantling.core.streams import Augmentation, Stream
from scantling.diffusion.chain import exact, pairs
from scantling.diffusion.samplers import Draw, Final, Guess, Model
from scantling.diffusion.schedules import Schedule, Spacing, timesteps
from scantling.losses.overlap import class_channels
from scantling.networks.denoiser import Denoiser

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Condition = tuple[Tensor, ...]
"""What a network makes of one image alone: tensors (1, ...)."""

TOGETHER = {"cpu": 128 * 256, "cuda": 16 * 256 * 256}
"""Pixels, of all samples that go through the network together, beyond which a larger batch is no faster."""


class MaskDiffusionSettings(Settings):
    """Settings that all of them share; what no source gives is ours.

    Attributes:
        steps: of training.
        batch: images or patches a step.
        average: decay of the averaged weights, which answer.
        size: the side of the square that every image is resampled to; None: images keep their own pixels.
        patch: the side of a training patch; None: the whole image or, where `size` is None, the largest square that
            every image has room for.
        foreground: the share of patches centred on a labelled pixel.
        flips: mirror and, with `turns`, turn by a right angle at random; `rotation` (degrees), `zoom` and `jitter`
            go beyond it; see `Augmentation`.
        chain: T, steps of the noise process.
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
    patch: Positive | None = None
    foreground: Share = 0.0
    flips: bool = False
    turns: bool = False
    rotation: Annotated[float, Field(ge=0)] = 0.0
    zoom: Annotated[float, Field(ge=0)] = 0.0
    jitter: Annotated[float, Field(ge=0)] = 0.0
    chain: Positive = 1000
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

    def resolve(self, traits: Traits) -> Self:
        """Refuse data and chains that cannot be, and fit the patch into the images."""
        name = type(self).__name__.removesuffix("Settings")
        if traits.labels is None:
            raise SettingsError(f"{name} needs masks to know its classes; the training data have none")
        if self.binary and len(traits.classes) > 1:
            raise SettingsError(
                f"{name} knows one class only; the data have {len(traits.classes)} ({', '.join(traits.classes)}); "
                "merge them in a manifest, or take a method for several classes"
            )
        _check_steps(self.sampling_steps, self.chain, "--settings.sampling_steps")
        plane = [n for axis, n in enumerate(traits.smallest) if len(traits.shape) == 2 or axis != traits.slice_axis]
        room = min(plane) if self.size is None else self.size
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
        side = self.patch if self.patch is not None else (None if self.size is not None else room)
        return self.model_copy(
            update={"patch": None if side is None else min(side, room) // self.divisor * self.divisor}
        )


class MaskDiffusion(Segmenter):
    """A method that answers with samples. Subclasses say what they know of an image, and what they make of noise.

    The network sees whatever does not depend on the noisy mask once for each image, not once a step.
    """

    settings: MaskDiffusionSettings
    draws = True

    @property
    def preprocessing(self) -> Preprocessing:
        """Planes of one size, each image in units of its own deviation."""
        size = self.settings.size
        return Preprocessing(dimensions=2, normalise="image", size=None if size is None else (size, size))

    def segment_options(self, options: SegmentOptions) -> SegmentOptions:
        """The number of samples, of steps and the rule of the settings, unless something else is asked."""
        of = self.settings
        steps = options.steps or of.sampling_steps
        _check_steps(steps, of.chain, "--sampling-steps")
        return options.model_copy(
            update={"samples": options.samples or of.samples, "steps": steps, "fuse": options.fuse or of.fuse}
        )

    def condition(self, image: Tensor) -> Condition:
        """What the network needs of images (B, C, *S) at every step; the image itself unless a method says more."""
        return (image,)

    @abstractmethod
    def denoise(self, noisy: Tensor, condition: Condition, timestep: Tensor) -> Tensor:
        """What the network says (B, ?, *S) of noisy masks (B, K, *S) at timesteps (B,) under a condition."""

    @abstractmethod
    def guess(self, predicted: Tensor, noisy: Tensor, timestep: int, before: int) -> Guess:
        """The clean masks that the network's words (B, ?, *S) mean, on the way from a timestep to the one before it."""

    @abstractmethod
    def walk(self, model: Model, *, like: Tensor, steps: Sequence[int], draw: Draw) -> Final:
        """Draw masks in the shape of `like` by the chain's timesteps `steps`; `draw` gives all randomness."""

    @abstractmethod
    def probability(self, state: Tensor) -> Tensor:
        """The end of a chain (B, K, *S) as probabilities."""

    def stream(self) -> Stream:
        """Labelled images; where several readers marked one, the mask of a reader drawn at every visit."""
        of = self.settings
        side = of.patch
        return Stream(
            name="labelled",
            batch=of.batch,
            patch=None if side is None else (side, side),
            foreground=of.foreground if side is not None else 0.0,
            annotator="drawn",
            augment=Augmentation(
                flips=of.flips,
                turns=of.turns,
                rotation=of.rotation,
                zoom=of.zoom,
                warped=0.3,
                brightness=of.jitter,
                contrast=of.jitter,
                gamma=of.jitter,
            ),
        )

    def stages(self) -> Sequence[Stage]:
        """One stage, and one player that owns everything; that its gradient is clipped, at a norm of 1, is ours."""
        of = self.settings
        player = Player(
            name=self.card.name,
            modules=(self,),
            rate=of.rate,
            optimiser="adamw",
            weight_decay=of.weight_decay,
            schedule=of.schedule_of_rate,
            clip=1.0,
            average=of.average,
        )
        stream = self.stream()
        return (Stage(name="train", players=(player,), streams=(stream,), steps=of.steps, objectives=self.objectives),)

    @abstractmethod
    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """What the player is to minimise on a batch of the stream."""

    def denoiser(self, inputs: int, outputs: int) -> Denoiser:
        """The U-Net of the settings, for subclasses that denoise with one."""
        of = self.settings
        return Denoiser(
            inputs,
            outputs,
            widths=of.widths,
            blocks=of.blocks,
            attention=of.attention,
            heads=of.heads,
            dropout=of.dropout,
        )

    def segment(self, batch: Batch, inference: Inference) -> Segmentation:
        """Samples (N, B, K, *S) on the processor, each a chain of its own over the whole canvas.

        The noise of a sample depends on its number alone: the slices of a volume share it, however many come together,
        so that what is vague is decided alike in neighbours.
        """
        drawn = [self._answered(batch.image[row : row + 1], inference) for row in range(len(batch.image))]
        names = drawn[0][1]
        return Segmentation(
            samples=torch.cat([samples for samples, _ in drawn], 1),
            uncertainty={name: torch.cat([maps[name] for _, maps in drawn]) for name in names},
        )

    def doubt(self, ends: Sequence[Final]) -> Mapping[str, Tensor]:
        """Uncertainties (1, 1, *S) that the method reads from the ends of an image's chains; none by default."""
        del ends
        return {}

    def _answered(self, image: Tensor, inference: Inference) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Samples (N, 1, K, *S) of one image (1, C, *S), and the uncertainties."""
        options = self.segment_options(inference.options)
        whole = tuple(image.shape[2:])
        steps = timesteps(self.settings.chain, options.steps or 1, spacing=self.settings.spacing)
        before = dict(pairs(steps))
        known, classes = list[Condition](), len(self.traits.classes)

        def network(tile: Tensor, timestep: int) -> Tensor:
            noisy, seen = tile.tensor_split([classes], 1)
            condition = known[0] if known and tuple(tile.shape[2:]) == whole else self.condition(seen[:1])
            if tuple(tile.shape[2:]) == whole:
                known[:] = [condition]
            condition = tuple(part.expand(len(tile), *part.shape[1:]) for part in condition)
            return self.denoise(noisy, condition, torch.full((len(tile),), timestep, device=tile.device))

        def model(noisy: Tensor, timestep: int) -> Guess:
            canvas = torch.cat([noisy, image.expand(len(noisy), *image.shape[1:])], 1)
            predicted = inference.tile(partial(network, timestep=timestep), canvas)
            return self.guess(predicted, noisy, timestep, before[timestep])

        at_once = max(1, TOGETHER.get(image.device.type, TOGETHER["cuda"]) // math.prod(whole))
        ends = []
        for numbers in torch.arange(options.samples or 1).split(at_once):
            moments = [replace(inference, number=0, slot=int(number)) for number in numbers]
            like = image.new_empty((len(moments), classes, *whole))
            end = self.walk(model, like=like, steps=steps, draw=partial(self.noise, moments))
            ends.append(
                Final(end.x.cpu(), end.mean.cpu(), None if end.log_variance is None else end.log_variance.cpu())
            )
        samples = torch.cat([self.probability(end.x) for end in ends])  # (N, K, *S)
        return _within_one(samples, self.traits)[:, None], self.doubt(ends)

    def noise(self, moments: Sequence[Draws], purpose: str, like: Tensor) -> Tensor:
        """Standard normal numbers (N, K, *S) for the samples of these moments, each its own whatever their number."""
        return torch.cat([draws.randn(purpose, like=like[:1]) for draws in moments])


def masks_of(mask: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """One channel for each class (B, K, *S) of 0 and 1, and which pixels count, as the same shape in bool."""
    wanted = class_channels(mask, classes)
    return wanted.float(), (mask != IGNORE).expand_as(wanted)


def mean_of_known(values: Tensor, known: Tensor) -> Tensor:
    """The mean of (B, K, *S) over the pixels that count, each sample for itself, then over samples."""
    sums = (exact(values) * known).flatten(1).sum(1)
    return (sums / known.flatten(1).sum(1).clamp(min=1)).mean()


def _within_one(samples: Tensor, traits: Traits) -> Tensor:
    """Exclusive classes that exceed 1 together share it."""
    if traits.labels is None or not traits.labels.exclusive or len(traits.classes) == 1:
        return samples
    return samples / samples.sum(1, keepdim=True).clamp(min=1)


def _check_steps(steps: int, chain: int, flag: str) -> None:
    if not 1 <= steps <= chain:
        raise SettingsError(f"{flag} {steps}: the chain has {chain} steps; take 1 to {chain}")
