"""COCO: images, objects and categories in one JSON file (Lin et al., ECCV 2014; the format of its "data" page)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from scantling.data.annotations.shapes import AnnotatedImage, Annotations, Object, Polygon, Runs, numbers, ring, runs


def is_coco(content: Any) -> bool:
    """Whether a JSON document is a COCO file of objects."""
    return isinstance(content, dict) and all(isinstance(content.get(key), list) for key in ("images", "annotations"))


def parse(content: Mapping[str, Any]) -> Annotations:
    """The images and objects of a COCO file.

    An object with `iscrowd` is one object like the others: many tools write it with all run lengths.

    Raises:
        ValueError: an object is of a category that is not listed, or its shape makes no sense.
    """
    categories = {entry["id"]: str(entry["name"]) for entry in content.get("categories", ())}
    shapes = {entry["id"]: _shape(entry) for entry in content["images"]}
    objects: dict[Any, list[Object]] = {id: [] for id in shapes}
    left_out: Counter[str] = Counter()
    for entry in content["annotations"]:
        if entry["category_id"] not in categories:
            listed = ", ".join(map(str, list(categories)[:9])) or "none"
            raise ValueError(
                f"annotation {entry.get('id')} is of category {entry['category_id']}, and the categories are {listed}"
            )
        if entry["image_id"] not in objects:
            left_out["annotation of an image that is not listed"] += 1
            continue
        try:
            found = _object(entry, categories[entry["category_id"]], shapes[entry["image_id"]])
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"annotation {entry.get('id')}: {error}") from None
        if found is None:
            left_out["annotation without an area"] += 1
        else:
            objects[entry["image_id"]].append(found)
    images = tuple(
        AnnotatedImage(str(entry["file_name"]), shapes[entry["id"]], tuple(objects[entry["id"]]))
        for entry in content["images"]
    )
    return Annotations("COCO", tuple(dict.fromkeys(categories.values())), images, left_out)


def _shape(entry: Mapping[str, Any]) -> tuple[int, int] | None:
    height, width = int(entry.get("height") or 0), int(entry.get("width") or 0)
    return (height, width) if height > 0 and width > 0 else None


def _object(entry: Mapping[str, Any], label: str, shape: tuple[int, int] | None) -> Object | None:
    drawn = entry.get("segmentation")
    if isinstance(drawn, dict):
        if shape is not None and list(drawn["size"]) != list(shape):
            raise ValueError(f"its run lengths are of {drawn['size']} pixels and its image of {list(shape)}")
        counts = drawn["counts"]
        lengths = uncompressed(counts) if isinstance(counts, str) else counts
        return Object(label, (runs(lengths, drawn["size"], by_columns=True),))
    if drawn:
        flat = [drawn] if isinstance(drawn[0], int | float) else drawn
        rings = [found for points in flat if (found := ring(points)) is not None]
        areas: tuple[Polygon | Runs, ...] = tuple(Polygon((found,)) for found in rings)
        return Object(label, areas) if areas else None
    if entry.get("bbox"):
        left, top, width, height = numbers(entry["bbox"]).tolist()
        return Object(label, box=(left, top, left + width, top + height)) if width > 0 and height > 0 else None
    return None


def uncompressed(text: str) -> Sequence[int]:
    """The run lengths in the text of a compressed segmentation.

    Groups of five bits, the lowest first, each as a character from "0" on; the sixth bit says that another follows.
    From the fourth on, a number is the difference to the last but one (`rleFrString` in COCO's maskApi.c).

    Raises:
        ValueError: it is no such text.
    """
    lengths: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError(f"the run lengths hold the character {character!r}, which compressed ones do not")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) and 1 << shift
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("the run lengths end in the middle of a number")
    return lengths
