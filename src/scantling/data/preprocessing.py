"""From a sample to what a method takes, and back: the grid and the values of an `Preprocessing`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from scantling.core.case import Sample
from scantling.core.samples import Preprocessing, Traits

CONSTANT = 1e-12
"""A channel is constant if its deviation is not above this share of its greatest value: more than float64 rounds."""
SAFE = (1e-30, 1e30)
"""Between these, differences and quotients are formed in float32; beyond, they would under- or overflow."""
LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


@dataclass(frozen=True)
class Preprocessed:
    """One sample on the method's grid and in its units; of a volume read as slices, `slices` axis first.

    Attributes:
        image: (C, *S) float32.
        fields: every other array that was read, by its name in `Batch`: (channels, *S).
        masks: one (1 or K, *S) uint8 for each annotator.
    """

    image: Tensor | None
    fields: Mapping[str, Tensor]
    masks: tuple[Tensor, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The spatial shape."""
        first = self.image if self.image is not None else (self.masks or tuple(self.fields.values()))[0]
        return tuple(first.shape[1:])

    @property
    def nbytes(self) -> int:
        """Memory that the arrays hold."""
        arrays = [*self.fields.values(), *self.masks, *([self.image] if self.image is not None else [])]
        return sum(array.nbytes for array in arrays)


def preprocess(sample: Sample, recipe: Preprocessing, traits: Traits) -> Preprocessed:
    """Bring a sample to the grid and the units of `recipe`.

    A volume for a method in 2-D gets its slice axis (the traits') moved to the front of the spatial axes.
    """
    region = sample.region
    slicing = recipe.dimensions == 2 and len(sample.geometry.shape) == 3
    axis = traits.slice_axis

    def bring(array: np.ndarray, *, linear: bool) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(np.moveaxis(array, 1 + axis, 1) if slicing else array))
        return resample(tensor, grid_of(sample, recipe, traits), linear=linear, smooth=recipe.size is not None)

    image = None
    if sample.image.size:
        image = bring(normalise(sample.image, region, recipe, traits), linear=True)
    fields: dict[str, Tensor] = {}
    if region is not None:
        fields["region"] = bring(region[None].astype(np.uint8), linear=False).bool()
    if sample.scribbles is not None:
        fields["scribbles"] = bring(sample.scribbles, linear=False)
    if sample.instances is not None:
        fields["instances"] = bring(sample.instances[None], linear=False)
    return Preprocessed(image, fields, tuple(bring(mask, linear=False) for mask in sample.masks))


def grid_of(sample: Sample, recipe: Preprocessing, traits: Traits) -> tuple[int, ...]:
    """The shape of a sample on the grid of `recipe`, the slice axis first where a volume is read as slices."""
    shape, spacing = list(sample.geometry.shape), list(sample.geometry.spacing)
    if recipe.dimensions == 2 and len(shape) == 3:
        shape.insert(0, shape.pop(traits.slice_axis))
        spacing.insert(0, spacing.pop(traits.slice_axis))
    if recipe.size is not None:
        return (*shape[: len(shape) - len(recipe.size)], *recipe.size)
    if recipe.spacing is None:
        return tuple(shape)
    targets = list(recipe.spacing)
    while len(targets) < len(shape):
        targets.insert(0, spacing[0])
    return tuple(max(1, round(n * mm / target)) for n, mm, target in zip(shape, spacing, targets, strict=True))


def restore_grid(
    answer: Tensor, sample: Sample, recipe: Preprocessing, traits: Traits, *, linear: bool = True
) -> Tensor:
    """The way back: (K, *grid) values to (K, *S) on the sample's own grid."""
    shape = list(sample.geometry.shape)
    slicing = recipe.dimensions == 2 and len(shape) == 3
    if slicing:
        shape.insert(0, shape.pop(traits.slice_axis))
    answer = resample(answer, tuple(shape), linear=linear)
    return answer.movedim(1, 1 + traits.slice_axis) if slicing else answer


def resample(array: Tensor, shape: tuple[int, ...], *, linear: bool, smooth: bool = False) -> Tensor:
    """(C, *S) to (C, *shape): linear between the centres of pixels, or the nearest value.

    Args:
        smooth: what a plane loses in pixels is averaged, not skipped.
    """
    if tuple(array.shape[1:]) == shape:
        return array
    if linear:
        mode, smooth = LINEAR[len(shape)], smooth and len(shape) == 2
        return F.interpolate(array[None].float(), shape, mode=mode, align_corners=False, antialias=smooth)[0]
    exact = F.interpolate(array[None].double(), shape, mode="nearest-exact")[0]
    return exact.to(array.dtype)


def normalise(image: np.ndarray, region: np.ndarray | None, recipe: Preprocessing, traits: Traits) -> np.ndarray:
    """(C, *S) in the units of `recipe`, float32, whatever the units of the image; a constant channel becomes zero."""
    if recipe.normalise == "none":
        return image.astype(np.float32)
    out = np.empty(image.shape, np.float32)
    for channel, values in enumerate(image):
        inside = values[region] if region is not None and region.any() else values
        most = float(np.abs(inside).max())
        if recipe.normalise == "dataset":
            facts = traits.intensity[channel]
            values = values.clip(facts.low, facts.high)
            middle, scale = facts.mean, facts.std
            most = max(abs(facts.minimum), abs(facts.maximum))
        elif recipe.normalise == "unit":
            low, high = float(inside.min()), float(inside.max())
            middle, scale = (low + high) / 2, (high - low) / 2
            values = values.clip(low, high)
        else:
            middle, scale = float(inside.mean(dtype=np.float64)), float(inside.std(dtype=np.float64))
        if scale <= CONSTANT * most:
            out[channel] = 0.0
        else:
            wide = values if SAFE[0] < scale and most < SAFE[1] else values.astype(np.float64)
            out[channel] = (wide - middle) / scale
    return out
