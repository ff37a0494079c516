"""Tables of text as spreadsheets write them: read whole, within bounds, every row of the same length."""

from __future__ import annotations

import codecs
import csv
import io
import re
import unicodedata
from pathlib import Path

from scantling.core.errors import FileError

LARGEST = 64 * 2**20
"""Bytes; a larger table is refused before it is read."""
SEPARATORS = (",", ";", "\t")


def read_table(path: Path) -> tuple[tuple[str, ...], list[dict[str, str]]]:
    """The names of the columns and the rows, in their order; cells in NFC and without the blanks around them.

    Cells are separated by commas, semicolons or tabs, whichever the first line has most of. The text is UTF-8 or
    UTF-16 by its byte-order mark, else UTF-8 where it can be, else Windows-1252.

    Rows and columns at the right without any text are none. Row i, from 0, stands in line i + 2 where no cell holds a
    line break and no line is empty.

    Raises:
        FileError: the file cannot be read, is too large, has no column or two of one name, or a row of another length.
    """
    try:
        if (size := path.stat().st_size) > LARGEST:
            raise FileError(path, f"the table has {size:,} bytes", expected=f"at most {LARGEST:,}")
        text = unicodedata.normalize("NFC", _decoded(path.read_bytes()))
        first, _, rest = text.partition("\n")
        named = re.fullmatch(r"sep=(.)\r?", first)  # as spreadsheets write it
        text, separator = (rest, named[1]) if named else (text, max(SEPARATORS, key=first.count))
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        lines = _filled([[cell.strip() for cell in line] for line in reader])
    except OSError as error:
        raise FileError(path, f"the table cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise FileError(path, f"the table is no CSV ({error})", remedy="save it as one, in UTF-8") from None
    columns = tuple(lines[0]) if lines else ()
    if not columns or not all(columns) or len(set(columns)) < len(columns):
        found = ", ".join(map(repr, columns[:9])) or "none"
        raise FileError(path, f"the columns of the table are {found}", expected="a different name for each")
    for number, line in enumerate(lines[1:], start=2):
        if len(line) != len(columns):
            raise FileError(
                path, f"row {number} has {len(line)} cells", expected=f"{len(columns)}, one for each column"
            )
    return columns, [dict(zip(columns, line, strict=True)) for line in lines[1:]]


def _filled(lines: list[list[str]]) -> list[list[str]]:
    """The rows without rows of empty cells only and without empty columns at the right."""
    kept = [line for line in lines if any(line)]
    while kept and len({*map(len, kept)}) == 1 and not any(line[-1] for line in kept):
        kept = [line[:-1] for line in kept]
    return kept


def _decoded(content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252")
