"""Objects as other programs read them: GeoJSON of QuPath, and COCO."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]
Ring = list[tuple[int, int]]


@dataclass(frozen=True)
class Drawn:
    """An object of a picture.

    Attributes:
        label: its class.
        score: None where it has none.
        corner: (row, column) where `mask` starts.
        mask: (H, W) bool, cut to where it is.
    """

    label: str
    score: float | None
    corner: tuple[int, int]
    mask: Mask


def polygons(mask: Mask) -> list[list[Ring]]:
    """The areas of a mask (H, W) whose pixels hang together across sides, each as its outer ring and its holes.

    Rings follow the sides of the pixels, so that they hold exactly the centres of the pixels of the mask; they are
    closed, (x, y), x along the columns.
    """
    pieces, count = ndimage.label(mask)
    return [_rings(pieces == number) for number in range(1, count + 1)]


def _rings(piece: Mask) -> list[Ring]:
    """The rings of one area, the outer one first: sides of pixels, each with its pixel on the right, chained."""
    inside = np.pad(piece, 1)
    after: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    own = inside[1:-1, 1:-1]
    for free, start, stop in (
        (~inside[:-2, 1:-1], (0, 0), (1, 0)),
        (~inside[1:-1, 2:], (1, 0), (1, 1)),
        (~inside[2:, 1:-1], (1, 1), (0, 1)),
        (~inside[1:-1, :-2], (0, 1), (0, 0)),
    ):
        for row, column in np.argwhere(own & free).tolist():
            after[column + start[0], row + start[1]].append((column + stop[0], row + stop[1]))
    rings = []
    while after:
        path = [next(iter(after))]
        at = {path[0]: 0}
        while path[-1] in after:
            place = path[-1]
            step = after[place].pop()
            if not after[place]:
                del after[place]
            path.append(step)
            if step in at:  # a ring that touches itself at a corner is two
                begun = at[step]
                rings.append(_straight(path[begun:]))
                for left in path[begun + 1 : -1]:
                    del at[left]
                del path[begun + 1 :]
            else:
                at[step] = len(path) - 1
    return sorted(rings, key=lambda ring: -_area(ring))


def _straight(ring: Ring) -> Ring:
    """A closed ring without the corners that lie on a straight side."""
    corners = ring[:-1]
    kept = [
        here
        for before, here, beyond in zip([corners[-1], *corners[:-1]], corners, [*corners[1:], corners[0]], strict=True)
        if (here[0] - before[0]) * (beyond[1] - here[1]) != (here[1] - before[1]) * (beyond[0] - here[0])
    ]
    return [*kept, kept[0]]


def _area(ring: Ring) -> int:
    """Twice the area, positive of an outer ring."""
    return sum(x * next_y - next_x * y for (x, y), (next_x, next_y) in pairwise(ring))


def feature(drawn: Drawn) -> dict[str, Any]:
    """An object as a GeoJSON feature (RFC 7946) that QuPath imports as a detection; its score as a measurement."""
    areas = [
        [[[x + drawn.corner[1], y + drawn.corner[0]] for x, y in ring] for ring in rings]
        for rings in polygons(drawn.mask)
    ]
    single = len(areas) == 1
    properties: dict[str, Any] = {"objectType": "detection", "classification": {"name": drawn.label}}
    if drawn.score is not None:
        properties["measurements"] = {"score": drawn.score}
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon" if single else "MultiPolygon", "coordinates": areas[0] if single else areas},
        "properties": properties,
    }


def annotation(drawn: Drawn, *, id: int, image: int, category: int, shape: tuple[int, int]) -> dict[str, Any]:
    """An object as COCO has it: its pixels as uncompressed run lengths by columns, [x, y, width, height], its area.

    Args:
        id, image, category: the numbers of the object, of its image and of its class.
        shape: of the image.
    """
    rows, columns = np.nonzero(drawn.mask)
    places = np.sort((columns + drawn.corner[1]) * shape[0] + rows + drawn.corner[0])
    starts = places[np.diff(places, prepend=-2) > 1]
    stops = places[np.diff(places, append=shape[0] * shape[1] + 1) > 1] + 1
    ends = np.stack([starts, stops], axis=1).ravel()
    counts = np.diff(np.concatenate([[0], ends, [shape[0] * shape[1]]]))
    height, width = drawn.mask.shape
    scored = {} if drawn.score is None else {"score": drawn.score}
    return {
        "id": id,
        "image_id": image,
        "category_id": category,
        "iscrowd": 0,
        "area": int(places.size),
        "bbox": [drawn.corner[1], drawn.corner[0], width, height],
        "segmentation": {"size": list(shape), "counts": counts.tolist()},
        **scored,
    }


def of_map(numbers: NDArray[np.integer], labels: Sequence[str], scores: NDArray[np.floating] | None) -> list[Drawn]:
    """The objects of an instance map (H, W) in the order of their numbers.

    Args:
        labels: by number, the first of background.
        scores: by number; None without.
    """
    found = []
    for number, box in enumerate(ndimage.find_objects(numbers.astype(np.int32)), start=1):
        if box is not None:
            score = None if scores is None else round(float(scores[number]), 6)
            corner = (int(box[0].start), int(box[1].start))
            found.append(Drawn(labels[number], score, corner, np.asarray(numbers[box] == number)))
    return found
