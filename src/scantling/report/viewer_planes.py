"""A volume the right way up in all of its planes: one array of slices, rows and columns, as `data.pictures` turns them.

Axes that are known run from head to feet, from front to back and from the patient's right to the left, so that an
axial slice is a slice of the array, a coronal one a row and a sagittal one a column, and each is shown as it lies in
memory. What does not say how it lies in the body stays as it is stored, the slices first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scantling.core.case import Geometry
from scantling.data.orientation import file_axis
from scantling.data.pictures import LETTERS, PLANES, Marks, View, body_axes


@dataclass(frozen=True)
class Plane:
    """Slices along one axis of an upright volume.

    Attributes:
        axes: those of the slices, the rows and the columns.
        marks: the letters at its left, right, top and bottom; None where nobody says how it lies in the body.
        name: the plane of the body, or else the axis of the file.
        numbers: of each slice in the file, from 1.
    """

    name: str
    axes: tuple[int, int, int]
    marks: Marks | None
    numbers: tuple[int, ...]


@dataclass(frozen=True)
class Upright:
    """How arrays of a geometry become (D, H, W), the right way up; D is 1 for a picture.

    Attributes:
        spacing: of slices, rows and columns.
        planes: one of a picture, three of a volume; the first is the one to begin with, as `View.of` chooses it.
        note: how it lies, for people.
    """

    order: tuple[int, ...]
    flips: tuple[bool, ...]
    spacing: tuple[float, float, float]
    planes: tuple[Plane, ...]
    note: str

    @classmethod
    def of(cls, geometry: Geometry) -> Upright:
        """Of two or three spatial axes."""
        if len(geometry.shape) == 2:
            view = View.of(geometry)
            axes = (1, 0) if view.turned else (0, 1)
            return cls(
                axes, view.reversed, (1.0, *view.pixel), (Plane("Image", (0, 1, 2), view.marks, (1,)),), view.note
            )
        body = None if geometry.affine is None else body_axes(geometry.affine)
        first = View.of(geometry).index
        across = geometry.slice_axis if first is None else first[0]
        order: tuple[int, ...]
        flips: tuple[bool, ...]
        if body is None:
            order = (across, *(axis for axis in range(3) if axis != across))
            flips, note = (False, False, False), ""
        else:
            places = {axis: number for number, (axis, _) in enumerate(body)}
            order = (places[2], places[1], places[0])
            flips = tuple(body[axis][1] for axis in order)
            note = "In axial and coronal slices the patient's right is on the left."
        planes = [_plane(geometry, number, order, flips, named=body is not None) for number in range(3)]
        planes.sort(key=lambda plane: order[plane.axes[0]] != across)
        spacing = tuple(geometry.spacing[axis] for axis in order)
        return cls(order, flips, (spacing[0], spacing[1], spacing[2]), tuple(planes), note)

    def __call__(self, array: np.ndarray) -> np.ndarray:
        """(D, H, W[, C]) of `array` (*S[, C])."""
        further = range(len(self.order), array.ndim)
        turned = array.transpose(*self.order, *further)
        turned = turned[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]
        return np.ascontiguousarray(turned if len(self.order) == 3 else turned[None])


def _plane(geometry: Geometry, number: int, order: tuple[int, ...], flips: tuple[bool, ...], *, named: bool) -> Plane:
    """The slices across the axis `number` of an upright volume; `named`: by the body."""
    rows, columns = (axis for axis in range(3) if axis != number)
    axis, length = order[number], geometry.shape[order[number]]
    stored, backwards = file_axis(geometry, axis)
    up = range(1, length + 1) if backwards == flips[number] else range(length, 0, -1)
    if not named:
        return Plane(f"Axis {stored + 1}", (number, rows, columns), None, tuple(up))
    # an upright volume lies superior to inferior, anterior to posterior, right to left: axis n is body axis 2 - n
    (top, bottom), (left, right) = LETTERS[2 - rows], LETTERS[2 - columns]
    return Plane(PLANES[2 - number], (number, rows, columns), Marks(left, right, top, bottom), tuple(up))
