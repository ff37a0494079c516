"""What all records have in common: a version, one way in and one way out.

A record is a JSON file that a command writes. Its pydantic model is what the writer fills, what every reader gets and
what `--json` prints. Files of earlier versions are brought up to date as they are read. What a model does not know is
kept, so that a file that is read and written again loses nothing.
"""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainValidator, ValidationError, model_validator

from scantling.core.atomic import plain, write_json
from scantling.core.errors import FileError

GREATEST_JSON = 256 << 20
"""Bytes; a JSON file that is larger is refused."""
GREATEST = 1e30
"""Numbers in a file that are larger are taken as none."""


def finite(value: Any) -> Any:
    """A number that can be drawn; None for NaN and for one beyond all metrics. Anything else as it is."""
    return None if isinstance(value, int | float) and not abs(value) < GREATEST else value


def _number(value: Any) -> Any:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise ValueError("input should be a valid number")
    return finite(value)


Number = Annotated[float | None, PlainValidator(_number)]
"""None where a number is undefined; whole numbers stay whole."""
Numbers = dict[str, Number]
Table = Annotated[dict[str, Any], BeforeValidator(lambda value: {} if value is None else value)]


class Record(BaseModel):
    """A part of a record."""

    model_config = ConfigDict(frozen=True, extra="allow", coerce_numbers_to_str=True)


class FileRecord(Record):
    """A whole file.

    Attributes:
        version: of the form of the file; 1 is the first that is written down.
    """

    newest: ClassVar[int] = 1
    """The version that is written."""
    what: ClassVar[str]
    """What the file is, for messages."""
    writer: ClassVar[str]
    """The command that writes it, for messages."""

    version: int = 1

    @model_validator(mode="before")
    @classmethod
    def _up_to_date(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        version = value.get("version", 0)
        if not isinstance(version, int):
            return value
        if version > cls.newest:
            raise ValueError(
                f"it has version {version}, and this Scantling reads versions up to {cls.newest}; update Scantling"
            )
        return {**(cls.upgraded(value) if version < 1 else value), "version": cls.newest}

    @classmethod
    def upgraded(cls, facts: dict[str, Any]) -> dict[str, Any]:
        """The contents of a file from before versions in the form of version 1."""
        return facts

    def facts(self) -> dict[str, Any]:
        """As JSON: what has been set, undefined numbers as None, the version first."""
        facts: dict[str, Any] = plain({"version": self.version, **self.model_dump(exclude_unset=True)})
        return facts

    def write(self, path: Path) -> None:
        """Write the file.

        Raises:
            OSError: it cannot be written.
        """
        write_json(path, self.facts())


def renamed(table: dict[str, Any], before: str, now: str) -> dict[str, Any]:
    """A table in which a key has its new name."""
    if before not in table or now in table:
        return table
    return {now if key == before else key: value for key, value in table.items()}


R = TypeVar("R", bound=FileRecord)


def read_json(path: Path) -> Any:
    """The contents of a JSON file.

    Raises:
        FileError: it is missing, no ordinary file, too large or not JSON.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise FileError(path, "is no ordinary file", expected="a JSON file")
        if found.st_size > GREATEST_JSON:
            raise FileError(path, f"is larger than {GREATEST_JSON >> 20} MiB", expected="a record of Scantling")
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileError(path, f"cannot be read ({error.strerror})", expected="a JSON file") from None
    except (ValueError, RecursionError) as error:
        raise FileError(
            path, f"is not JSON ({error})", remedy="restore it, or write it again with the command that made it"
        ) from None


def read_record(kind: type[R], path: Path) -> R:
    """A record from its file.

    Raises:
        FileError: the file cannot be read, is something else or was written by a newer version.
    """
    content = read_json(path)
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        found = first["msg"].removeprefix("Value error, ")
        raise FileError(
            path,
            f"is no {kind.what} ({where + ': ' if where else ''}{found[:1].lower()}{found[1:]})",
            expected=f"what `{kind.writer}` writes",
            remedy="write it again with that command",
        ) from None
