"""The U-Net as a small, strong default that configures itself from the traits of the data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field
from torch import Tensor

from scantling.contract.capabilities import Segmenter
from scantling.contract.method import Method
from scantling.contract.results import Segmentation
from scantling.contract.settings import Settings
from scantling.contract.stage import Game, Player, Stage
from scantling.contract.step import Inference, Step
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch, Preprocessing, Traits
from scantling.core.streams import Augmentation, Stream
from scantling.losses.overlap import cross_entropy, dice_loss, probabilities_of
from scantling.methods.catalogue import CARDS
from scantling.networks.unet import UNet

Positive = Annotated[int, Field(gt=0)]


class UNetSettings(Settings):
    """Settings of `unet`. The architecture is of the papers; widths, recipe and self-configuration are ours.

    Attributes:
        steps: of training.
        batch: patches a step; None: 8 for raster images, 2 for volumes.
        widths: channels of each level; a level that the image is too small for is left out.
        pixels, voxels: how many a patch of a raster image and of a volume may have; its shape follows the images'.
        patch: the shape of a patch; None: from the traits.
        size: the side of the square that every raster image is resampled to, for large objects that patches of the
            whole would not show; None: images keep their own pixels.
        spacing: the working grid in mm, or in pixels where not all training images say theirs; None: the median of the
            training data for volumes, untouched for raster images.
        normalise: see `Preprocessing`; None: "dataset" for CT (a channel called ct, or values below -500), else
            "image".
        norm: "instance" where a batch is too small to have a mean.
        flips: mirror the patches; None: raster images yes, volumes no, because a body has a left and a right, a
            front and a back.
        dice: the weight of the Dice loss beside the cross-entropy.
        foreground: the share of patches centred on a labelled pixel.
    """

    steps: Positive = 20_000
    batch: Positive | None = None
    rate: Annotated[float, Field(gt=0)] = 2e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    average: Annotated[float, Field(ge=0, lt=1)] = 0.999
    widths: Annotated[tuple[Positive, ...], Field(min_length=1)] = (32, 64, 128, 256, 320)
    pixels: Positive = 256 * 256
    voxels: Positive = 96 * 96 * 96
    patch: tuple[Positive, ...] | None = None
    size: Positive | None = None
    spacing: tuple[Annotated[float, Field(gt=0)], ...] | None = None
    normalise: Literal["image", "dataset", "unit", "none"] | None = None
    norm: Literal["batch", "instance"] = "batch"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    dice: Annotated[float, Field(ge=0)] = 0.5
    foreground: Annotated[float, Field(ge=0, le=1)] = 0.33
    flips: bool | None = None
    rotation: Annotated[float, Field(ge=0)] = 30.0
    zoom: Annotated[float, Field(ge=0)] = 0.2
    jitter: Annotated[float, Field(ge=0)] = 0.2

    architecture: ClassVar[tuple[str, ...]] = ("widths", "norm")
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "steps": 2500,
            "widths": (16, 32, 64, 128),
            "pixels": 128 * 128,
            "voxels": 32 * 40 * 32,
            "rate": 3e-3,
            "average": 0.99,
        },
        "tiny": {
            "steps": 4,
            "batch": 2,
            "rate": 2e-2,
            "widths": (4, 8),
            "pixels": 32 * 32,
            "voxels": 16 * 16 * 16,
            "average": 0.9,
            "norm": "instance",
        },
    }

    def resolve(self, traits: Traits) -> Self:
        """Decide patch, spacing and normalisation from the traits."""
        if traits.labels is None:
            raise SettingsError("unet needs masks to know its classes; the training data have none")
        for name in ("patch", "spacing"):
            given = getattr(self, name)
            if given is not None and len(given) != traits.dimensions:
                raise SettingsError(
                    f"--settings.{name}: found {len(given)} numbers, expected one for each of the "
                    f"{traits.dimensions} axes of the images"
                )
        volumes = traits.dimensions == 3
        if self.size is not None and volumes:
            raise SettingsError("--settings.size is for raster images; volumes have --settings.spacing")
        spacing = self.spacing or (traits.spacing if volumes else None)
        shape = traits.shape if self.size is None else (self.size,) * 2
        if spacing is not None:
            shape = tuple(max(1, round(n * a / b)) for n, a, b in zip(shape, traits.spacing, spacing, strict=True))
        ct = any(name.lower() == "ct" for name in traits.channels) or any(i.low < -500 for i in traits.intensity)
        return self.model_copy(
            update={
                "spacing": spacing,
                "normalise": self.normalise or ("dataset" if ct else "image"),
                "flips": not volumes if self.flips is None else self.flips,
                "batch": self.batch or (2 if volumes else 8),
                "patch": self.patch
                or _patch(shape, self.voxels if volumes else self.pixels, 2 ** (len(self.widths) - 1)),
            }
        )


class UNetSegmenter(Segmenter):
    """U-Net trained with cross-entropy and Dice on patches; answers with one forward pass.

    The last layer has one channel for each class, or one more for the background where several classes exclude
    each other.
    """

    card = CARDS["unet"]
    Settings = UNetSettings
    settings: UNetSettings

    def __init__(self, settings: UNetSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None) -> None:
        super().__init__(settings, traits, uses=uses)
        classes = len(traits.classes)
        exclusive = traits.labels is not None and traits.labels.exclusive
        patch = settings.patch or traits.shape
        strides = _strides(patch, settings.spacing or traits.spacing, len(settings.widths) - 1)
        self.network = UNet(
            len(traits.channels),
            classes + 1 if exclusive and classes > 1 else classes,
            widths=settings.widths[: len(strides) + 1],
            strides=strides,
            norm=settings.norm,
            dropout=settings.dropout,
        )

    @property
    def preprocessing(self) -> Preprocessing:
        """Volumes on one grid, each image in units of its own deviation (or the data set's)."""
        return Preprocessing(
            dimensions=self.traits.dimensions,
            normalise=self.settings.normalise or "image",
            spacing=self.settings.spacing,
            size=None if self.settings.size is None else (self.settings.size,) * 2,
        )

    def stages(self) -> Sequence[Stage]:
        """One stage, one player."""
        of = self.settings
        player = Player(
            name="unet",
            modules=(self.network,),
            rate=of.rate,
            optimiser="adamw",
            weight_decay=of.weight_decay,
            schedule="one-cycle",
            clip=1.0,
            average=of.average,
        )
        stream = Stream(
            name="labelled",
            batch=of.batch or 1,
            patch=of.patch,
            foreground=of.foreground,
            augment=Augmentation(
                flips=bool(of.flips),
                turns=self.traits.dimensions == 2,
                rotation=of.rotation,
                zoom=of.zoom,
                warped=0.3,
                brightness=of.jitter,
                contrast=of.jitter,
                gamma=of.jitter,
                spacing=of.spacing,
            ),
        )
        return (Stage(name="train", players=(player,), streams=(stream,), steps=of.steps, objectives=self.objectives),)

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """Cross-entropy plus Dice."""
        labelled = batch["labelled"]
        logits = self.network(labelled.image)  # (B, K or K + 1, *S)
        terms = {"cross_entropy": cross_entropy(logits, labelled.mask)}
        if self.settings.dice:
            overlap = dice_loss(self.probabilities(logits), labelled.mask)
            terms["overlap"] = self.settings.dice * overlap
        yield "unet", terms

    def segment(self, batch: Batch, inference: Inference) -> Segmentation:
        """Probabilities of the classes, from the whole image or from blended tiles."""
        return Segmentation(
            probabilities=inference.tile(lambda tile: self.probabilities(self.network(tile)), batch.image)
        )

    def features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The last feature map (B, widths[0], *S) and the probabilities (B, K, *S)."""
        last = self.network.features(image)
        return last, self.probabilities(self.network.head(last))

    def probabilities(self, logits: Tensor) -> Tensor:
        """(B, K, *S) of the foreground classes."""
        return probabilities_of(logits, len(self.traits.classes))


def _patch(shape: Sequence[int], pixels: int, divisor: int) -> tuple[int, ...]:
    """A patch of at most `pixels` in the proportions of `shape`, of multiples of the divisor where it has room."""
    scale = min(1.0, (pixels / math.prod(shape)) ** (1 / len(shape)))
    wanted = [n * scale for n in shape]
    if len(shape) == 2 and scale < 1:  # raster images are turned: a square wastes nothing
        side = min(math.sqrt(pixels), *shape)
        wanted = [side] * 2
    return tuple(max(divisor, round(n / divisor) * divisor) for n in wanted)


def _strides(patch: Sequence[int], spacing: Sequence[float], levels: int) -> list[tuple[int, ...]]:
    """Halve, at each level, the axes that have 8 pixels or more and are not twice as coarse as the finest."""
    size, mm = list(patch), list(spacing)
    strides = []
    for _ in range(levels):
        finest = min(m for m, n in zip(mm, size, strict=True) if n >= 8) if max(size) >= 8 else math.inf
        stride = tuple(2 if n >= 8 and m < 2 * finest else 1 for n, m in zip(size, mm, strict=True))
        if max(stride) == 1:
            break
        size = [n // s for n, s in zip(size, stride, strict=True)]
        mm = [m * s for m, s in zip(mm, stride, strict=True)]
        strides.append(stride)
    return strides or [(1,) * len(patch)]
