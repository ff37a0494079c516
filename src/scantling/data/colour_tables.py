"""Files beside the masks that name their colours or values: `classes.json`, `colormap.json`, `labelmap.txt`, …"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from scantling.data.mask_colours import colour_value

TABLES = (
    "classes.json",
    "colormap.json",
    "color_map.json",
    "colours.json",
    "colors.json",
    "labelmap.txt",
    "label_colors.txt",
    "class_dict.csv",
)
LARGEST = 65535
LONGEST = 1 << 20
"""Bytes of such a file that are read at most."""
BACKGROUND = ("background", "_background_", "__background__", "bg")
IGNORED = ("ignore", "void", "unlabeled", "unlabelled", "unknown")


def colour_of(text: object) -> int | None:
    """The value in a label map of a colour: "#ff0000", "#f00", "red", "255, 0, 0" or three numbers up to 255."""
    if isinstance(text, str):
        from PIL import ImageColor

        with suppress(ValueError):
            red, green, blue = ImageColor.getrgb(text.strip())[:3]
            return colour_value(red, green, blue)
        text = text.replace(",", " ").split()
    if not isinstance(text, list | tuple) or len(text) != 3:
        return None
    try:
        channels = [int(channel) for channel in text]
    except (TypeError, ValueError):
        return None
    return colour_value(*channels) if all(0 <= channel <= 255 for channel in channels) else None


def named_values(folders: Iterable[Path]) -> tuple[Path, dict[str, int]] | None:
    """The first table of names that lies in one of the folders, and the value of each class in a label map.

    A table that cannot be read, or is no such table, is passed over.
    """
    for path in (folder / name for folder in folders for name in TABLES):
        with suppress(OSError, ValueError, RecursionError):
            if not path.is_file() or path.stat().st_size > LONGEST:
                continue
            text = path.read_text(encoding="utf-8-sig")
            rows = _json(json.loads(text)) if path.suffix == ".json" else _lines(text)
            named = {name: value for name, value in rows if name and value is not None}
            if len(named) > 1 and len({*named.values()}) == len(named):
                return path, named
    return None


def _value(found: Any) -> int | None:
    if isinstance(found, dict):
        found = next((found[key] for key in ("color", "colour", "rgb", "hex", "value", "id") if key in found), None)
    if isinstance(found, int) and not isinstance(found, bool):
        return found if 0 <= found <= LARGEST else None
    if isinstance(found, str) and found.strip().isdigit():
        return _value(int(found))
    return colour_of(found)


def _json(content: Any) -> Iterator[tuple[str, int | None]]:
    """Of a table of names and colours, of colours and names, or of a list of objects with both."""
    if isinstance(content, dict):
        inner = next((content[key] for key in ("classes", "labels", "items") if key in content), None)
        if isinstance(inner, dict | list):
            yield from _json(inner)
            return
        for key, found in content.items():
            turned = isinstance(found, str) and (key[:1] in "#0123456789" or _value(found) is None)
            yield (found, _value(key)) if turned else (key, _value(found))
    for entry in content if isinstance(content, list) else ():
        keys = ("name", "label", "title", "class", "className")
        name = next((entry[key] for key in keys if key in entry), None) if isinstance(entry, dict) else None
        if isinstance(name, str):
            yield name, _value(entry)


def _lines(text: str) -> Iterator[tuple[str, int | None]]:
    """Of lines "name:r,g,b:…" (CVAT, Pascal VOC), "name,r,g,b" or "r g b name"."""
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, colon, rest = line.partition(":")
        if colon:
            yield name.strip(), colour_of(rest.partition(":")[0])
            continue
        words = [word.strip() for word in next(csv.reader([line]))] if "," in line else line.split(maxsplit=3)
        if len(words) == 4:
            first = words[0].isdigit()
            yield (words[3] if first else words[0]), colour_of(words[:3] if first else words[1:])
