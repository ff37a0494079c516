"""Contours of masks as a transparent picture: the truth as solid lines, the mask as dashed ones, a colour a class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw
from skimage.measure import find_contours

from scantling.data.pictures import View, outline

RIM = (0, 0, 0, 190)
"""Around a line, so that it tells on bright and on dark images."""
DASH, GAP = 12.0, 9.0
"""Pixels of a dashed line that are drawn and left out."""
WIDTH = 3
CROWDED = 30_000
"""Pixels of an outline above which lines would only hide each other: each of its pixels is painted then."""


def contours(
    sides: Sequence[tuple[Sequence[np.ndarray], bool]], colours: Mapping[int, str], view: View, *, longest: int
) -> np.ndarray:
    """Lines around masks as (h, w, 4) uint8, with square pixels.

    Args:
        sides: for the truth and for the mask a plane (H, W) bool of each class, and whether its lines are dashed.
        colours: "#RRGGBB" of the classes from 1 on.
        longest: pixels of the longer side.
    """
    size = view.size(sides[0][0][0], longest)
    picture = Image.new("RGBA", size)
    pen = ImageDraw.Draw(picture)
    for layers, dashed in sides:
        for number, layer in enumerate(layers, start=1):
            scale = np.array(size[::-1]) / layer.shape
            if int(outline(layer).sum()) > CROWDED:
                _paint(picture, outline(layer), colours[number])
                continue
            for loop in find_contours(np.pad(layer.astype(np.float32), 1), 0.5):
                line = (loop - 0.5) * scale  # the centre of the first pixel lies half a pixel from the border
                for part in _dashes(line) if dashed else [line]:
                    points = [(float(x), float(y)) for y, x in part]
                    pen.line(points, fill=RIM, width=2 * WIDTH)
                    pen.line(points, fill=(*bytes.fromhex(colours[number][1:]), 255), width=WIDTH)
    return np.asarray(picture)


def _paint(picture: Image.Image, edge: np.ndarray, colour: str) -> None:
    """Paint the pixels of an outline (H, W) on a picture of another size."""
    inside = Image.fromarray(edge.astype(np.uint8) * 255).resize(picture.size, Image.Resampling.NEAREST)
    picture.paste((*bytes.fromhex(colour[1:]), 255), mask=inside)


def _dashes(line: np.ndarray) -> list[np.ndarray]:
    """The parts of a line (N, 2) that are drawn."""
    lengths = np.hypot(*np.diff(line, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    starts = np.arange(0.0, along[-1], DASH + GAP)
    parts = []
    for start, stop in zip(starts, np.minimum(starts + DASH, along[-1]), strict=True):
        inside = along[(along > start) & (along < stop)]
        places = np.concatenate([[start], inside, [stop]])
        parts.append(np.stack([np.interp(places, along, line[:, axis]) for axis in (0, 1)], axis=1))
    return parts
