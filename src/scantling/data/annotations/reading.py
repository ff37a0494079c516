"""A file of annotations is recognised, parsed within bounds, and drawn as a label map when its address is read.

The address of a mask is `FILE#IMAGE?class=a&class=b`: the image as the file names it, then the classes that are 1, 2,
...; those of the file in its order unless said. `layer=objects` numbers the objects instead, and `image=PATH`, from
the folder of the file, is the image whose size counts where the file does not say it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np

from scantling.core.case import IGNORE
from scantling.core.errors import FileError
from scantling.data.annotations import coco, cvat, imagescope, labelme, qupath, via
from scantling.data.annotations.shapes import AnnotatedImage, Annotations, Array, Object, covered
from scantling.data.files import probe
from scantling.data.formats.common import GREY, Plan, Source, raster
from scantling.data.formats.recognised import ANNOTATIONS
from scantling.data.tables import read_table

LARGEST = 256 << 20
"""Bytes; a larger file is refused before it is read."""
MOST_CLASSES = IGNORE - 1
OBJECTS = "objects"
ONE_IMAGE = ("LabelMe", "QuPath", "ImageScope")
"""Formats with a file for each image, which is called after it."""

_SIGNS = re.compile(rb'"(annotations|categories|segmentation|shapes|imagePath|_via_\w+|FeatureCollection|Feature)"')
_START = 4096
_PARSED = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError, SyntaxError)


def annotations_in(path: Path) -> Annotations | None:
    """What a file of annotations holds; None where it is a file of another kind.

    Raises:
        FileError: it is one by its first bytes, but too large, damaged, or not as its format should be.
    """
    try:
        with path.open("rb") as file:
            start, stat = file.read(_START), os.fstat(file.fileno())
        if not _may_be(path, start):
            return None
        if stat.st_size > LARGEST:
            if not _SIGNS.search(start) and path.suffix.lower() in (".json", ".geojson"):
                return None
            raise FileError(
                path,
                f"the annotations have {stat.st_size:,} bytes",
                expected=f"at most {LARGEST:,}",
                remedy="divide the file, or export it without the data of the images",
            )
        return _parsed(path, stat.st_mtime_ns, stat.st_size)
    except OSError as error:
        raise FileError(path, f"the file cannot be read ({error.strerror})", remedy="check the file") from None


def _may_be(path: Path, start: bytes) -> bool:
    kind = path.suffix.lower()
    if kind == ".csv":
        return all(column.encode() in start.partition(b"\n")[0] for column in via.COLUMNS)
    if kind == ".xml":
        return b"<annotations" in start or b"<Annotations" in start
    return kind in ANNOTATIONS and start.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[")


@lru_cache(maxsize=4)
def _parsed(path: Path, changed: int, size: int) -> Annotations | None:
    """The annotations of a file that has not changed since; the last ones are kept, for many images stand in one."""
    del changed, size
    kind = "VIA table"
    try:
        if path.suffix.lower() == ".csv":
            return via.parse_table(read_table(path)[1])
        content = path.read_bytes()
        if path.suffix.lower() == ".xml":
            layers = b"<Annotations" in content[:_START]
            kind = "ImageScope file" if layers else "CVAT file"
            return imagescope.parse(content) if layers else cvat.parse(content)
        try:
            document = json.loads(content.decode("utf-8-sig"))
        except (ValueError, RecursionError):
            if not _SIGNS.search(content[:_START]):
                return None
            kind = "JSON"
            raise
        for name, recognised, parse in (
            ("COCO file", coco.is_coco, coco.parse),
            ("LabelMe file", labelme.is_labelme, labelme.parse),
            ("GeoJSON file", qupath.is_qupath, qupath.parse),
            ("VIA file", via.is_via, via.parse),
        ):
            if recognised(document):
                kind = name
                return parse(document)
        return None
    except _PARSED as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        what = f"the key {reason} is missing" if type(error) is KeyError else reason or type(error).__name__
        raise FileError(
            path, f"it is no {kind} as it should be ({what})", remedy="export it again from the tool that made it"
        ) from None


def member(image: str, *, classes: Sequence[str] = (), layer: str = "", size_of: str = "") -> str:
    """The member of an address, as this module's docstring says.

    Args:
        image: as the file of annotations names it.
        classes: those that are 1, 2, ...; empty: as the file has them.
        layer: "objects", or the map of classes if empty.
        size_of: the image whose size counts, if the file does not say it.
    """
    words = [("image", size_of)] * bool(size_of) + [("layer", layer)] * bool(layer)
    words += [("class", name) for name in classes]
    query = "&".join(f"{key}={_escaped(value)}" for key, value in words)
    return f"{_escaped(image)}?{query}" if query else _escaped(image)


def _escaped(name: str) -> str:
    return re.sub(r"[%#?&=]", lambda found: f"%{ord(found[0]):02X}", name)


def _unescaped(text: str) -> str:
    return re.sub(r"%([0-9A-Fa-f]{2})", lambda found: chr(int(found[1], 16)), text)


def inspect(source: Source) -> Plan:
    """The plan of the label map that an address in a file of annotations names.

    Raises:
        FileError: it is no such file, does not list the image, or nobody says how large that is.
    """
    path = source.address.path
    found = annotations_in(path)
    if found is None:
        raise source.error(
            "is no file of annotations",
            expected="COCO, LabelMe, CVAT, ImageScope, QuPath or VIA",
            remedy="correct the address",
        )
    if not source.labels:
        raise source.error(f"holds {found.format} annotations and no image", remedy="name the image itself")
    name, _, query = source.address.member.partition("?")
    parts = [part.partition("=") for part in query.split("&")]
    words = [(key, _unescaped(value)) for key, _, value in parts]
    image = _named(source, found, _unescaped(name))
    options = dict(words)
    classes = tuple(value for key, value in words if key == "class") or found.classes
    if len(classes) > MOST_CLASSES:
        raise source.error(f"has {len(classes)} classes", expected=f"at most {MOST_CLASSES}")
    place = path.parent / (options.get("image") or _unescaped(name))
    shape: tuple[int, ...] | None = image.shape
    if "image" in options or shape is None:
        if not place.is_file():
            raise source.error(
                "does not say how large the image is", expected=f"the image {place}", remedy="add '?image=PATH'"
            )
        shape = probe(place, limits=source.limits).shape
    layer = options.get("layer", "")
    header = raster(found.format, shape, GREY, np.int32 if layer == OBJECTS else np.uint8)

    def decode() -> Array:
        drawn = drawn_map(image.objects, header.shape, classes, objects_apart=layer == OBJECTS)
        if image.objects and not drawn.any() and any(one.areas and one.label in classes for one in image.objects):
            raise source.error(
                f"none of the {len(image.objects)} objects covers a pixel of {header.shape[0]} x {header.shape[1]}",
                expected="coordinates in pixels of this image",
                remedy="export them for this image, in pixels",
            )
        return drawn.astype(header.dtype)[None]

    needed = header.shape[0] * header.shape[1] * header.dtype.itemsize
    return Plan(header, decode, needed, needed)  # drawn, not unpacked: only the size of the array is to be judged


def _named(source: Source, found: Annotations, name: str) -> AnnotatedImage:
    """The image of this name: all of it, else its last part, else that without its suffix."""
    if len(found.images) == 1 and found.format in ONE_IMAGE:
        return found.images[0]
    for short in (str, _last, lambda text: PurePosixPath(_last(text)).stem):
        if same := [image for image in found.images if short(image.name) == short(name)]:
            if len({image.name for image in same}) == 1:
                return AnnotatedImage(
                    same[0].name, same[0].shape, tuple(one for image in same for one in image.objects)
                )
            raise source.error(f"lists {len(same)} images of that name", expected=f"one such as {same[0].name}")
    listed = ", ".join(image.name for image in found.images[:3])
    raise source.error(f"lists no image {name!r}", expected=f"one of its {len(found.images)}, such as {listed}")


def _last(name: str) -> str:
    return re.split(r"[/\\]", name)[-1]


def drawn_map(
    objects: Sequence[Object], shape: tuple[int, ...], classes: Sequence[str], *, objects_apart: bool = False
) -> Array:
    """(H, W) int32 of 0, the numbers of the classes from 1 and `IGNORE`; the later object lies on top.

    Unknown where an object without an area has its box, or its area is not to count; areas that count lie on top.

    Args:
        objects: those of one image.
        shape: (H, W).
        classes: the names of those that are drawn.
        objects_apart: number the objects from 1 instead.
    """
    drawn = np.zeros(shape, np.int32)
    number = {name: value for value, name in enumerate(classes, start=1)}
    size = (shape[0], shape[1])
    for one in objects:
        if one.unknown and not objects_apart:
            for area in one.areas:
                place, inside = covered(area, size)
                drawn[place][inside] = IGNORE
        elif one.box is not None and one.label in number and not objects_apart:
            left, top, right, bottom = (max(round(edge), 0) for edge in one.box)
            drawn[top:bottom, left:right] = IGNORE
    kept = [one for one in objects if one.areas and one.label in number and not one.unknown]
    for count, one in enumerate(kept, start=1):
        for area in one.areas:
            place, inside = covered(area, size)
            drawn[place][inside] = count if objects_apart else number[one.label]
    return drawn
