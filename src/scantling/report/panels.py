"""Panels for a paper: a case at the resolution of its file, with contours or errors and a bar that tells the scale."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from scantling.core.case import Unit
from scantling.data.pictures import View, grey, lettered, resized

LEAST = 400
"""Pixels of the longer side; smaller pictures are enlarged by a whole number, each pixel to a block."""
SHARE = 0.3
"""Of the width that the bar takes at most."""
Polyline = np.ndarray


def canvas_of(plane: np.ndarray, view: View, *, most: int | None = None) -> tuple[np.ndarray, tuple[float, float]]:
    """A plane (H, W[, 3]) of numbers as a picture (h, w, 3) uint8 with square pixels, and its pixels by row and column.

    Pixels stay as they are; where their sides differ, the longer one is interpolated, and a small picture is enlarged.

    Args:
        most: pixels of the longer side, to which a larger picture is shrunk.
    """
    shown = grey(plane)
    picture = np.repeat(shown[..., None], 3, axis=2) if shown.ndim == 2 else shown[..., :3]
    high, wide = picture.shape[:2]
    small = min(view.pixel)
    sides: tuple[int, ...] = round(high * view.pixel[0] / small), round(wide * view.pixel[1] / small)
    if most is not None and max(sides) > most:
        sides = tuple(max(1, round(side * most / max(sides))) for side in sides)
        times = 1
    else:
        times = max(1, math.ceil(min(LEAST, most or LEAST) / max(sides)))
    picture = np.repeat(np.repeat(resized(picture, (sides[1], sides[0])), times, axis=0), times, axis=1)
    return picture, (picture.shape[0] / high, picture.shape[1] / wide)


def contours(mask: np.ndarray) -> list[Polyline]:
    """The borders of a mask (H, W) bool as polylines (n, 2) of row and column; a pixel's centre is at its index."""
    from skimage.measure import find_contours

    if not mask.any():
        return []
    return [np.asarray(line) - 1 for line in find_contours(np.pad(mask, 1).astype(np.float32), 0.5)]


def outlined(
    picture: np.ndarray,
    layers: Sequence[tuple[np.ndarray, str]],
    scale: tuple[float, float],
    *,
    dashed: bool = False,
) -> np.ndarray:
    """A picture with the contours of masks.

    Args:
        picture: (h, w, 3) uint8.
        layers: masks (H, W) bool with their colours "#RRGGBB".
        scale: pixels of the picture for one of the masks, by row and column.
        dashed: whether the lines are broken.
    """
    image = Image.fromarray(np.ascontiguousarray(picture))
    pen, thick = ImageDraw.Draw(image), max(2, round(max(picture.shape[:2]) / 250))
    for mask, colour in layers:
        for line in contours(mask):
            places = (line + 0.5) * scale - 0.5
            for part in _dashes(places, 4.0 * thick) if dashed else [places]:
                points = [(float(column), float(row)) for row, column in part]
                pen.line(points, fill="#000000", width=thick + 2, joint="curve")
            for part in _dashes(places, 4.0 * thick) if dashed else [places]:
                pen.line([(float(column), float(row)) for row, column in part], fill=colour, width=thick, joint="curve")
    return np.asarray(image)


def _dashes(line: Polyline, length: float) -> list[Polyline]:
    """The pieces of a polyline that are drawn: as long as the gaps between them."""
    steps = np.linalg.norm(np.diff(line, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    pieces = []
    for start in np.arange(0.0, along[-1], 2 * length):
        stop = min(start + length, along[-1])
        at = np.concatenate([[start], along[(along > start) & (along < stop)], [stop]])
        pieces.append(np.stack([np.interp(at, along, line[:, axis]) for axis in (0, 1)], axis=1))
    return pieces


def round_length(most: float) -> float:
    """The longest of 1, 2 or 5 times a power of ten that is no longer than `most`."""
    power = 10.0 ** math.floor(math.log10(most))
    return next(factor * power for factor in (5, 2, 1) if factor * power <= most * (1 + 1e-9))


def scaled(picture: np.ndarray, view: View, scale: tuple[float, float], unit: Unit) -> np.ndarray:
    """A picture with its letters and a bar of a round length: in mm where the file says it, else in pixels.

    Args:
        scale: pixels of the picture for one of the file, by row and column.
    """
    image = Image.fromarray(np.ascontiguousarray(lettered(picture, view.marks)))
    high, wide = picture.shape[:2]
    one = scale[1] / (view.pixel[1] if unit == "mm" else 1.0)
    length = round_length(SHARE * wide / one)
    length = max(1.0, length) if unit == "pixel" else length
    pen, size = ImageDraw.Draw(image), max(12, round(high / 24))
    left, bottom, thick = round(wide * 0.03) + 2, high - round(high * 0.03) - 2, max(3, round(high / 120))
    stop = left + round(length * one)
    pen.rectangle((left - 1, bottom - thick - 1, stop + 1, bottom + 1), fill="#000000")
    pen.rectangle((left, bottom - thick, stop, bottom), fill="#FFFFFF")
    words = f"{length:g} {'mm' if unit == 'mm' else 'pixels' if length != 1 else 'pixel'}"
    font = ImageFont.load_default(size)
    pen.text(
        (left, bottom - thick - 4), words, fill="white", anchor="ls", font=font, stroke_width=2, stroke_fill="black"
    )
    return np.asarray(image)
