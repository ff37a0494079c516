"""From a sample to what a method takes, and back: the grid and the values of an `Preprocessing`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from scantling.core.case import Sample
from scantling.core.fields import FIELDS, LINEARLY, Kind
from scantling.core.pieces import slabs
from scantling.core.samples import Intensity, Preprocessing, Traits
from scantling.data.drawn_objects import separate
from scantling.data.interpolation import interpolate, most_drawn, most_frequent, resample
from scantling.data.moments import mean_and_deviation
from scantling.data.slice_rule import by_slice_rule, counts_from_the_end, nearest_kept

CONSTANT = 1e-12
"""A channel is constant if its deviation is not above this share of its greatest value: more than float64 rounds."""
SAFE = (1e-30, 1e30)
"""Between these, differences and quotients are formed in float32; beyond, they would under- or overflow."""


@dataclass(frozen=True)
class Preprocessed:
    """One sample on the method's grid and in its units; of a volume read as slices, `slices` axis first.

    Attributes:
        image: (C, *S) float32.
        fields: every other array that was read, by its name in `Batch`: (channels, *S).
        masks: one (1 or K, *S) uint8 for each annotator.
        coordinates: boxes (N, D, 2) and points (N, D) by field; of a volume read as slices D is 3.
        classes: (N,) int64 of them, from 0.
        channels: (C,) bool, which channels of the image the case has; None: all.
        known: (K,) bool, which classes the first mask knows; None: all.
    """

    image: Tensor | None
    fields: Mapping[str, Tensor]
    masks: tuple[Tensor, ...]
    coordinates: Mapping[str, Tensor] = field(default_factory=dict)
    classes: Mapping[str, Tensor] = field(default_factory=dict)
    channels: Tensor | None = None
    known: Tensor | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The spatial shape."""
        first = self.image if self.image is not None else (self.masks or tuple(self.fields.values()))[0]
        return tuple(first.shape[1:])

    @property
    def label_map(self) -> Tensor | None:
        """What tells the classes of its pixels: the first mask, else the scribbles, (1 or K, *S) uint8."""
        return self.masks[0] if self.masks else self.fields.get("scribbles")

    @property
    def nbytes(self) -> int:
        """Memory that the arrays hold."""
        arrays = [*self.fields.values(), *self.masks, *([self.image] if self.image is not None else [])]
        return sum(array.nbytes for array in arrays)

    def slice(self, part: int | None) -> Preprocessed:
        """Slice number `part` of a volume that is read as slices; all of it for None."""
        if part is None:
            return self
        coordinates, classes = {}, {}
        for name, rows in self.coordinates.items():
            along = rows[:, 0]
            if FIELDS[name].kind == "boxes":
                within = (along[:, 0] < part + 1) & (along[:, 1] > part)
            else:
                within = (along + 0.5).floor() == part
            coordinates[name], classes[name] = rows[within, 1:], self.classes[name][within]
        return replace(
            self,
            image=None if self.image is None else self.image[:, part],
            fields={name: array[:, part] for name, array in self.fields.items()},
            masks=tuple(mask[:, part] for mask in self.masks),
            coordinates=coordinates,
            classes=classes,
        )


def preprocess(
    sample: Sample, recipe: Preprocessing, traits: Traits, *, units: Sequence[Units] | None = None
) -> Preprocessed:
    """Bring a sample to the grid and the units of `recipe`.

    A volume for a method in 2-D gets its slice axis (the traits') moved to the front of the spatial axes.

    Args:
        units: of each channel, where the sample is a part of an image; None: from its own values.
    """
    if recipe.slice_rule is not None and recipe.size is not None:
        sample = by_slice_rule(sample, recipe.slice_rule, recipe.size[recipe.slice_rule])
    shape, grid = sample.geometry.shape, grid_of(sample, recipe, traits)
    slicing = recipe.dimensions == 2 and len(shape) == 3
    axis = traits.slice_axis

    def bring(array: np.ndarray, name: str) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(np.moveaxis(array, 1 + axis, 1) if slicing else array))
        if name == "mask":
            return most_frequent(tensor, grid, slices=slicing)
        if name == "scribbles":
            return most_drawn(tensor, grid, slices=slicing)
        return resample(tensor, grid, linear=False, slices=slicing)

    image = None
    if sample.image.size:
        units = units_of(sample.image, sample.region, recipe, traits) if units is None else units
        image = torch.zeros((len(sample.image), *grid))
        for number, unit in enumerate(units):  # one by one, for the sake of memory
            if sample.channels is not None and not sample.channels[number]:
                continue
            values = np.moveaxis(sample.image[number], axis, 0) if slicing else sample.image[number]
            if values.shape == grid:
                for slab in slabs(grid):
                    image[number, slab] = torch.from_numpy(unit(values[slab]))
            else:
                read = partial(_in_units, values, unit)
                image[number] = interpolate(read, values.shape, grid, slices=slicing)[0]
    fields: dict[str, Tensor] = {}
    if sample.region is not None:
        fields["region"] = bring(sample.region[None].astype(np.uint8), "region").bool()
    if sample.scribbles is not None:
        fields["scribbles"] = bring(sample.scribbles, "scribbles")
    if sample.instances is not None:
        fields["instances"] = bring(separate(sample.instances)[None], "instances")
    order = [axis, *(other for other in range(len(shape)) if other != axis)] if slicing else [*range(len(shape))]
    coordinates = {
        name: rescale(torch.from_numpy(rows)[:, order].float(), FIELDS[name].kind, [shape[a] for a in order], grid)
        for name, rows in (("boxes", sample.boxes), ("points", sample.points))
        if rows is not None
    }
    return Preprocessed(
        image,
        fields,
        tuple(bring(mask, "mask") for mask in sample.masks),
        coordinates,
        {name: torch.from_numpy(numbers) for name, numbers in sample.classes.items()},
        None if sample.channels is None else torch.from_numpy(sample.channels),
        None if sample.known is None else torch.from_numpy(sample.known),
    )


def _in_units(values: np.ndarray, unit: Units, part: slice) -> Tensor:
    """(1, n, *rest), some of a channel (*S) in its units."""
    return torch.from_numpy(np.ascontiguousarray(unit(values[part])))[None]


def grid_of(sample: Sample, recipe: Preprocessing, traits: Traits) -> tuple[int, ...]:
    """The shape of a sample on the grid of `recipe`, the slice axis first where a volume is read as slices.

    A sample whose spacing is in another unit than the traits' is taken to have theirs. A picture of another `scale` is
    brought to that of the training images, unless all images come to one size.
    """
    shape = list(sample.geometry.shape)
    spacing = list(sample.geometry.spacing if traits.unit in (None, sample.geometry.unit) else traits.spacing)
    if recipe.dimensions == 2 and len(shape) == 3:
        shape.insert(0, shape.pop(traits.slice_axis))
        spacing.insert(0, spacing.pop(traits.slice_axis))
    if sample.scale != 1 and recipe.size is None and recipe.longest is None:
        pixel = [mm / sample.scale for mm in spacing]
        return recipe.model_copy(update={"spacing": recipe.spacing or tuple(spacing)}).grid(shape, pixel)
    return recipe.grid(shape, spacing)


def restore_grid(
    answer: Tensor, sample: Sample, recipe: Preprocessing, traits: Traits, *, kind: Kind = "probabilities"
) -> Tensor:
    """The way back of an answer of a kind (`core.fields`): arrays (K, *grid), boxes or points, to the sample's grid.

    Boxes and points of a volume read as slices have the slice axis first, as the grid has, and so have displacements.
    """
    shape, grid = list(sample.geometry.shape), grid_of(sample, recipe, traits)
    slicing = recipe.dimensions == 2 and len(shape) == 3
    if recipe.slice_rule is not None and recipe.size is not None:
        axis, there = recipe.slice_rule, shape[recipe.slice_rule]
        shape[axis] = recipe.size[axis]
        inner = replace(sample.geometry, shape=tuple(shape))
        whole = recipe.model_copy(update={"slice_rule": None})
        answer = restore_grid(answer, replace(sample, geometry=inner), whole, traits, kind=kind)
        turned = counts_from_the_end(sample.geometry, axis)
        nearest = torch.from_numpy(nearest_kept(there, shape[axis], from_the_end=turned))
        return answer.index_select(1 + axis, nearest.to(answer.device))
    order = list(range(len(shape)))
    if slicing:
        order.insert(0, order.pop(traits.slice_axis))
    ordered, back = [shape[axis] for axis in order], [order.index(axis) for axis in range(len(shape))]
    if kind in ("boxes", "points"):
        return rescale(answer, kind, grid, ordered)[:, back]
    answer = resample(answer, tuple(ordered), linear=kind in LINEARLY, slices=slicing)
    if kind == "displacement":
        answer = answer * answer.new_tensor([n / g for n, g in zip(ordered, grid, strict=True)][-len(answer) :]).view(
            -1, *[1] * len(shape)
        )
        answer = answer[back] if len(answer) == len(shape) else answer
    return answer.movedim(1, 1 + traits.slice_axis) if slicing else answer


def rescale(coordinates: Tensor, kind: Kind, before: Sequence[int], after: Sequence[int]) -> Tensor:
    """Boxes (N, D, 2) or points (N, D) of an image of the shape `before` in one of the shape `after`."""
    scale = coordinates.new_tensor([new / old for old, new in zip(before, after, strict=True)])
    return coordinates * scale[:, None] if kind == "boxes" else (coordinates + 0.5) * scale - 0.5


@dataclass(frozen=True)
class Units:
    """How a channel comes into the units of a recipe: clipped to [low, high], less the middle, over the scale.

    Attributes:
        scale: 0 of a constant channel, which becomes 0.
        wide: calculate in float64.
    """

    middle: float = 0.0
    scale: float = 1.0
    low: float = -math.inf
    high: float = math.inf
    wide: bool = False

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """(*S) in these units, float32."""
        values = values.astype(np.float32)
        if self.scale == 0:
            return np.zeros_like(values)
        if (self.low, self.high) != (-math.inf, math.inf):
            np.clip(values, self.low, self.high, out=values)
        if self.wide:
            return ((values.astype(np.float64) - self.middle) / self.scale).astype(np.float32)
        if (self.middle, self.scale) != (0.0, 1.0):
            values -= self.middle
            values /= self.scale
        return values


def units_of(image: np.ndarray, region: np.ndarray | None, recipe: Preprocessing, traits: Traits) -> tuple[Units, ...]:
    """The units of each channel of (C, *S), measured in the region where there is one."""
    if recipe.normalise == "none":
        return (Units(),) * len(image)
    found = []
    for channel, values in enumerate(image):
        inside = values[region] if region is not None and region.any() else values
        least, greatest = float(inside.min()), float(inside.max())
        low, high, most = -math.inf, math.inf, max(abs(least), abs(greatest))
        if recipe.normalise in ("dataset", "foreground"):
            facts = intensities_of(recipe, traits)[channel]
            low, high, middle, scale = facts.low, facts.high, facts.mean, facts.std
            most = max(abs(facts.minimum), abs(facts.maximum))
        elif recipe.normalise == "unit":
            low, high = least, greatest
            middle, scale = (low + high) / 2, (high - low) / 2
        else:
            middle, scale = mean_and_deviation(inside)
        constant = scale <= CONSTANT * most
        found.append(
            Units(middle, 0.0 if constant else scale, low, high, wide=not (SAFE[0] < scale and most < SAFE[1]))
        )
    return tuple(found)


def normalise(image: np.ndarray, region: np.ndarray | None, recipe: Preprocessing, traits: Traits) -> np.ndarray:
    """(C, *S) in the units of `recipe`, float32, whatever the units of the image; a constant channel becomes zero."""
    units = units_of(image, region, recipe, traits)
    return np.stack([unit(values) for unit, values in zip(units, image, strict=True)])


def intensities_of(recipe: Preprocessing, traits: Traits) -> tuple[Intensity, ...]:
    """The statistics of each channel that the units of `recipe` are made from: of the foreground where it says so.

    A channel whose foreground has one value has those of all pixels: clipped to that value, nothing would be left.
    """
    foreground = traits.foreground_intensity if recipe.normalise == "foreground" else ()
    if not foreground:
        return traits.intensity
    return tuple(one if one.low < one.high else all_ for one, all_ in zip(foreground, traits.intensity, strict=True))


def denormalise(image: np.ndarray, recipe: Preprocessing, intensities: Sequence[Intensity]) -> np.ndarray:
    """(C, *S) in the units of `recipe` in those of the training data, float32: the inverse of `normalise`.

    What differs from image to image is taken from the whole training set: "image" and "dataset" take its mean and
    deviation, "foreground" that of its foreground, "unit" the usual least and greatest value of an image.

    Args:
        intensities: of each channel (`intensities_of`).
    """
    out = image.astype(np.float32)
    for channel, facts in enumerate(intensities):
        if recipe.normalise == "unit":
            least, greatest = facts.usual or (facts.minimum, facts.maximum)
            middle, scale = (least + greatest) / 2, (greatest - least) / 2
        elif recipe.normalise == "none":
            middle, scale = 0.0, 1.0
        else:
            middle, scale = facts.mean, facts.std
        out[channel] = out[channel] * scale + middle
    return out
