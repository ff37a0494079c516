"""CVAT for images 1.1: one XML file with all images and their shapes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from xml.etree.ElementTree import Element

from scantling.data.annotations.elements import elements
from scantling.data.annotations.shapes import (
    AnnotatedImage,
    Annotations,
    Object,
    Polygon,
    ellipse,
    numbers,
    ring,
    runs,
)


def parse(content: bytes) -> Annotations:
    """The images and objects of a CVAT file: polygons, ellipses and masks, boxes, points.

    Raises:
        ValueError: it is no such file, or a shape makes no sense.
    """
    classes: dict[str, None] = {}
    images: list[AnnotatedImage] = []
    left_out: Counter[str] = Counter()
    for depth, element in elements(content, tool="CVAT"):
        if depth == 1 and element.tag != "annotations":
            raise ValueError(f"its first element is <{element.tag[:40]}>, not <annotations>")
        if element.tag == "label" and depth > 3 and (name := element.findtext("name")):
            classes[name] = None
        if element.tag == "track" and depth == 2:
            raise ValueError("it is of CVAT for video; export it as CVAT for images 1.1")
        if element.tag == "image" and depth == 2:
            images.append(_image(element, left_out))
            element.clear()
    drawn = {one.label: None for image in images for one in image.objects}
    return Annotations("CVAT", tuple(classes | drawn), tuple(images), left_out)


def _image(element: Element, left_out: Counter[str]) -> AnnotatedImage:
    objects: list[tuple[int, Object]] = []
    name = element.attrib["name"]
    for shape in element:
        try:
            found = list(_objects(shape))
        except (ValueError, KeyError) as error:
            raise ValueError(f"image {name!r}, {shape.tag}: {error}") from None
        if not found and shape.tag != "tag":
            left_out[shape.tag] += 1
        objects += [(int(shape.get("z_order") or 0), one) for one in found]
    objects.sort(key=lambda pair: pair[0])
    size = (int(element.attrib["height"]), int(element.attrib["width"]))
    return AnnotatedImage(name, size, tuple(one for _, one in objects))


def _objects(shape: Element) -> Iterator[Object]:
    label = shape.get("label", "")
    if shape.tag == "polygon" and (corners := ring(_points(shape))) is not None:
        yield Object(label, (Polygon((corners,)),))
    elif shape.tag == "box":
        yield from _boxed(shape, label)
    elif shape.tag == "ellipse":
        centre, radii = (_floats(shape, names) for names in (("cx", "cy"), ("rx", "ry")))
        yield Object(label, (ellipse(centre, radii, turned=float(shape.get("rotation") or 0)),))
    elif shape.tag == "mask":
        left, top, width, height = (int(float(shape.attrib[key])) for key in ("left", "top", "width", "height"))
        lengths = [int(part) for part in shape.attrib["rle"].split(",")]
        yield Object(label, (runs(lengths, (height, width), corner=(top, left), by_columns=False),))
    elif shape.tag == "points":
        yield from (Object(label, point=(x, y)) for x, y in numbers(_points(shape)).tolist())


def _boxed(shape: Element, label: str) -> Iterator[Object]:
    left, top, right, bottom = numbers(_floats(shape, ("xtl", "ytl", "xbr", "ybr"))).tolist()
    if right <= left or bottom <= top:
        return
    turned = float(shape.get("rotation") or 0)
    if not turned:
        yield Object(label, box=(left, top, right, bottom))
        return
    import numpy as np

    middle, turn = np.array([(left + right) / 2, (top + bottom) / 2]), np.deg2rad(turned)
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]]) - middle
    matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    yield Object(label, (Polygon((numbers(corners @ matrix + middle),)),))


def _points(shape: Element) -> list[list[float]]:
    return [[float(part) for part in pair.split(",")] for pair in shape.attrib["points"].split(";") if pair]


def _floats(shape: Element, names: tuple[str, ...]) -> list[float]:
    return [float(shape.attrib[name]) for name in names]
