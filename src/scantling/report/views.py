"""Which plane of an image is shown, and how it is turned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scantling.data.types import Geometry


@dataclass(frozen=True)
class View:
    """The plane of an array that is shown, turned as a reader expects it.

    A raster image is shown as it is. Of a volume the slice with most of the labels is shown (the middle one
    without labels); where the file says how it lies in the body, front or head point up and the right of the
    patient stands on the left, as radiologists hang their pictures.

    Attributes:
        shape: of the arrays that it takes, `(*S)`.
        index: (axis, slice) of a volume.
        turned: the plane's axes are swapped, then its rows and columns reversed where said.
        pixel: millimetres of a row's and a column's step.
    """

    shape: tuple[int, ...]
    index: tuple[int, int] | None
    turned: bool
    reversed: tuple[bool, bool]
    pixel: tuple[float, float]
    note: str

    @classmethod
    def of(cls, geometry: Geometry, labels: np.ndarray | None) -> View:
        """The view of arrays with this geometry that shows most of `labels` (*S)."""
        spacing = geometry.spacing
        if len(geometry.shape) == 2:
            return cls(geometry.shape, None, False, (False, False), (spacing[0], spacing[1]), "")
        axis = geometry.slice_axis
        first, second = (number for number in range(3) if number != axis)
        if labels is not None and (labels > 0).any():
            place = int(np.argmax((labels > 0).sum(axis=(first, second))))
            why = "the slice with most of the truth"
        else:
            place, why = geometry.shape[axis] // 2, "the middle slice"
        note = f"Slice {place + 1} of {geometry.shape[axis]} is shown, {why}."
        if geometry.affine is None:
            return cls(geometry.shape, (axis, place), False, (False, False), (spacing[first], spacing[second]), note)
        directions = np.asarray(geometry.affine)[:3, :3]
        world = [int(np.argmax(np.abs(directions[:, number]))) for number in (first, second)]
        positive = [bool(directions[at, number] > 0) for at, number in zip(world, (first, second), strict=True)]
        if world[0] <= world[1]:  # the axis that points to the front or the head becomes the rows
            across, up, turned = 0, 1, True
        else:
            across, up, turned = 1, 0, False
        steps = [spacing[first], spacing[second]]
        if 0 in world:
            note += " The patient's right is on the left."
        return cls(
            geometry.shape, (axis, place), turned, (positive[up], positive[across]), (steps[up], steps[across]), note
        )

    def __call__(self, array: np.ndarray) -> np.ndarray:
        """The plane of `array` (*S) or (*S, 3)."""
        plane = array if self.index is None else np.take(array, self.index[1], axis=self.index[0])
        if self.turned:
            plane = plane.swapaxes(0, 1)
        rows, columns = self.reversed
        return np.ascontiguousarray(plane[:: -1 if rows else 1, :: -1 if columns else 1])
