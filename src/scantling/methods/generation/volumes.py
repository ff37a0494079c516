"""What those that make whole volumes share: the grid, image and mask as channels of one, and the way back."""

from __future__ import annotations

import math
from typing import Annotated, Self

import torch
from pydantic import Field
from torch import Tensor

from scantling.contract.method import Method
from scantling.contract.results import Generation
from scantling.contract.settings import Settings
from scantling.core.errors import SettingsError
from scantling.core.fields import IGNORE
from scantling.core.samples import Batch, Preprocessing, Traits

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
RANGE = (-1.0, 1.0)
PUBLISHED = (256, 256), 32
"""The plane and the depth of the largest volumes of Khader et al. (2023)."""
BLADDER = (512, 512), 24
"""The same of the bladder study, whose slice rule `slice_rule` is."""


class VolumeSettings(Settings):
    """The grid on which volumes are made.

    Attributes:
        steps: of training, in all stages together.
        batch: volumes a step.
        plane: pixels of a slice; None: as `voxels` says, or as published.
        depth: slices; None: the same.
        voxels: the median volume is shrunk to about so many, where plane or depth is None; None: as published.
        slice_rule: bring volumes to `depth` by repeating the last slice or deleting some, not by resampling
            (`data.slice_rule`); 24 unless `depth` is given.
        with_masks: learn and make masks beside the images, as channels of their own; only labelled cases are read.
    """

    steps: Positive = 100_000
    batch: Positive = 2
    plane: tuple[Positive, Positive] | None = None
    depth: Positive | None = None
    voxels: Positive | None = None
    slice_rule: bool = False
    with_masks: bool = False

    @property
    def divisor(self) -> tuple[int, int, int]:
        """What depth and plane have to be multiples of."""
        return (1, 1, 1)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Depth, height and width, once resolved."""
        if self.plane is None or self.depth is None:
            raise SettingsError("--settings.plane, --settings.depth: are not decided yet; resolve the settings first")
        return (self.depth, *self.plane)

    def resolve(self, traits: Traits) -> Self:
        """Decide the grid.

        Raises:
            SettingsError: the data are no volumes, there are no masks to learn, or the grid does not fit the networks.
        """
        if traits.dimensions != 3:
            raise SettingsError("the data are pictures; this method makes volumes of three axes from such")
        if self.with_masks and not traits.classes:
            raise SettingsError("--settings.with_masks: found no classes; the data need masks")
        chosen = self.model_copy(update=self._grid(traits))
        shape, names = chosen.shape, ("depth", "plane", "plane")
        for name, side, divisor in zip(names, shape, self.divisor, strict=True):
            if side % divisor:
                raise SettingsError(
                    f"--settings.{name}: found {side}; expected a multiple of {divisor}, by which networks divide it"
                )
        return chosen

    def _grid(self, traits: Traits) -> dict[str, object]:
        depth, *plane = ordered(traits.shape, traits.slice_axis)
        if self.voxels is None:
            (height, width), depth = BLADDER if self.slice_rule else PUBLISHED
            plane = [height, width]
        else:
            if self.slice_rule:
                depth = self.depth or BLADDER[1]
            factor = min(1.0, (self.voxels / math.prod((depth, *plane))) ** (1 / (2 if self.slice_rule else 3)))
            sides = [max(d, round(n * factor / d) * d) for n, d in zip(plane, self.divisor[1:], strict=True)]
            each = self.divisor[0]
            plane, depth = sides, depth if self.slice_rule else max(each, round(depth * factor / each) * each)
        return {"plane": self.plane or (plane[0], plane[1]), "depth": self.depth or depth}

    def explain(self, traits: Traits) -> tuple[str, ...]:
        """On which grid, and from how many volumes."""
        number = traits.labelled if self.with_masks else traits.labelled + traits.unlabelled
        depth, height, width = self.shape
        rule = "slices repeated or deleted to" if self.slice_rule else "resampled to"
        masks = " and their masks" if self.with_masks else "; no label is read"
        return (f"learns {number} volumes{masks}, {rule} {depth} slices of {height} x {width}",)


class OnVolumes(Method):
    """A method that sees volumes with the slice axis first, and masks as channels beside those of the image."""

    settings: VolumeSettings

    @property
    def preprocessing(self) -> Preprocessing:
        """Volumes of one size, each channel in [-1, 1] by its own range."""
        depth, *plane = self.settings.shape
        size = restored((depth, *plane), self.traits.slice_axis)
        kept = self.traits.slice_axis if self.settings.slice_rule else None
        return Preprocessing(dimensions=3, normalise="unit", size=size, slice_rule=kept)

    @property
    def reads(self) -> tuple[str, ...]:
        """The fields that a volume is made of."""
        return ("image", "mask") if self.settings.with_masks else ("image",)

    @property
    def width(self) -> int:
        """Channels of a volume: those of the image, and one for each class where masks are learned."""
        return len(self.traits.channels) + (len(self.traits.classes) if self.settings.with_masks else 0)

    def volume(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(B, width, D, H, W) in [-1, 1], and where it is known, (B, width, D, H, W) bool; 0 where it is not."""
        image = batch.image.movedim(2 + self.traits.slice_axis, 2)
        known = torch.ones_like(image, dtype=torch.bool)
        if not self.settings.with_masks:
            return image, known
        classes = len(self.traits.classes)
        if "mask" not in batch.fields:
            unknown = image.new_zeros((len(image), classes, *image.shape[2:]))
            return torch.cat([image, unknown], 1), torch.cat([known, unknown.bool()], 1)
        mask = batch.mask.movedim(2 + self.traits.slice_axis, 2)
        if mask.shape[1] != classes or self.exclusive:  # class numbers
            numbers = torch.arange(1, classes + 1, device=mask.device).view(1, -1, 1, 1, 1)
            there, drawn = mask == numbers, (mask != IGNORE).expand(-1, classes, -1, -1, -1)
        else:
            there, drawn = mask == 1, mask != IGNORE
        channels = (2 * there.to(image.dtype) - 1) * drawn
        return torch.cat([image, channels], 1), torch.cat([known, drawn], 1)

    @property
    def exclusive(self) -> bool:
        """Whether classes exclude each other."""
        return self.traits.labels is None or self.traits.labels.exclusive

    def generation(self, volume: Tensor, kinds: Tensor | None = None) -> Generation:
        """What has been made, of volumes (B, width, D, H, W) and the numbers (B,) of their image classes."""
        volume = volume.movedim(2, 2 + self.traits.slice_axis)
        images, masks = volume.split([len(self.traits.channels), volume.shape[1] - len(self.traits.channels)], 1)
        probabilities = None
        if self.settings.with_masks:
            probabilities = ((masks.float() + 1) / 2).clamp(0, 1)
            if self.exclusive:
                probabilities = probabilities / probabilities.sum(1, keepdim=True).clamp(min=1)
        return Generation(images=images, masks=probabilities, normalised=True, image_classes=kinds)


def ordered(sides: tuple[int, ...], axis: int) -> tuple[int, ...]:
    """Three sides with that of the slice axis first."""
    return (sides[axis], *sides[:axis], *sides[axis + 1 :])


def restored(sides: tuple[int, ...], axis: int) -> tuple[int, ...]:
    """The inverse of `ordered`."""
    return (*sides[1 : axis + 1], sides[0], *sides[axis + 1 :])


def shown(volume: Tensor) -> Tensor:
    """(3, H, W) in [0, 1]: the middle slice of the first channel of each volume (B, C, D, H, W), side by side."""
    slices = volume[:, 0, volume.shape[2] // 2].float()  # (B, H, W)
    return ((torch.cat([*slices], 1) + 1) / 2).clamp(0, 1).expand(3, -1, -1)


def beyond(volume: Tensor, *, slack: float = 0.05) -> float:
    """The share of voxels outside [-1, 1] by more than `slack`: the white dots that VQ-GANs are known for."""
    return float((volume.float().abs() > 1 + slack).float().mean())
