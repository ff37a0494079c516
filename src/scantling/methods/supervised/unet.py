"""The U-Net as a small, strong default that configures itself from the traits of the data."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field
from torch import Tensor

from scantling import planning
from scantling.contract.capabilities import Segmenter
from scantling.contract.method import Method
from scantling.contract.results import Segmentation
from scantling.contract.settings import Settings
from scantling.contract.stage import Game, Player, Stage
from scantling.contract.step import Inference, Step, Total
from scantling.core.case import IGNORE
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch, Preprocessing, Traits
from scantling.core.streams import Augmentation, Stream
from scantling.losses.continuity import soft_cldice_loss
from scantling.losses.overlap import batch_dice_loss, cross_entropy, dice_loss, overlap_sums, probabilities_of
from scantling.losses.skeleton_recall import skeleton_recall_loss
from scantling.methods.catalogue import CARDS
from scantling.networks.unet import UNet

WORSE: Mapping[str, Any] = {"blur": 1.5, "low_resolution": 2.0, "noise": 0.2, "jpeg": 40}
"""How much worse the patches are made that are."""

Positive = Annotated[int, Field(gt=0)]


class UNetSettings(Settings):
    """Settings of `unet`. The architecture is of the papers; widths, recipe and self-configuration are ours.

    What is None is planned from the data (`scantling.planning`), and stands resolved in the settings of a model.

    Attributes:
        steps: of training.
        batch: patches a step.
        width, widest: channels of the first level, doubled at each level below it, and the most that a level has.
        widths: channels of each level instead; a level that the patch is too small for is left out.
        strides, kernels: of the levels, along each axis.
        narrow: see `networks.unet.UNet`.
        pixels, voxels: how many a patch of a raster image and of a volume may have.
        across: pixels of local thickness that are enough where an image shows one object of a class; images that fit
            one patch are shrunk to it.
        patch: the shape of a patch.
        size: the side of the square that every raster image is resampled to, whatever its proportions.
        spacing: the working grid, in the unit of the data: mm, or pixels.
        longest: the pixels of the longest side on the working grid, for pictures of many sizes.
        normalise: see `Preprocessing`.
        norm: "instance" where a batch is too small to have a mean.
        flips: mirror the patches, along all axes or along some; None: along those that `Traits.mirrored` allows, and
            where nobody knows them, as without masks, along those of raster images.
        dice: the weight of the Dice loss beside the cross-entropy.
        dice_over: what one Dice value is of: each patch, or all patches of a step as one (nnU-Net's batch Dice); None:
            the latter where most patches lack a class. "batch" keeps all parts of a divided step in memory until it
            ends.
        cldice: the weight of the soft clDice loss (Shit et al., 2021), for vessels and other tubes; None: 0.
        iterations: of the skeletons of clDice, at least the largest radius of a tube in pixels.
        skeleton_recall: the weight of the Skeleton Recall loss (Kirchhoff et al., 2024), for the same; None: 0.
        foreground: the share of patches centred on a labelled pixel.
        dropout: on whole channels of the deepest level.
        rotation, zoom, warped, jitter, degraded: see `Augmentation`; jitter is of brightness, contrast and gamma.
    """

    steps: Positive = 20_000
    batch: Positive | None = None
    rate: Annotated[float, Field(gt=0)] = 2e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    average: Annotated[float, Field(ge=0, lt=1)] = 0.999
    width: Positive = 32
    widest: Positive = 320
    widths: Annotated[tuple[Positive, ...], Field(min_length=1)] | None = None
    strides: tuple[tuple[Positive, ...], ...] | None = None
    kernels: tuple[tuple[Literal[1, 3], ...], ...] | None = None
    narrow: bool = False
    pixels: Positive = 256 * 256
    voxels: Positive = 96 * 96 * 96
    across: Annotated[float, Field(gt=0)] | None = None
    patch: tuple[Positive, ...] | None = None
    size: Positive | None = None
    spacing: tuple[Annotated[float, Field(gt=0)], ...] | None = None
    longest: Positive | None = None
    normalise: Literal["image", "dataset", "foreground", "unit", "none"] | None = None
    norm: Literal["batch", "instance"] = "batch"
    dice: Annotated[float, Field(ge=0)] = 0.5
    dice_over: Literal["sample", "batch"] | None = None
    cldice: Annotated[float, Field(ge=0)] | None = None
    iterations: Positive = 10
    skeleton_recall: Annotated[float, Field(ge=0)] | None = None
    foreground: Annotated[float, Field(ge=0, le=1)] = 0.33
    flips: bool | tuple[bool, ...] | None = None
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    rotation: Annotated[float, Field(ge=0)] | None = None
    zoom: Annotated[float, Field(ge=0)] | None = None
    warped: Annotated[float, Field(ge=0, le=1)] | None = None
    jitter: Annotated[float, Field(ge=0)] | None = None
    degraded: Annotated[float, Field(ge=0, le=1)] | None = None

    architecture: ClassVar[tuple[str, ...]] = ("widths", "narrow", "norm")
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "steps": 2000,
            "width": 8,
            "widest": 128,
            "narrow": True,
            "pixels": 128 * 128,
            "across": 12.0,
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
            "dice_over": "sample",
            "dropout": 0.0,
            "rotation": 30.0,
            "zoom": 0.2,
            "warped": 0.3,
            "jitter": 0.2,
            "degraded": 0.0,
        },
    }

    def resolve(self, traits: Traits) -> Self:
        """Plan what is None from the traits."""
        if traits.labels is None:
            raise SettingsError("masks are needed to know the classes; the training data have none")
        for name in ("patch", "spacing", "flips"):
            given = getattr(self, name)
            if isinstance(given, tuple) and len(given) != traits.dimensions:
                raise SettingsError(
                    f"--settings.{name}: found {len(given)} numbers, expected one for each of the "
                    f"{traits.dimensions} axes of the images"
                )
        volumes = traits.dimensions == 3
        if self.size is not None and volumes:
            raise SettingsError("--settings.size is for raster images; volumes have --settings.spacing")
        if sum(each is not None for each in (self.size, self.spacing, self.longest)) > 1:
            raise SettingsError("--settings.size, spacing and longest: expected at most one of them")
        pixels = self.voxels if volumes else self.pixels
        grid = self._grid(traits)
        spacing, longest = self.spacing, self.longest
        planned_grid = spacing is None and longest is None and self.size is None
        if planned_grid and (volumes or grid.shrink > 1):
            if planning.relative(traits):
                longest = max(grid.shape)
            else:
                spacing = grid.spacing
        batch = 2 if volumes else 8
        wide = grid.thick * planning.ACROSS[traits.dimensions] > 2 * pixels ** (1 / traits.dimensions)
        if planned_grid and self.patch is None and wide and not grid.whole:
            pixels, batch = 2 * pixels, batch // 2  # thin beside thick: the finer grid, and the larger patch
        patch = self.patch or planning.patch_of(grid.shape, pixels)
        most = None if self.widths is None else len(self.widths) - 1
        planned, kernels = planning.levels_of(patch, grid.spacing, most=most)
        strides = self.strides or tuple(planned)
        widths = self.widths or tuple(min(self.width * 2**level, self.widest) for level in range(len(strides) + 1))
        self._check_levels(len(widths[: len(strides) + 1]), traits.dimensions)
        scarce = planning.scarce(traits, grid, patch)
        ct = any(name.lower() == "ct" for name in traits.channels) or any(i.low < -500 for i in traits.intensity)
        quantitative = "foreground" if traits.foreground_intensity else "dataset"
        decided: dict[str, Any] = {
            "spacing": spacing,
            "longest": longest,
            "patch": patch,
            "widths": widths[: len(strides) + 1],
            "strides": strides,
            "kernels": self.kernels or (tuple(kernels) if volumes and self.strides is None else None),
            "batch": self.batch or batch,
            "normalise": self.normalise or (quantitative if ct else "image"),
            "flips": _flips(traits) if self.flips is None else self.flips,
            "dice_over": self.dice_over or ("batch" if planning.rare(traits, grid, patch) else "sample"),
        }
        strong = scarce and not volumes
        decided |= {
            name: value if getattr(self, name) is None else getattr(self, name)
            for name, value in {
                "dropout": 0.2 if strong else 0.0,
                "rotation": 180.0 if strong else 30.0,
                "zoom": 1.0 if traits.unit != "mm" else 0.4 if strong else 0.2,
                "warped": 0.7 if strong else 0.3,
                "jitter": 0.4 if strong else 0.2,
                "degraded": 0.2,
            }.items()
        }
        return self.model_copy(update=decided)

    def _check_levels(self, levels: int, axes: int) -> None:
        """Make sure that strides and kernels that are given are of as many levels and axes as there are."""
        for name, given, below in (("strides", self.strides, 0), ("kernels", self.kernels, 1)):
            expected = max(1, levels - 1) + below  # the plan gives a network of one level a stride of 1
            if given is not None and (len(given) != expected or any(len(each) != axes for each in given)):
                raise SettingsError(
                    f"--settings.{name}: found {[list(each) for each in given]}, expected {expected} times {axes} "
                    f"numbers: there are {levels} levels and {axes} axes"
                    + (", and all levels but the first have strides" if name == "strides" else "")
                )

    def _grid(self, traits: Traits) -> planning.Grid:
        """The grid as it is given, or planned."""
        pixels = self.voxels if traits.dimensions == 3 else self.pixels
        if self.size is not None:
            return planning.Grid(spacing=(1.0, 1.0), shape=(self.size,) * 2)
        given = self.spacing
        if self.longest is not None:
            given = tuple(mm * max(traits.shape) / self.longest for mm in traits.spacing)
        return planning.Grid.of(traits, pixels, spacing=given, across=self.across)

    def explain(self, traits: Traits) -> tuple[str, ...]:
        """How small images are seen and why, and how thick the objects are."""
        if self.size is not None:
            return (f"images resampled to {self.size} x {self.size}, whatever their proportions",)
        grid, patch = self._grid(traits), self.patch or traits.shape
        rare = planning.rare(traits, grid, patch) if self.dice_over == "batch" else ()
        told = f"most patches lack {' and '.join(rare)}: Dice is over all patches of a step"
        return (*planning.sentences(traits, grid, patch), *([told] if rare else []))


class UNetSegmenter(Segmenter):
    """U-Net trained with cross-entropy and Dice on patches; answers with the mean over the views of its training.

    The last layer has one channel for each class, or one more for the background where several classes exclude
    each other.
    """

    card = CARDS["unet"]
    Settings = UNetSettings
    settings: UNetSettings
    views_by_default = True  # as nnU-Net does (Isensee et al., 2021), where validation does not say that they hurt

    def __init__(self, settings: UNetSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None) -> None:
        super().__init__(settings, traits, uses=uses)
        classes = len(traits.classes)
        exclusive = traits.labels is not None and traits.labels.exclusive
        patch, widths = settings.patch or traits.shape, settings.widths or (settings.width,)
        strides: Sequence[Sequence[int]] = (
            settings.strides or planning.levels_of(patch, settings.spacing or traits.spacing, most=len(widths) - 1)[0]
        )  # models of earlier versions do not say
        self.network = UNet(
            len(traits.channels),
            classes + 1 if exclusive and classes > 1 else classes,
            widths=widths[: len(strides) + 1],
            strides=strides,
            kernels=settings.kernels,
            norm=settings.norm,
            dropout=settings.dropout or 0.0,
            narrow=settings.narrow,
        )

    @property
    def preprocessing(self) -> Preprocessing:
        """Volumes on one grid, each image in units of its own deviation (or the data set's)."""
        return Preprocessing(
            dimensions=self.traits.dimensions,
            normalise=self.settings.normalise or "image",
            spacing=self.settings.spacing,
            size=None if self.settings.size is None else (self.settings.size,) * 2,
            longest=self.settings.longest,
        )

    def stages(self) -> Sequence[Stage]:
        """One stage, one player."""
        of = self.settings
        player = Player(
            name="unet", modules=(self.network,), rate=of.rate, optimiser="adamw", weight_decay=of.weight_decay,
            schedule="one-cycle", clip=1.0, average=of.average,
        )  # fmt: skip
        stream = Stream(
            name="labelled",
            batch=of.batch or 1,
            patch=of.patch,
            foreground=of.foreground,
            augment=Augmentation(
                flips=of.flips or False,
                ignore_sides=_more(of.flips or False, self.traits.mirrored),
                turns=self.traits.dimensions == 2,
                rotation=of.rotation or 0.0,
                zoom=of.zoom or 0.0,
                warped=of.warped or 0.0,
                brightness=of.jitter or 0.0,
                contrast=of.jitter or 0.0,
                gamma=of.jitter or 0.0,
                degraded=of.degraded or 0.0,
                **(WORSE if of.degraded else {}),
                spacing=of.spacing,
            ),
        )
        return (Stage(name="train", players=(player,), streams=(stream,), steps=of.steps, objectives=self.objectives),)

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """One move of the only player."""
        image, mask = batch["labelled"].image, batch["labelled"].mask
        yield "unet", (yield from self.loss_terms(self.network(image), mask, step))

    def loss_terms(self, logits: Tensor, mask: Tensor, step: Step) -> Generator[Total, Tensor, dict[str, Tensor]]:
        """Cross-entropy, and the terms that have a weight: Dice, soft clDice, Skeleton Recall.

        Takes logits (B, K or K + 1, *S) and what `Batch.mask` holds, (B, 1 or K, *S).
        """
        of = self.settings
        found = self.probabilities(logits)  # (B, K, *S)
        terms = {"cross_entropy": cross_entropy(logits, mask, ignore_index=IGNORE)}
        if of.dice and of.dice_over == "batch":
            sums = overlap_sums(found, mask, ignore_index=IGNORE).sum(1)  # (3, K)
            terms["overlap"] = of.dice * batch_dice_loss(sums, total=(yield Total(sums)), parts=step.slots)
        elif of.dice:
            terms["overlap"] = of.dice * dice_loss(found, mask, ignore_index=IGNORE)
        if of.cldice:
            whole = soft_cldice_loss(found, mask, iterations=of.iterations, ignore_index=IGNORE)
            terms["continuity"] = of.cldice * whole
        if of.skeleton_recall:
            terms["skeleton_recall"] = of.skeleton_recall * skeleton_recall_loss(found, mask, ignore_index=IGNORE)
        return terms

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


def _flips(traits: Traits) -> bool | tuple[bool, ...]:
    """The axes that are mirrored by default; all or none of them as one answer."""
    free = traits.mirrored or (traits.dimensions == 2,)
    return free if any(free) and not all(free) else any(free)


def _more(flips: bool | tuple[bool, ...], free: Sequence[bool]) -> bool:
    """Whether the user has asked for mirroring along axes that are not free."""
    flipped = (flips,) * len(free) if isinstance(flips, bool) else flips
    return any(flip and not may for flip, may in zip(flipped, free, strict=False))
