"""What a segmenter that was trained on real images finds in real and in made ones, as distributions beside each other.

Distances are those of Wasserstein, of order 1, in deviations of the real values, so that quantities can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

from scantling.core.case import IGNORE, Geometry, Sample
from scantling.core.errors import DataError, RunError
from scantling.core.machine import COMPUTE, Compute
from scantling.data.contents import count
from scantling.data.thickness import object_rows
from scantling.inference.models import open_models
from scantling.inference.prediction import Answerer

Values = Mapping[str, float]
"""By quantity, for one image; NaN where the class is not there."""


class Marker:
    """Marks images with a segmenter and measures what it has marked.

    Args:
        run: of the segmenter.

    Attributes:
        name: of the model, as the page gives it.

    Raises:
        RunError: it has no model, or one that does not segment.
    """

    def __init__(self, run: Path, *, compute: Compute = COMPUTE) -> None:
        device = compute.prepare()
        models = open_models([run], {})
        if models.segment is None or models.labels is None:
            raise RunError(f"--use segmenter={run}: {models.methods[0].card.name} does not segment")
        models.to(device)
        self.name = f"{models.methods[0].card.name} {models.identities[0]}"
        self._classes, self._method = models.labels.names, models.methods[0]
        self._answerer = Answerer(
            models=models, device=device, autocast=compute.autocast(device, training=False), scales=False
        )

    def __call__(self, sample: Sample) -> Values:
        """The anatomy of one image.

        Raises:
            DataError: the image is of another kind than those that the segmenter was trained on.
        """
        if len(sample.image) != len(self._method.channels):
            raise DataError(
                f"--use segmenter: {self.name} was trained on images with "
                f"{count(len(self._method.channels), 'channel')}; case {sample.case.id} has {len(sample.image)}"
            )
        decided, _ = self._answerer.answer(sample)
        if decided is None:
            raise DataError(f"case {sample.case.id}: the segmenter gave no mask")
        decision = decided.decision
        if decision.ndim == len(sample.geometry.shape):
            layers = np.stack([decision == number for number in range(1, len(self._classes) + 1)])
        else:
            layers = (decision > 0) & (decision != IGNORE)
        return anatomy(layers, self._classes, sample.geometry)


def anatomy(layers: NDArray[np.bool_], classes: Sequence[str], geometry: Geometry) -> dict[str, float]:
    """Volume, centre, pieces and thickness of each class, and the contact of each two.

    Volume is a share of the image; the centre is that of gravity along each axis, from 0 at one border to 1 at the
    other; thickness is the diameter of the largest circle or ball inside, as a share of the longest side; contact is
    the share of the border of a class, its pixels with a neighbour outside, that touches the other one. Shares, so that
    images of any size and spacing compare. NaN where a class, or of a contact the first class, is absent.

    Args:
        layers: (K, *S), a layer for each class.
        geometry: of the image.
    """
    found: dict[str, float] = {}
    spacing = np.array(geometry.spacing, np.float64)
    longest = float((spacing * geometry.shape).max())
    touching = ndimage.generate_binary_structure(layers.ndim - 1, 1)
    for name, layer in zip(classes, layers, strict=True):
        there = bool(layer.any())
        centre = ((np.argwhere(layer) + 0.5) / layer.shape).mean(0) if there else np.full(layer.ndim, np.nan)
        found[f"{name}: volume"] = float(layer.mean())
        found |= {f"{name}: centre, axis {axis}": float(place) for axis, place in enumerate(centre, start=1)}
        found[f"{name}: pieces"] = float(ndimage.label(layer, np.ones((3,) * layer.ndim))[1])
        box = ndimage.find_objects(layer.astype(np.uint8))[0] if there else None
        thickness = object_rows(layer[box], spacing)[:, 0].max() / longest if box is not None else np.nan
        found[f"{name}: thickness"] = float(thickness)
    for (one, first), (other, second) in permutations(zip(classes, layers, strict=True), 2):
        border = first & ~ndimage.binary_erosion(first, touching)
        touches = ndimage.binary_dilation(second, touching)
        found[f"{one}: contact with {other}"] = float(touches[border].mean()) if border.any() else np.nan
    return found


@dataclass(frozen=True)
class Distribution:
    """A quantity over real and made images.

    Attributes:
        real, made: (N,) and (M,), without images where it is undefined.
        distance: Wasserstein distance of made and real, over the deviation of the real values; NaN of fewer than two.
        scale: the same of one half of the real subjects and the other, the mean over several halves.
    """

    quantity: str
    real: NDArray[np.float64]
    made: NDArray[np.float64]
    distance: float
    scale: float


def distributions(
    real: Sequence[Values], made: Sequence[Values], halves: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]
) -> tuple[Distribution, ...]:
    """Every quantity over both sets.

    Args:
        halves: places of real images in the one half and in the other, several times.
    """
    found = []
    for quantity in real[0]:
        values = [np.array([row[quantity] for row in rows]) for rows in (real, made)]
        one, other = (each[np.isfinite(each)] for each in values)
        deviation = one.std() if one.size else 0.0
        apart = [wasserstein(values[0][first], values[0][second], deviation) for first, second in halves]
        defined = [each for each in apart if not np.isnan(each)]
        scale = float(np.mean(defined)) if defined else float("nan")
        found.append(Distribution(quantity, one, other, wasserstein(one, other, deviation), scale))
    return tuple(found)


def wasserstein(one: NDArray[np.float64], other: NDArray[np.float64], deviation: float) -> float:
    """The distance of the finite values of both over a deviation, which is 1 if all real values are equal."""
    one, other = one[np.isfinite(one)], other[np.isfinite(other)]
    if min(one.size, other.size) < 2:
        return float("nan")
    return float(stats.wasserstein_distance(one, other) / (deviation or 1.0))
