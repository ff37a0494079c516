"""LabelMe: one JSON file for each image, with its shapes."""

from __future__ import annotations

import base64
import io
import math
from collections import Counter
from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
from PIL import Image

from scantling.data.annotations.shapes import (
    MOST_PIXELS,
    AnnotatedImage,
    Annotations,
    Object,
    Polygon,
    Runs,
    ellipse,
    numbers,
    ring,
    runs,
)

MOST_CHANGES = 1 << 24
"""How often a mask may change between inside and outside, row by row."""
MOST_MASKED = 1 << 33
"""Pixels of all masks of a file together."""


def is_labelme(content: Any) -> bool:
    """Whether a JSON document is a LabelMe file."""
    named = isinstance(content, dict) and ("imagePath" in content or "imageHeight" in content)
    return named and isinstance(content.get("shapes"), list)


def parse(content: Mapping[str, Any]) -> Annotations:
    """The image and the shapes of a LabelMe file: polygons, circles and masks, rectangles as boxes, points.

    Raises:
        ValueError: a shape makes no sense.
    """
    left_out: Counter[str] = Counter()
    objects = []
    masked = 0
    for number, shape in enumerate(content["shapes"], start=1):
        kind = str(shape.get("shape_type") or "polygon")
        try:
            found = _object(shape, kind)
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"shape {number} ({kind}): {error}") from None
        if found is None:
            left_out[kind] += 1
        else:
            objects.append(found)
            masked += sum(prod(area.shape) for area in found.areas if isinstance(area, Runs))
            if masked > MOST_MASKED:
                raise ValueError(f"its masks have more than {MOST_MASKED:,} pixels")
    height, width = int(content.get("imageHeight") or 0), int(content.get("imageWidth") or 0)
    size = (height, width) if height > 0 and width > 0 else None
    image = AnnotatedImage(str(content.get("imagePath") or ""), size, tuple(objects))
    return Annotations("LabelMe", tuple(dict.fromkeys(one.label for one in objects)), (image,), left_out)


def _object(shape: Mapping[str, Any], kind: str) -> Object | None:
    label, points = str(shape["label"]), numbers(shape["points"]).reshape(-1, 2)
    if kind == "polygon" and (corners := ring(points)) is not None:
        return Object(label, (Polygon((corners,)),))
    if kind == "circle" and len(points) == 2 and (radius := math.dist(points[0], points[1])) > 0:
        return Object(label, (ellipse(points[0], (radius, radius)),))
    if kind == "rectangle" and len(points) > 1:
        (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        return Object(label, box=(left, top, right, bottom)) if right > left and bottom > top else None
    if kind == "point" and len(points) == 1:
        return Object(label, point=(float(points[0, 0]), float(points[0, 1])))
    if kind == "mask" and len(points) == 2:
        left, top, right, bottom = points.astype(int).ravel().tolist()
        return Object(label, (_mask(str(shape["mask"]), (top, left), (bottom - top + 1, right - left + 1)),))
    return None


def _mask(text: str, corner: tuple[int, int], shape: tuple[int, int]) -> Runs:
    """The area that a PNG in base 64 covers where it is not 0."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=["PNG"]) as picture:
            if picture.size != shape[::-1] or prod(shape) > MOST_PIXELS:
                raise ValueError(f"its mask is {picture.size} and its corners {shape[::-1]} pixels apart")
            inside = np.asarray(picture.convert("L")).ravel() > 0
    except OSError as error:
        raise ValueError(f"its mask is no PNG ({error})") from None
    changes = inside[1:] != inside[:-1]
    if (times := np.count_nonzero(changes)) > MOST_CHANGES:
        raise ValueError(
            f"its mask changes {times:,} times between inside and outside; at most {MOST_CHANGES:,} are read"
        )
    lengths = np.diff(np.flatnonzero(changes) + 1, prepend=[0] * (1 + bool(inside[0])), append=inside.size)
    return runs(lengths, shape, corner=corner, by_columns=False)
