"""VGG Image Annotator, versions 1 and 2: JSON or CSV with the regions of all images (Dutta and Zisserman, 2019)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from scantling.data.annotations.shapes import (
    AnnotatedImage,
    Annotations,
    Object,
    Polygon,
    ellipse,
    numbers,
    ring,
)

CLASS_KEYS = ("class", "label", "type", "name", "category", "object")
"""What the attribute that names the class may be called; else it is the first one."""
UNCLASSIFIED = "object"
COLUMNS = ("filename", "region_shape_attributes", "region_attributes")


def is_via(content: Any) -> bool:
    """Whether a JSON document is a project or an export of VIA."""
    if not isinstance(content, dict):
        return False
    entries = list(content.get("_via_img_metadata", content).values())[:9]
    return bool(entries) and all(isinstance(one, dict) and {"filename", "regions"} <= one.keys() for one in entries)


def parse(content: Mapping[str, Any]) -> Annotations:
    """The images and regions of a JSON file of VIA: polygons, circles and ellipses, rectangles as boxes, points.

    Raises:
        ValueError: a region makes no sense.
    """
    entries = content.get("_via_img_metadata", content).values()
    listed = (entry["regions"] for entry in entries)
    regions = [list(found.values()) if isinstance(found, Mapping) else list(found) for found in listed]
    pairs = [(one["shape_attributes"], one.get("region_attributes") or {}) for found in regions for one in found]
    following = iter(pairs)
    return _annotations(
        (str(entry["filename"]), [next(following) for _ in found])
        for entry, found in zip(entries, regions, strict=True)
    )


def parse_table(rows: Iterable[Mapping[str, str]]) -> Annotations:
    """The same of the rows of a CSV file of VIA.

    Raises:
        ValueError: a region makes no sense.
    """
    found: dict[str, list[tuple[Any, Any]]] = {}
    for row in rows:
        shape = json.loads(row["region_shape_attributes"] or "{}")
        found.setdefault(row["filename"], [])
        if shape:
            found[row["filename"]].append((shape, json.loads(row["region_attributes"] or "{}")))
    return _annotations(found.items())


def _annotations(found: Iterable[tuple[str, list[tuple[Any, Any]]]]) -> Annotations:
    left_out: Counter[str] = Counter()
    images = []
    for name, regions in found:
        objects = []
        for number, (shape, attributes) in enumerate(regions, start=1):
            kind = str(shape.get("name"))
            try:
                one = _object(shape, kind, _class_of(attributes))
            except (ValueError, TypeError, KeyError) as error:
                raise ValueError(f"image {name!r}, region {number} ({kind}): {error}") from None
            if one is None:
                left_out[kind] += 1
            else:
                objects.append(one)
        images.append(AnnotatedImage(name, None, tuple(objects)))
    classes = dict.fromkeys(one.label for image in images for one in image.objects)
    return Annotations("VIA", tuple(classes), tuple(images), left_out)


def _class_of(attributes: Mapping[str, Any]) -> str:
    lower = {key.lower(): value for key, value in attributes.items()}
    value = next((lower[key] for key in CLASS_KEYS if key in lower), next(iter(lower.values()), ""))
    if isinstance(value, Mapping):  # a checkbox
        value = "+".join(str(key) for key, ticked in value.items() if ticked)
    return str(value).strip() or UNCLASSIFIED


def _object(shape: Mapping[str, Any], kind: str, label: str) -> Object | None:
    if kind == "polygon":
        corners = ring(list(zip(shape["all_points_x"], shape["all_points_y"], strict=True)))
        return Object(label, (Polygon((corners,)),)) if corners is not None else None
    if kind == "circle":
        return Object(label, (ellipse((shape["cx"], shape["cy"]), (shape["r"], shape["r"])),))
    if kind == "ellipse":
        turned = float(shape.get("theta") or 0) * 180 / 3.141592653589793
        return Object(label, (ellipse((shape["cx"], shape["cy"]), (shape["rx"], shape["ry"]), turned=turned),))
    if kind == "rect":
        left, top, width, height = numbers([shape[key] for key in ("x", "y", "width", "height")]).tolist()
        return Object(label, box=(left, top, left + width, top + height)) if width > 0 and height > 0 else None
    if kind == "point":
        x, y = numbers([shape["cx"], shape["cy"]]).tolist()
        return Object(label, point=(x, y))
    return None
