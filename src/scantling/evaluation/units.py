"""Lengths in one unit: mm where it is known how large a pixel is, else pixels; the two are never averaged together."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence

from scantling.core.case import Case, Geometry, Unit
from scantling.core.errors import FileError
from scantling.data.contents import count, some
from scantling.data.files import Limits, probe
from scantling.data.orientation import stored_geometry
from scantling.metrics.catalogue import Metric, MetricUnit


def known_spacing(
    case: Case, known: Sequence[Geometry], *, limits: Limits, untrusted: bool
) -> tuple[tuple[float, ...], Unit]:
    """How far the pixels of a case lie apart, and in which unit: of the first that says it in mm.

    Args:
        known: the grids of truth and prediction; after them the headers of the case's images are asked.
    """
    truth = known[0]

    def as_truth(geometry: Geometry) -> Geometry:  # a truth without an affine lies in the order of its file
        return geometry if truth.affine is not None else stored_geometry(geometry)

    for geometry in map(as_truth, known):
        if geometry.unit == "mm":
            return geometry.spacing, "mm"
    for address in case.images.values():
        try:
            geometry = as_truth(probe(address, limits=limits, untrusted=untrusted).geometry)
        except (FileError, OSError):
            continue  # scores need no image
        if geometry.unit == "mm" and geometry.shape == truth.shape:
            return geometry.spacing, "mm"
    return truth.spacing, "pixel"


def averaged_in(units: Collection[Unit]) -> Unit:
    """The unit in which lengths are averaged: mm where one case has them in mm."""
    return "mm" if "mm" in units else "pixel"


def in_unit(scores: Mapping[str, float], metrics: Iterable[Metric], *, found: Unit, unit: Unit) -> dict[str, float]:
    """The scores that count in a mean over cases: NaN for lengths that are not in its unit.

    Args:
        found: the unit of the lengths of this case.
        unit: that of the mean.
    """
    lengths = {metric.name for metric in metrics if metric.is_length} if found != unit else set()
    return {name: math.nan if name in lengths else value for name, value in scores.items()}


def units_of(metrics: Iterable[Metric], unit: Unit, *, axes: int | None = None) -> dict[str, MetricUnit]:
    """The unit of the mean of each metric that is a length or a volume, for a record.

    Args:
        axes: of the images, which tell areas from volumes.
    """
    return {metric.name: metric.unit_of(unit, axes=axes) or unit for metric in metrics if metric.is_length}


def mixed(units: Mapping[str, Unit], metrics: Iterable[Metric], *, noun: str = "case") -> list[str]:
    """A sentence where the lengths of some cases are in mm and those of others in pixels.

    Args:
        units: by the id of the case.
        noun: what is scored.
    """
    titles = [metric.title for metric in metrics if metric.is_length]
    pixels = [id for id, unit in units.items() if unit == "pixel"]
    if not titles or len(pixels) in (0, len(units)):
        return []
    return [
        f"Of {count(len(pixels), noun)} ({some(pixels, most=3)}) no file says how large a pixel is, so that the "
        f"distances and volumes are in pixels; their means are of the other {len(units) - len(pixels)}, in mm. Set "
        "'spacing' in a manifest to have all in mm."
    ]
