"""The manifest: a few lines of TOML (or the same as JSON) that say what a folder has where its layout does not."""

from __future__ import annotations

import json
import tomllib
import unicodedata
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AliasChoices,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from scantling.core.case import Frozen, Origin, Split
from scantling.core.errors import FileError
from scantling.data.colour_tables import colour_of
from scantling.data.partly_drawn import object_numbers, slice_numbers

Mask = str | dict[str, str]
"""One label map, or one file for each class."""


class Block(Frozen):
    """What groups and cases may both say: see `Case`."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    id: str = ""
    subject: str = ""
    images: dict[str, str] = {}
    masks: tuple[Mask, ...] = ()
    scribbles: str = ""
    region: str = ""
    known: str = ""
    instances: str = ""
    image_class: str = Field("", validation_alias=AliasChoices("image_class", "class"))
    caption: str = ""
    links: dict[str, str] = {}
    strata: dict[str, str] = {}
    pool: str = ""
    split: str = ""
    spacing: tuple[float, ...] | None = None
    threshold: float | None = None
    drawn_slices: Literal["marked"] | tuple[int, ...] | None = None
    drawn_axis: Annotated[int, Field(ge=0, le=2)] | None = None
    drawn_objects: Literal["marked"] | tuple[int, ...] | None = None
    drawn_rim: Annotated[float, Field(ge=0, le=1024)] = 0.0
    drawn_classes: tuple[str, ...] | None = None

    @field_validator("drawn_slices", mode="before")
    @classmethod
    def _slices(cls, value: Any) -> Any:
        return slice_numbers(value) if isinstance(value, list | tuple) else value

    @field_validator("drawn_objects", mode="before")
    @classmethod
    def _objects(cls, value: Any) -> Any:
        if value is None or value == "marked":
            return value
        if not isinstance(value, list | tuple):
            raise ValueError("expected 'marked', or a list of numbers and ranges such as [3, '10-14']")
        return object_numbers(value)

    @field_validator("images", mode="before")
    @classmethod
    def _one_image(cls, value: Any) -> Any:
        return {"image": value} if isinstance(value, str) else value

    @field_validator("masks", mode="before")
    @classmethod
    def _one_mask(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str | dict) else value

    @field_validator("spacing")
    @classmethod
    def _positive(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value is not None and (len(value) not in (2, 3) or not all(0 < length < float("inf") for length in value)):
            raise ValueError("expected two or three positive lengths in mm")
        return value


class Group(Block):
    """Cases that are found by a pattern. Every text may use the fields of the pattern, `{id}` and `{path}`.

    Attributes:
        pattern: paths below the root with fields, "{subject}_{frame}.npz"; a field holds no "/", `*` is anything
            but "/".
        id: the id; the field `id` of the pattern, or else all of the path without its suffix, unless said.
        subject: the field `subject` of the pattern, or else the id, unless said.
        images: addresses by name; the matched file unless said. An empty table makes cases that are only masks.
    """

    pattern: str


class CaseTable(Block):
    """One case, written out; its files must exist. Boxes and points need classes where there are several."""

    boxes: tuple[tuple[tuple[float, float], ...], ...] | None = None
    points: tuple[tuple[float, ...], ...] | None = None
    box_classes: tuple[str, ...] = ()
    point_classes: tuple[str, ...] = ()
    origin: Origin = Origin()

    @model_validator(mode="after")
    def _as_many(self) -> Self:
        for what, rows, classes in (
            ("box", self.boxes, self.box_classes),
            ("point", self.points, self.point_classes),
        ):
            if classes and len(classes) != len(rows or ()):
                raise ValueError(
                    f"found {len(classes)} {what}_classes for {len(rows or ())}; expected one for each {what}"
                )
        return self


class Manifest(Frozen):
    """What a manifest may say; the texts of `group` and `case` are addresses below the root (`file.npz#member`).

    Attributes:
        version: of the form of the file, where a command wrote it.
        name: of the dataset; the name of the folder unless said.
        root: the folder that holds the files, relative to the manifest.
        classes: the value or values of each class, or its colour; an empty list where each class lies in a file of
            its own.
            Found in the masks where nothing is said.
        regions: of each region the classes that it joins; masks are scored by them in place of the classes.
        ignore: the value of pixels of which nothing is known.
        background: the values that belong to no class.
        others: whether any other value is an error, counts as the nearest of those that are declared, or is the number
            of an object of the one class.
        threshold: of all cases that have none of their own, see `Case`.
        split: subjects by split.
        image_classes_from: "masks" where a command has derived the image classes of the cases from their masks.
        group, case: what the dataset holds; where there is neither, the layout of the folder tells.
    """

    version: int = 1
    name: str = ""
    root: str = ""
    classes: dict[str, int | tuple[int, ...]] = {}
    regions: dict[str, tuple[str, ...]] = {}
    ignore: int | None = None
    background: tuple[int, ...] = (0,)
    others: Literal["error", "nearest", "object"] = "error"
    threshold: float | None = None
    split: dict[Split, tuple[str, ...]] = {}
    image_classes_from: Literal["", "masks"] = ""
    group: tuple[Group, ...] = ()
    case: tuple[CaseTable, ...] = ()

    @field_validator("classes", mode="before")
    @classmethod
    def _colours(cls, value: Any) -> Any:
        """Colours as values: "#ff0000", or red, green and blue where they can be no list of values."""
        if not isinstance(value, dict):
            return value
        triples = any(map(_coloured, value.values()))
        return {
            name: colour_of(found) if triples and _triple(found) else _with_colours(found)
            for name, found in value.items()
        }

    @field_validator("ignore", "background", mode="before")
    @classmethod
    def _one_colour(cls, value: Any, info: ValidationInfo) -> Any:
        found = _with_colours(value)
        return (found,) if info.field_name == "background" and isinstance(found, int) else found


def _triple(found: Any) -> bool:
    return isinstance(found, list | tuple) and len(found) == 3 and all(isinstance(one, int) for one in found)


def _coloured(found: Any) -> bool:
    """Whether a class has a colour: a text, a list in a list, or three numbers that repeat."""
    if isinstance(found, list | tuple):
        return any(isinstance(one, str | list) for one in found) or (_triple(found) and len({*found}) < len(found))
    return isinstance(found, str)


def _with_colours(found: Any) -> Any:
    """A value or a list of values, with its colours as values.

    Raises:
        ValueError: a text that is no colour.
    """
    if isinstance(found, list):
        return [
            _with_colours(one) if isinstance(one, str) else colour_of(one) if _triple(one) else one for one in found
        ]
    if isinstance(found, str) and (colour := colour_of(found)) is None:
        raise ValueError('expected a number, or a colour such as "#ff0000"')
    return colour if isinstance(found, str) else found


def read_manifest(path: Path) -> Manifest:
    """The manifest in a TOML or JSON file.

    Raises:
        FileError: the file cannot be read, or says something that a manifest cannot say.
    """
    try:
        text = unicodedata.normalize("NFC", path.read_text(encoding="utf-8"))
        content = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except OSError as error:
        raise FileError(path, f"the manifest cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, json.JSONDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise FileError(path, f"the manifest is no {path.suffix[1:].upper() or 'TOML'} ({error})") from None
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        raise FileError(path, _complaint(error)) from None


def _complaint(error: ValidationError) -> str:
    first = error.errors()[0]
    *place, last = first["loc"] or ("",)
    blocks: dict[object, type[Frozen]] = {"group": Group, "case": CaseTable}
    where = f" in {place[0]} {place[1] + 1}" if len(place) > 1 and isinstance(place[1], int) else ""
    if first["type"] == "extra_forbidden":
        known = blocks.get(place[0] if place else "", Manifest).model_fields
        return f"unknown key {last!r}{where}; expected one of {', '.join(sorted(known))}"
    if first["type"] == "missing":
        return f"the key {last!r} is missing{where}; add it"
    key = next((str(part) for part in reversed(first["loc"]) if isinstance(part, str)), "")
    return f"the key {key!r}{where} cannot be {first['input']!r} ({first['msg']})"
