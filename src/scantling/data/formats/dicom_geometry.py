"""Where DICOM frames lie: positions and orientations of the patient become one affine in millimetres.

DICOM counts left, posterior and superior; the affine of a geometry counts right, anterior and superior.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from scantling.core.case import Geometry
from scantling.data.formats.common import LPS_TO_RAS, Array, Source, plausible_spacing, right_angles, volume

UNEVEN = 0.05
"""The share of the distance between slices by which one distance may differ from the others."""


@dataclass(frozen=True)
class Place:
    """Where frames lie, as far as the file says.

    Attributes:
        step: mm between rows and between columns.
        across, down: unit vectors of growing column and row index, in patient coordinates.
        origins: the position of the first pixel of each frame.
    """

    step: tuple[float, float] | None = None
    across: Array | None = None
    down: Array | None = None
    origins: tuple[Array, ...] = ()

    def order(self) -> list[int]:
        """The order of the frames along their normal."""
        return [int(index) for index in np.argsort(self.heights(), kind="stable")]

    def heights(self) -> Array:
        """How far along the normal each frame lies, in mm."""
        if self.across is None or self.down is None:
            return np.arange(len(self.origins), dtype=float)
        heights: Array = np.stack(self.origins) @ np.cross(self.across, self.down)
        return heights


def read_place(source: Source, found: Dataset, count: int) -> Place:
    """The place of `count` frames; enhanced files give it for all frames or for each."""
    spacing = anywhere(found, 0, "PixelMeasuresSequence", "PixelSpacing")
    for name in ("ImagerPixelSpacing", "NominalScannedPixelSpacing"):  # at the detector, of a film
        spacing = spacing or found.get(name)
    step = None
    if spacing:
        step = tuple(_numbers(source, spacing, 2, "pixel spacing"))
    orientation = anywhere(found, 0, "PlaneOrientationSequence", "ImageOrientationPatient")
    groups = found.get("PerFrameFunctionalGroupsSequence")
    if count > 1 and not groups:
        return Place(step)  # one position for many frames: they follow each other in time
    if groups and len(groups) != count:
        raise source.error(f"describes {len(groups)} frames", expected=f"{count}", remedy="repair its header")
    positions = [anywhere(found, frame, "PlanePositionSequence", "ImagePositionPatient") for frame in range(count)]
    if orientation is None or any(position is None for position in positions):
        return Place(step)
    turned = _numbers(source, orientation, 6, "orientation")
    across, down = turned[:3], turned[3:]
    if abs(across @ across - 1) > 0.01 or abs(down @ down - 1) > 0.01 or abs(across @ down) > 0.01:
        raise source.error("its orientation is not two unit vectors at right angles", remedy="repair its header")
    origins = tuple(_numbers(source, position, 3, "position") for position in positions)
    return Place(step, across, down, origins)


def read_scale(source: Source, found: Dataset, count: int) -> tuple[float, float]:
    """Slope and intercept, which must be the same for every frame."""
    scales = {
        tuple(
            float(_numbers(source, [default if value is None else value], 1, "rescaling")[0])
            for name, default in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0))
            for value in [anywhere(found, frame, "PixelValueTransformationSequence", name)]
        )
        for frame in range(count if "PerFrameFunctionalGroupsSequence" in found else 1)
    }
    if len(scales) > 1:
        raise source.error("its frames are scaled differently", expected="one scale", remedy="convert it to NIfTI")
    slope, intercept = scales.pop()
    if slope == 0:
        raise source.error("its rescale slope is 0", expected="another number", remedy="repair its header")
    return slope, intercept


def flat_geometry(source: Source, size: tuple[int, int], place: Place) -> Geometry:
    """The geometry of a single frame `(H, W)`."""
    step = place.step or (1.0, 1.0)
    plausible_spacing(source, step)
    affine = None
    if place.step and place.across is not None and place.down is not None:
        normal = np.cross(place.across, place.down)
        affine = _affine(place.down * step[0], place.across * step[1], normal, place.origins[0])
    return Geometry(shape=size, spacing=step, affine=affine, unit="mm" if place.step else "pixel")


def stacked_geometry(source: Source, size: tuple[int, int], place: Place, count: int) -> Geometry:
    """The geometry of `count` frames as a volume (X, Y, Z); frames without positions count as 1 mm apart."""
    rows, columns = size
    down, across = place.step or (1.0, 1.0)
    if place.step is None or place.across is None or place.down is None:
        plausible_spacing(source, (across, down))
        step = (across, down, 1.0) if place.step else None
        return volume((columns, rows, count), step, affine=None, slice_axis=2)
    heights = np.sort(place.heights())
    gaps = np.diff(heights)
    usual = float(np.median(gaps))
    odd = int(np.abs(gaps - usual).argmax())
    if float(gaps.min()) < 1e-3:
        raise source.error(
            f"two slices lie at the same place ({heights[int(gaps.argmin())]:g} mm)",
            expected="one slice at each place",
            remedy="keep one image of each, or one point in time",
        )
    if abs(gaps[odd] - usual) > max(UNEVEN * usual, 0.01):
        raise source.error(
            f"two slices lie {gaps[odd]:g} mm apart (at {heights[odd]:g} mm), the others {usual:g} mm",
            expected="even distances",
            remedy="add the missing slices or remove the odd ones",
        )
    order = place.order()
    along = (place.origins[order[-1]] - place.origins[order[0]]) / (count - 1)
    gap = float(np.linalg.norm(along))
    plausible_spacing(source, (across, down, gap))
    affine = _affine(place.across * across, place.down * down, along, place.origins[order[0]])
    right_angles(source, affine)
    return volume((columns, rows, count), (across, down, gap), affine=affine, slice_axis=2)


def _affine(first: Array, second: Array, third: Array, origin: Array) -> Array:
    affine = np.eye(4)
    affine[:3] = np.stack([first, second, third, origin], axis=1)
    return LPS_TO_RAS @ affine


def anywhere(found: Dataset, frame: int, sequence: str, name: str) -> Any:
    """The value for a frame: its own, that shared by all frames, or that of the file."""
    for groups, index in (("PerFrameFunctionalGroupsSequence", frame), ("SharedFunctionalGroupsSequence", 0)):
        listed = found.get(groups) or []
        items = listed[index].get(sequence) if index < len(listed) else None
        if items and items[0].get(name) is not None:
            return items[0].get(name)
    return found.get(name)


def _numbers(source: Source, values: Any, count: int, what: str) -> Array:
    numbers = np.array([float(value) for value in values])
    if len(numbers) != count or not np.isfinite(numbers).all() or np.abs(numbers).max() > 1e9:
        raise source.error(f"its {what} is not {count} finite numbers", remedy="repair its header")
    return numbers
