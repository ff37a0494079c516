"""How a slice is shown, the same everywhere: which one, which way up, with which letters and colours.

The convention is the radiological one. Where the file says how its axes lie in the body, the patient's right is on the
left of an axial or coronal slice and the front on the left of a sagittal one, and front or head are up; letters at the
borders say so. Oblique axes go by the nearest axis of the body. Where the file does not say it, slices are shown as
they are stored, without letters. Pixels have the aspect ratio of the spacing.

Class colours are those of Okabe and Ito (Color Universal Design, 2008) and, from the fifth class on, of Tol (2021);
they remain distinct in every common colour vision deficiency, and none of them means an error in a report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from scantling.core.case import Geometry
from scantling.data.orientation import file_axis

CLASS_COLOURS = ("#009E73", "#F0E442", "#0072B2", "#D55E00", "#999999", "#44AA99", "#882255", "#DDCC77")
LETTERS = (("R", "L"), ("A", "P"), ("S", "I"))
"""The ends of the axes of the body: right and left, anterior and posterior, superior and inferior."""
PLANES = ("Sagittal", "Coronal", "Axial")
"""What a slice across each of these axes is called."""
THICK = 1.5
"""A volume is shown in the plane of its acquisition where its slices are this much thicker than its pixels are wide."""


class Marks(NamedTuple):
    """The letters at the borders of a picture."""

    left: str
    right: str
    top: str
    bottom: str


@dataclass(frozen=True)
class View:
    """The plane of an array that is shown, turned as a reader expects it (see above).

    Of a volume that says how it lies in the body an axial slice is shown, or one in the plane of its acquisition where
    its slices are thick; of any other volume one of the slices that its file stacks. It is the slice with most of the
    labels, or the middle one without labels: the same however the file stores the volume.

    Attributes:
        shape: of the arrays that it takes, `(*S)`.
        index: (axis, slice) of a volume.
        turned: the plane's axes are swapped, then its rows and columns reversed where said.
        pixel: millimetres of a row's and a column's step.
        marks: None where the file does not say how its axes lie in the body.
        note: all this as a sentence or two, for volumes.
    """

    shape: tuple[int, ...]
    index: tuple[int, int] | None
    turned: bool
    reversed: tuple[bool, bool]
    pixel: tuple[float, float]
    marks: Marks | None
    note: str

    @classmethod
    def of(cls, geometry: Geometry, labels: np.ndarray | None = None, *, index: tuple[int, int] | None = None) -> View:
        """The view of arrays with this geometry.

        Args:
            labels: (*S); the slice of a volume that shows most of what is above 0 is chosen.
            index: (axis, slice) of a volume, where the slice is chosen already.
        """
        shape, spacing = geometry.shape, geometry.spacing
        body = None if geometry.affine is None else body_axes(geometry.affine)
        note = ""
        if len(shape) == 3:
            why = ""
            if index is None:
                axis = geometry.slice_axis if body is None else _across(spacing, [number for number, _ in body])
                index, why = _slice(shape, axis, labels, backwards=body is not None and body[axis][1])
            axis, place = index
            what = "Slice" if body is None else f"{PLANES[body[axis][0]]} slice"
            stored, flipped = file_axis(geometry, axis)
            number = shape[axis] - place if flipped else place + 1
            note = f"{what} {number} of {shape[axis]} (axis {stored + 1} of the file) is shown{why}."
        first, second = (number for number in range(len(shape)) if index is None or number != index[0])
        if body is None:
            return cls(shape, index, False, (False, False), (spacing[first], spacing[second]), None, note)
        # the axis that points more to the head, or else to the front, becomes the rows
        turned = body[first][0] < body[second][0]
        up, across = (second, first) if turned else (first, second)
        (left, right), (top, bottom) = LETTERS[body[across][0]], LETTERS[body[up][0]]
        side = {"R": "The patient's right is on the left.", "A": "The patient's front is on the left."}[left]
        return cls(
            shape,
            index,
            turned,
            (body[up][1], body[across][1]),
            (spacing[up], spacing[across]),
            Marks(left, right, top, bottom),
            f"{note} {side}".strip(),
        )

    def __call__(self, array: np.ndarray) -> np.ndarray:
        """The plane of `array` (*S) or (*S, C)."""
        return self.turn(array if self.index is None else np.take(array, self.index[1], axis=self.index[0]))

    def through(self, mask: np.ndarray) -> np.ndarray:
        """Where a mask (*S) bool is in any slice, as a plane."""
        return self.turn(mask if self.index is None else np.asarray(mask.any(axis=self.index[0])))

    def turn(self, plane: np.ndarray) -> np.ndarray:
        """A plane (H, W) or (H, W, C) in the order of the array's axes, the right way up."""
        if self.turned:
            plane = plane.swapaxes(0, 1)
        rows, columns = self.reversed
        return np.ascontiguousarray(plane[:: -1 if rows else 1, :: -1 if columns else 1])

    def size(self, plane: np.ndarray, longest: int) -> tuple[int, int]:
        """Width and height of the picture of a plane (H, W, ...) with square pixels and a longer side of `longest`."""
        height, width = plane.shape[0] * self.pixel[0], plane.shape[1] * self.pixel[1]
        scale = longest / max(height, width)
        return max(1, round(width * scale)), max(1, round(height * scale))


def body_axes(affine: np.ndarray) -> list[tuple[int, bool]]:
    """For each axis of an array the nearest axis of the body (0 right, 1 front, 2 head), and whether it points there.

    Args:
        affine: (4, 4), see `Geometry`.
    """
    from nibabel.orientations import io_orientation

    return [(int(axis), bool(sign > 0)) for axis, sign in io_orientation(affine)]


def _across(spacing: tuple[float, ...], body: list[int]) -> int:
    """The axis that slices are stacked along."""
    *_, second, largest = sorted(range(3), key=lambda axis: spacing[axis])
    return largest if spacing[largest] >= THICK * spacing[second] else body.index(2)


def _slice(
    shape: tuple[int, ...], axis: int, labels: np.ndarray | None, *, backwards: bool
) -> tuple[tuple[int, int], str]:
    """The slice that is shown, and why; of equal ones the first, counted from the end where `backwards`."""
    place, why = shape[axis] // 2, ", the middle slice"
    if labels is not None and (labels > 0).any():
        counts = (labels > 0).sum(axis=tuple(number for number in range(3) if number != axis))
        place, why = int(np.argmax(counts[::-1] if backwards else counts)), ", the slice with most of the labels"
    place = shape[axis] - 1 - place if backwards else place
    return (axis, place), why


def class_colours(count: int) -> dict[int, str]:
    """Colours "#RRGGBB" of the classes 0 (black) to `count`; they repeat after eight."""
    return {0: "#000000"} | {
        number: CLASS_COLOURS[(number - 1) % len(CLASS_COLOURS)] for number in range(1, max(1, count) + 1)
    }


def grey(plane: np.ndarray, *, limits: tuple[float, float] | None = None) -> np.ndarray:
    """A plane of numbers as uint8.

    Args:
        plane: (H, W) or (H, W, 3).
        limits: the values that become black and white; unless said, uint8 stays as it is and everything else
            runs from its 0.5th to its 99.5th percentile. What is not finite becomes black.
    """
    if limits is None and plane.dtype == np.uint8:
        return plane
    if limits is None:
        values = plane.astype(np.float64)
        finite = np.isfinite(values)
        low, high = np.percentile(values[finite], (0.5, 99.5)) if finite.any() else (0.0, 1.0)
        if high <= low:  # nearly everything has one value
            low, high = (values[finite].min(), values[finite].max()) if finite.any() else (0.0, 1.0)
    else:
        low, high = limits
    if plane.dtype in (np.int16, np.uint16) and plane.dtype.isnative and plane.size > 1 << 16:
        table = grey(np.arange(1 << 16, dtype=np.uint16).view(plane.dtype), limits=(low, high))  # of all its values
        return np.asarray(table[plane.view(np.uint16)], np.uint8)
    found = np.empty(plane.shape, np.uint8)
    whole = plane.ndim < 3
    for part, written in zip([plane] if whole else plane, [found] if whole else found, strict=True):  # piece by piece
        values = part.astype(np.float64)
        values[~np.isfinite(values)] = low
        values -= low
        values /= high - low if high > low else 1.0
        np.clip(values, 0.0, 1.0, out=values)
        values *= 255.0
        written[...] = np.rint(values, out=values)
    return found


def outline(region: np.ndarray) -> np.ndarray:
    """The pixels of a region (H, W) bool that have a neighbour outside it; the picture's border is no outside."""
    padded = np.pad(region, 1, mode="edge")
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return region & ~inner


def resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture (H, W[, C]) uint8 of (width, height) `size`: means where it shrinks, interpolated where it grows."""
    smaller = size[0] < picture.shape[1] or size[1] < picture.shape[0]
    way = Image.Resampling.BOX if smaller else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).resize(size, way))


def outlined(image: np.ndarray | None, layers: Sequence[np.ndarray], view: View, *, longest: int) -> np.ndarray:
    """A picture (H, W, 3) uint8 of an image, with the outline of each class in its colour.

    Args:
        image: (C, *S), of which three channels of 8 bits are colours, and else the first is shown; None: black.
        layers: where each class is: (*S) bool.
        longest: pixels of its longer side.
    """
    if image is None:
        plane = np.zeros(view(layers[0]).shape, np.uint8)
    elif len(image) == 3 and image.dtype == np.uint8:
        plane = view(np.moveaxis(image, 0, -1))
    else:
        plane = grey(view(image[0]))
    size = view.size(plane, longest)
    small = resized(plane, size)
    pixels = np.array(small if small.ndim == 3 else np.repeat(small[..., None], 3, axis=2))
    colours = class_colours(len(layers))
    for number, layer in enumerate(layers, start=1):
        # the share of the class in every pixel of the picture; its outline is where more than half meets less
        inside = resized(np.where(view(layer), np.uint8(255), np.uint8(0)), size) >= 128
        pixels[outline(inside)] = list(bytes.fromhex(colours[number][1:]))
    return lettered(pixels, view.marks)


def lettered(picture: np.ndarray, marks: Marks | None) -> np.ndarray:
    """A copy of a picture (H, W, 3) uint8 with its letters at the borders."""
    if marks is None:
        return picture
    image = Image.fromarray(np.ascontiguousarray(picture))
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(12)
    width, height = image.size
    for letter, place, anchor in (
        (marks.left, (3, height // 2), "lm"),
        (marks.right, (width - 4, height // 2), "rm"),
        (marks.top, (width // 2, 3), "mt"),
        (marks.bottom, (width // 2, height - 4), "mb"),
    ):
        pen.text(place, letter, fill="white", anchor=anchor, font=font, stroke_width=1, stroke_fill="black")
    return np.asarray(image)
