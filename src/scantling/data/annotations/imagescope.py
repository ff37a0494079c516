"""Aperio ImageScope: one XML file for each slide, its layers as classes; so are Kumar's, MoNuSeg's and MoNuSAC's."""

from __future__ import annotations

from collections import Counter
from xml.etree.ElementTree import Element

import numpy as np

from scantling.data.annotations.elements import elements
from scantling.data.annotations.shapes import (
    AnnotatedImage,
    Annotations,
    Array,
    Object,
    Polygon,
    ellipse,
    numbers,
    ring,
)

UNNAMED = "object"
"""The class of the regions of a layer without a name."""
_KINDS = {"0": "polygon", "1": "rectangle", "2": "ellipse", "3": "arrow", "4": "ruler"}


def parse(content: bytes) -> Annotations:
    """The regions of a file; which image they were drawn on stands in its name alone.

    A layer (`Annotation`) is a class: called by its name, else by the first of its attributes that is none of
    ImageScope's own. A negative region is a hole in the one that it names.

    Raises:
        ValueError: it is no such file, or a region makes no sense.
    """
    left_out: Counter[str] = Counter()
    layers: list[tuple[str, list[Object]]] = []
    regions: dict[str, tuple[Array, ...]] = {}
    holes: list[tuple[str, Array]] = []
    for depth, element in elements(content, tool="ImageScope"):
        if depth == 1 and element.tag != "Annotations":
            raise ValueError(f"its first element is <{element.tag[:40]}>, not <Annotations>")
        if element.tag == "Region" and depth == 4:
            _region(element, regions, holes, left_out)
            element.clear()
        elif element.tag == "Annotation" and depth == 2:
            for parent, corners in holes:
                if parent in regions:
                    regions[parent] = (*regions[parent], corners)
                else:
                    left_out["negative region"] += 1
            layers.append((_name(element), [Object("", (Polygon(rings),)) for rings in regions.values()]))
            regions, holes = {}, []
            element.clear()
    named = _named(layers)
    objects = tuple(Object(label, one.areas) for label, found in named for one in found)
    classes = tuple(dict.fromkeys(one.label for one in objects))
    return Annotations("ImageScope", classes, (AnnotatedImage("", None, objects),), left_out)


def _named(layers: list[tuple[str, list[Object]]]) -> list[tuple[str, list[Object]]]:
    """The layers that hold regions; where several have no name, by their place ("layer-2")."""
    several = sum(bool(found) and not name for name, found in layers) > 1
    return [
        (name or (f"layer-{place}" if several else UNNAMED), found)
        for place, (name, found) in enumerate(layers, start=1)
        if found
    ]


def _name(layer: Element) -> str:
    attributes = [(one.get("Name", ""), one.get("Value", "")) for one in layer.findall("Attributes/Attribute")]
    named = [name for name, _ in attributes if name and name != "Description"]
    described = [value for name, value in attributes if name == "Description" and value]
    return (layer.get("Name") or next(iter([*named, *described]), "")).strip()


def _region(
    region: Element, regions: dict[str, tuple[Array, ...]], holes: list[tuple[str, Array]], left_out: Counter[str]
) -> None:
    """Add a region to those of its layer, or to the holes in them."""
    id = region.get("Id", "")
    try:
        points = numbers([[float(one.attrib[key]) for key in ("X", "Y")] for one in region.findall("Vertices/Vertex")])
        kind = _KINDS.get(region.get("Type", "0"), "region of another kind")
        corners = _corners(points, kind)
    except (ValueError, KeyError) as error:
        raise ValueError(f"region {id or len(regions) + 1}: {error}") from None
    if corners is None:
        left_out[kind] += 1
    elif region.get("NegativeROA") == "1":
        holes.append((region.get("InputRegionId", ""), corners))
    else:
        regions[id if id and id not in regions else f"{id} {len(regions)}"] = (corners,)


def _corners(points: Array, kind: str) -> Array | None:
    """A closed line (N, 2); None where a region of this kind encloses nothing."""
    if kind in ("rectangle", "ellipse") and len(points) > 1:
        low, high = points.min(axis=0), points.max(axis=0)
        if not (high > low).all():
            return None
        if kind == "ellipse":
            return ellipse(((low + high) / 2).tolist(), ((high - low) / 2).tolist()).rings[0]
        return np.array([low, (high[0], low[1]), high, (low[0], high[1])])
    return ring(points) if kind in ("polygon", "rectangle") and len(points) else None
