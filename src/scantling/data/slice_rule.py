"""Volumes of one depth by whole slices: the last one is repeated where there are few, some are deleted elsewhere.

This is the rule of a study of the bladder in CT, whose volumes have 24 slices. It says "at equal spacing, from the
middle", and not which slices: here the places of the deleted ones divide what lies between the first and the last slice
evenly, alike on both sides of the middle, and the first and the last slice stay.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from scantling.core.case import Geometry, Sample
from scantling.core.checks import check_count
from scantling.core.errors import SettingsError


def kept_slices(count: int, wanted: int, *, from_the_end: bool = False) -> np.ndarray:
    """Which slices of `count` a volume of `wanted` slices has: (wanted,) int64, in order.

    Args:
        from_the_end: the file counts its slices from the other end, so that its last one is number 0.

    Raises:
        SettingsError: a number is below 1.
    """
    check_count(count, argument="count", least=1)
    check_count(wanted, argument="wanted", least=1)
    if count <= wanted:
        kept = np.minimum(np.arange(wanted), count - 1)
    elif wanted == 1:
        kept = np.array([(count - 1) // 2])
    else:
        surplus, inner = count - wanted, count - 2
        below = 1 + ((2 * np.arange(surplus // 2) + 1) * inner) // (2 * surplus)
        middle = [(count - 1) // 2] if surplus % 2 else []
        kept = np.setdiff1d(np.arange(count), [*below, *middle, *(count - 1 - below)])
    return (count - 1 - kept[::-1] if from_the_end else kept).astype(np.int64)


def nearest_kept(count: int, wanted: int, *, from_the_end: bool = False) -> np.ndarray:
    """For each of `count` slices the place, among the `wanted` ones, of the nearest that was kept: (count,) int64.

    A slice that was kept finds itself; of two that are equally near the lower one counts.
    """
    kept = kept_slices(count, wanted, from_the_end=from_the_end)
    return np.abs(np.arange(count)[:, None] - kept[None]).argmin(1).astype(np.int64)


def counts_from_the_end(geometry: Geometry, axis: int) -> bool:
    """Whether the file stores the slices along an axis the other way round."""
    return geometry.orientation is not None and bool(geometry.orientation.flips[axis])


def by_slice_rule(sample: Sample, axis: int, wanted: int) -> Sample:
    """A volume with `wanted` slices along an axis, all its arrays alike.

    Raises:
        SettingsError: it is no volume, or has boxes or points, which lie between slices.
    """
    shape = list(sample.geometry.shape)
    if len(shape) != 3 or sample.boxes is not None or sample.points is not None:
        raise SettingsError(
            f"{sample.case.id}: slices are repeated and deleted in volumes, without boxes and points; found "
            f"{len(shape)} axes"
        )
    kept = kept_slices(shape[axis], wanted, from_the_end=counts_from_the_end(sample.geometry, axis))

    def taken(array: np.ndarray | None) -> np.ndarray | None:
        return None if array is None or not array.size else np.take(array, kept, axis=array.ndim - 3 + axis)

    shape[axis] = wanted
    image = taken(sample.image)
    return replace(
        sample,
        image=sample.image if image is None else image,
        geometry=replace(sample.geometry, shape=tuple(shape)),
        masks=tuple(mask for each in sample.masks if (mask := taken(each)) is not None),
        region=taken(sample.region),
        outside=taken(sample.outside),
        scribbles=taken(sample.scribbles),
        instances=taken(sample.instances),
    )
