"""QuPath: one GeoJSON file (RFC 7946) for each image, its objects with the names of their classifications."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from scantling.data.annotations.shapes import AnnotatedImage, Annotations, Object, Polygon, numbers, ring

UNCLASSIFIED = "object"
IGNORED = "Ignore*"
"""QuPath's class of what is not to count; other names that end in a star are no classes to it ("Region*")."""


def is_qupath(content: Any) -> bool:
    """Whether a JSON document is GeoJSON of features."""
    if isinstance(content, list):
        return bool(content) and all(isinstance(one, dict) and one.get("type") == "Feature" for one in content)
    return isinstance(content, dict) and content.get("type") in ("FeatureCollection", "Feature")


def parse(content: Any) -> Annotations:
    """The objects of a GeoJSON file; which image they were drawn on stands in its name alone.

    Raises:
        ValueError: a geometry makes no sense.
    """
    features = content if isinstance(content, list) else content.get("features", [content])
    left_out: Counter[str] = Counter()
    objects: list[Object] = []
    for number, feature in enumerate(features, start=1):
        label = _class_of(feature.get("properties") or {})
        if label.endswith("*") and label != IGNORED:
            left_out[f"object of {label!r}"] += 1
            continue
        geometry = feature.get("geometry") or {}
        try:
            found = _objects(geometry, label)
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"feature {number}: {error}") from None
        if not found:
            left_out[str(geometry.get("type") or "feature without a geometry")] += 1
        objects += found
    classes = dict.fromkeys(one.label for one in objects if not one.unknown)
    return Annotations("QuPath", tuple(classes), (AnnotatedImage("", None, tuple(objects)),), left_out)


def _class_of(properties: Mapping[str, Any]) -> str:
    found = properties.get("classification") or {}
    if isinstance(found, Mapping):
        found = found.get("name") or ": ".join(map(str, found.get("names") or ()))
    return str(found) or UNCLASSIFIED


def _objects(geometry: Mapping[str, Any], label: str) -> list[Object]:
    kind, places = geometry.get("type"), geometry.get("coordinates")
    if kind in ("Point", "MultiPoint"):
        points = numbers(places).reshape(-1, 2).tolist()
        return [Object(label, point=(x, y), unknown=label == IGNORED) for x, y in points]
    if kind not in ("Polygon", "MultiPolygon") or not places:
        return []
    areas = []
    for polygon in [places] if kind == "Polygon" else places:
        rings = [found for corners in polygon if (found := ring(corners)) is not None]
        areas += [Polygon(tuple(rings))] if rings else []
    return [Object(label, tuple(areas), unknown=label == IGNORED)] if areas else []
