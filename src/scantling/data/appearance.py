"""What an image looks like in a few plain numbers: intensity, colour, sharpness and scale, channel by channel."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise, product

import numpy as np

from scantling.core.case import Geometry, Sample

MOST_VALUES = 1 << 20
"""Pixels of a channel, evenly spread, from which its numbers are taken."""
WINDOWS, WIDE = 4, 256
"""A plane that is longer than their product is seen through so many windows of so many pixels along an axis."""
PLANES = 8
"""Slices of a volume, evenly spread, that sharpness is taken from."""
FEW = 4
"""So many channels are compared each with each, more with their neighbours."""
TINY = 1e-12


def appearance(sample: Sample, channels: Sequence[str]) -> dict[str, float]:
    """The features of an image by name, whose first word is their kind; inside the region where there is one.

    - intensity, in units of the file: mean, deviation, 1st and 99th percentile of each channel.
    - colour: of two channels the difference of the means over the pooled deviation, and their correlation.
    - sharpness: the logarithms of the gradient energy at one pixel over that at two, and at two over that at four.
    - scale: the logarithms of the sides (of pictures the longer and the shorter one), of the spacing where the unit is
      mm, and of the deviation over the gradient at four pixels, the typical size of a detail; lengths in the unit of
      the geometry, which stands in the name.

    Which features, and that of a volume only some slices count, is ours. A channel that the case lacks has none.

    Args:
        channels: the names of the channels of the image.
    """
    axes = len(sample.geometry.shape)
    step = max(1, math.ceil((math.prod(sample.geometry.shape) / MOST_VALUES) ** (1 / axes)))
    thin = (slice(None, None, step),) * axes
    inside = None if sample.region is None or not sample.region[thin].any() else sample.region[thin]
    there = [n for n in range(len(channels)) if sample.channels is None or sample.channels[n]]
    values = {n: _flat(sample.image[n][thin], inside) for n in there}
    features = dict[str, float]()
    for number, found in values.items():
        low, high = np.percentile(found, (1, 99))
        for what, value in (("mean", found.mean()), ("deviation", found.std()), ("low", low), ("high", high)):
            features[f"intensity {what} of {channels[number]}"] = float(value)
    for one, other in combinations(there, 2) if len(there) <= FEW else pairwise(there):
        pair, spreads = f"{channels[one]} and {channels[other]}", (values[one].std(), values[other].std())
        pooled, together = math.hypot(*spreads) / math.sqrt(2), spreads[0] * spreads[1]
        difference = values[one].mean() - values[other].mean()
        features[f"colour difference of {pair}"] = float(difference / pooled) if pooled > TINY else 0.0
        product_mean = ((values[one] - values[one].mean()) * (values[other] - values[other].mean())).mean()
        features[f"colour correlation of {pair}"] = float(product_mean / together) if together > TINY else 1.0
    scales = {n: (found.mean(), max(float(found.std()), TINY)) for n, found in values.items()}
    return features | _texture(sample, scales) | _sides(sample.geometry)


def _flat(values: np.ndarray, inside: np.ndarray | None) -> np.ndarray:
    return (values.ravel() if inside is None else values[inside]).astype(np.float64)


def _sides(geometry: Geometry) -> dict[str, float]:
    """The logarithms of the sides of the image and, in mm, of its spacing."""
    known = geometry.unit == "mm"
    sides = [n * (mm if known else 1) for n, mm in zip(geometry.shape, geometry.spacing, strict=True)]
    if len(sides) == 2:
        sides.sort(reverse=True)
    unit = "mm" if known else "pixels"
    found = {f"scale side {n} in {unit}": math.log(side) for n, side in enumerate(sides, start=1)}
    spacings = {f"scale spacing {n} in mm": math.log(mm) for n, mm in enumerate(geometry.spacing, start=1)}
    return found | (spacings if known else {})


def _texture(sample: Sample, scales: dict[int, tuple[float, float]]) -> dict[str, float]:
    """Sharpness and the size of a detail, from the mean of the standardised channels; none of a constant image."""
    energy, counts, values = np.zeros(3), np.zeros(3), list[np.ndarray]()
    for plane, inside in _planes(sample, scales):
        for level in range(3):
            for axis in (0, 1):
                both = np.logical_and(*_neighbours(inside, axis))
                ahead, behind = _neighbours(plane, axis)
                energy[level] += float(np.square((ahead - behind)[both]).sum(dtype=np.float64))
                counts[level] += np.count_nonzero(both)
            if level == 2:
                values.append(plane[inside])
            else:
                plane, inside = _halved(plane, inside)
    deviation = float(np.concatenate(values).std(dtype=np.float64)) if any(map(np.size, values)) else 0.0
    if not counts.all() or deviation < 1e-6:
        return {}
    one, two, four = energy / counts + 1e-6 * deviation**2
    spacing, axes = sample.geometry.spacing, _plane_axes(sample.geometry)
    known = sample.geometry.unit == "mm"
    side = math.prod(spacing[axis] for axis in axes) ** (1 / len(axes)) if known else 1.0
    return {
        "sharpness of single pixels": math.log(one / two),
        "sharpness of pairs of pixels": math.log(two / four),
        f"scale size of details in {'mm' if known else 'pixels'}": math.log(4 * side * deviation / math.sqrt(four)),
    }


def _plane_axes(geometry: Geometry) -> list[int]:
    axes = list(range(len(geometry.shape)))
    return axes if len(axes) == 2 else [axis for axis in axes if axis != geometry.slice_axis]


def _planes(sample: Sample, scales: dict[int, tuple[float, float]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Windows (H, W) float32 of the planes of an image, and where they lie in the region."""
    shape, axes = sample.geometry.shape, _plane_axes(sample.geometry)
    depth = shape[sample.geometry.slice_axis] if len(shape) == 3 else 1
    for number, *windows in product(_spread(depth, PLANES), *(_windows(shape[axis]) for axis in axes)):
        place = list[int | slice](windows)
        if len(shape) == 3:
            place.insert(sample.geometry.slice_axis, number)
        at = tuple(place)
        parts = [
            (sample.image[channel][at].astype(np.float32) - np.float32(mean)) / np.float32(std)
            for channel, (mean, std) in scales.items()
        ]
        plane = np.mean(parts, axis=0)
        yield plane, np.ones(plane.shape, np.bool_) if sample.region is None else sample.region[at]


def _spread(length: int, most: int) -> list[int]:
    """At most so many of the numbers from 0 to `length`, evenly spread and away from the ends."""
    most = min(length, most)
    return [int((2 * number + 1) * length / (2 * most)) for number in range(most)]


def _windows(length: int) -> list[slice]:
    if length <= WINDOWS * WIDE:
        return [slice(0, length)]
    return [slice(int(start), int(start) + WIDE) for start in np.linspace(0, length - WIDE, WINDOWS)]


def _neighbours(plane: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    return (plane[1:], plane[:-1]) if axis == 0 else (plane[:, 1:], plane[:, :-1])


def _halved(plane: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The means of blocks of 2 x 2 pixels, and which lie in the region as a whole."""
    height, width = (n // 2 for n in plane.shape)
    blocks = (height, 2, width, 2)
    cut = (slice(0, 2 * height), slice(0, 2 * width))
    whole: np.ndarray = np.all(inside[cut].reshape(blocks), axis=(1, 3))
    return plane[cut].reshape(blocks).mean((1, 3)), whole
