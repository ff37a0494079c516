"""The table `labels.csv`: the class of each image."""

from __future__ import annotations

from pathlib import Path

from scantling.core.errors import FileError
from scantling.data.contents import Finding, some
from scantling.data.files import is_image_name, stem_of
from scantling.data.tables import read_table

OTHER_CLASS = "other"
"""The class of rows in which no class column is 1."""
IMAGE_COLUMNS = ("stem", "id", "image", "filename", "file", "file_name", "name", "image_id", "image_name", "img")
"""What the column that names the image may be called, in any capitals."""


def classes_in(path: Path, remarks: list[Finding]) -> dict[str, str]:
    """The class of each stem in a table: the column `label` or `class`, else the columns that hold only 0 and 1.

    A table without a column that names the image, or without one that names a class, is left out with a warning: it may
    be about something else.

    Raises:
        FileError: the table cannot be read, or a row names two classes.
    """
    if not path.is_file():
        return {}
    columns, rows = read_table(path)
    key = next((column for column in columns if column.lower() in IMAGE_COLUMNS), None)
    named = next((column for column in columns if column.lower() in ("label", "class")), None)
    hot = (
        []
        if named
        else [column for column in columns if column != key and all(_bit(row[column]) is not None for row in rows)]
    )
    if key is None or not (named or hot):
        sentence = (
            f"{path}: left out: the table has the columns {some(columns, most=9) or '(none)'}; expected 'image', "
            "'filename', 'stem' or 'id', and 'label', 'class' or a column of 0 and 1 for each class; rename its "
            "columns if it names the classes of images"
        )
        remarks.append(Finding(level="warning", kind="image classes", sentence=sentence))
        return {}
    found: dict[str, str] = {}
    for number, row in enumerate(rows, start=2):
        stem = stem_of(Path(row[key] or "")) if is_image_name(Path(row[key] or "")) else (row[key] or "").strip()
        marked = [column for column in hot if _bit(row[column])]
        if len(marked) > 1:
            raise FileError(
                path, f"line {number} gives {stem!r} the classes {some(marked)}", expected="one class at most"
            )
        label = (row[named] or "").strip() if named else (marked[0] if marked else OTHER_CLASS)
        if found.setdefault(stem, label) != label:
            raise FileError(
                path, f"line {number} gives {stem!r} a second class, {label!r}", expected="one row an image"
            )
    return {stem: label for stem, label in found.items() if label}


def _bit(text: str | None) -> bool | None:
    try:
        number = float((text or "").replace(",", "."))
    except ValueError:
        return None
    return bool(number) if number in (0.0, 1.0) else None
