"""The settings of the U-Net, planned from the traits of the data where they are None."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from scantling import planning
from scantling.contract.settings import Names, Settings
from scantling.core.errors import SettingsError
from scantling.core.samples import Traits
from scantling.methods.features.factories import name_factory

Positive = Annotated[int, Field(gt=0)]


class UNetSettings(Settings):
    """Settings of `unet`. The architecture is of the papers; widths, recipe and self-configuration are ours.

    What is None is planned from the data (`scantling.planning`), and stands resolved in the settings of a model.

    Attributes:
        steps: of training.
        dimensions: 2 reads volumes as slices, as nnU-Net's 2-D configuration does; None: as the data are.
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
        encoder: MODULE:FACTORY, what makes a network of yours, such as one trained on ImageNet, that is the encoder
            and learns with the rest; 2-D alone, on colour or grey images.
        layers: the modules of it whose maps are read, by name, from fine to coarse.
        skeleton_recall: the weight of the Skeleton Recall loss (Kirchhoff et al., 2024), for the same; None: 0.
        foreground: the share of patches centred on a labelled pixel.
        first_answer: what a new network answers everywhere: "shares" of pixels that the classes have in the training
            data, or what its random weights give ("even").
        dropout: on whole channels of the deepest level.
        rotation, zoom, warped, jitter, degraded: see `Augmentation`; jitter is of brightness, contrast and gamma.
    """

    steps: Positive = 20_000
    dimensions: Literal[2, 3] | None = None
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
    first_answer: Literal["shares", "even"] = "shares"
    encoder: str | None = None
    layers: Names = ()
    flips: bool | tuple[bool, ...] | None = None
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    rotation: Annotated[float, Field(ge=0)] | None = None
    zoom: Annotated[float, Field(ge=0)] | None = None
    warped: Annotated[float, Field(ge=0, le=1)] | None = None
    jitter: Annotated[float, Field(ge=0)] | None = None
    degraded: Annotated[float, Field(ge=0, le=1)] | None = None

    reads_masks: ClassVar[bool] = True
    """Whether the method learns from masks, without which it cannot know its classes."""
    architecture: ClassVar[tuple[str, ...]] = ("dimensions", "widths", "narrow", "norm", "encoder", "layers")
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
            "first_answer": "even",
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
        if traits.labels is None and self.reads_masks:
            raise SettingsError("masks are needed to know the classes; the training data have none")
        if self.dimensions == 3 and traits.dimensions == 2:
            raise SettingsError("--settings.dimensions 3: expected volumes, found pictures; leave it out")
        traits = self.seen(traits)
        if self.encoder is not None:
            name_factory(self.encoder, flag="--settings.encoder")
            if traits.dimensions == 3:
                raise SettingsError(
                    f"--settings.encoder {self.encoder}: sees images in 2-D; add --settings.dimensions 2, or leave it"
                )
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

    def seen(self, traits: Traits) -> Traits:
        """The traits of what the network sees: of slices where volumes are read as such."""
        return traits.slices() if self.dimensions == 2 else traits

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
        traits = self.seen(traits)
        grid, patch = self._grid(traits), self.patch or traits.shape
        rare = planning.rare(traits, grid, patch) if self.dice_over == "batch" else ()
        told = f"most patches lack {' and '.join(rare)}: Dice is over all patches of a step"
        return (*planning.sentences(traits, grid, patch), *([told] if rare else []))


def _flips(traits: Traits) -> bool | tuple[bool, ...]:
    """The axes that are mirrored by default; all or none of them as one answer."""
    free = traits.mirrored or (traits.dimensions == 2,)
    return free if any(free) and not all(free) else any(free)
