"""The record of a job: what was made of each item and how, how it is resumed, how shards become one list."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scantling.core.atomic import plain, write_json
from scantling.core.errors import FileError, RunError
from scantling.core.outputs import PREDICTIONS, locked
from scantling.data.contents import count
from scantling.records.differences import differences
from scantling.records.record import read_json

PROGRESS = ("version", "requested", "total", "of", "cases", "failed")
"""What changes while items are done, and what only says how options were spelled; all else says how they are made."""
VERSION = 1
"""Of the form of all such records; see `records.record`."""
FILES = ("mask", "probability", "samples", "uncertainty_maps", "files")
"""The keys of an item's entry that name files."""


@dataclass
class Listing:
    """What was made: the contents of a record such as `predictions.json`, or of a shard's part of it."""

    out: Path
    header: Mapping[str, Any]
    name: str = PREDICTIONS
    total: int = 0
    """Items that the command is to do."""
    of: str = ""
    """A hash of the ids of all items of the job, whichever shard does them."""
    cases: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)
    skipped: int = 0
    """Items that an earlier, interrupted command had done."""
    left_out: tuple[str, ...] = ()
    """Sentences on files of the input that are no items because no file can be called after them; not recorded."""
    notes: tuple[str, ...] = ()
    """Sentences that a reader should know; not recorded."""

    def __repr__(self) -> str:
        failed = "".join(f"; {one['id']} failed: {one['error']}" for one in self.failed)
        return f"{self.out / self.name}: {count(len(self.cases), 'case')}{failed}"

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        progress = {"total": self.total, "of": self.of, "cases": self.cases, "failed": self.failed}
        return {"version": VERSION, **self.header, **progress}

    def save(self) -> None:
        """Write the list."""
        write_json(self.out / self.name, self.facts())

    def drop(self, id: str) -> None:
        """Take an item off the list that an earlier command may have done, since it is done again."""
        kept = [case for case in self.cases if case["id"] != id]
        self.skipped -= len(self.cases) - len(kept)
        self.cases = kept

    def fail(self, id: str, error: str) -> None:
        """List an item as failed, and not as done by an earlier command too."""
        self.drop(id)
        self.failed.append({"id": id, "error": error})


def lists_in(out: Path, header: Mapping[str, Any], record: str = PREDICTIONS) -> dict[str, dict[str, Any]]:
    """The lists of a folder by file name, the whole one and those of shards; all have to be made as `header` says.

    Raises:
        RunError: one was made otherwise.
        FileError: one cannot be read.
    """
    stem = record.removesuffix(".json")
    shards = sorted(
        path for path in out.glob(f"{stem}.*.json") if re.fullmatch(rf"{stem}\.\d+-of-\d+\.json", path.name)
    )
    paths, header = [path for path in (out / record, *shards) if path.is_file()], plain(dict(header))
    lists = {path.name: read_json(path) for path in paths}
    for path in paths:
        facts = lists[path.name]
        if not _lists(facts):
            raise FileError(path, f"does not list {stem}", remedy="delete it or choose another --out")
        if (version := facts.get("version", VERSION)) != VERSION:
            raise FileError(
                path, f"has version {version!r}; this Scantling writes version {VERSION}",
                remedy="update Scantling or choose another --out",
            )  # fmt: skip
        keys = [key for key in {**header, **facts} if key not in PROGRESS]
        changed = [line for key in keys for line in differences(key, facts.get(key), header.get(key))]
        if changed:
            more = f"; and {len(changed) - 3} more" if len(changed) > 3 else ""
            raise RunError(f"{path}: lists {stem} made otherwise: {'; '.join(changed[:3])}{more}; choose another --out")
    return lists


def _lists(facts: object) -> bool:
    """Whether the contents of a file can be a list."""
    if not isinstance(facts, dict) or not isinstance(facts.get("total", 0), int):
        return False
    return all(isinstance(facts.get(key), list) for key in ("cases", "failed"))


def resumed(out: Path, header: Mapping[str, Any], name: str, ids: Sequence[str], *, of: str = "") -> Listing:
    """The list `name` with what earlier commands of the same kind have done; failures are tried again.

    Args:
        of: a hash of the ids of all items of the job.

    Raises:
        RunError: the folder lists items that were made otherwise.
        FileError: a list cannot be read.
    """
    wanted, done = set(ids), dict[str, dict[str, Any]]()
    record = re.sub(r"\.\d+-of-\d+\.json$", ".json", name)
    for listed, facts in lists_in(out, header, record).items():
        try:
            cases = {str(case["id"]): dict(case) for case in facts["cases"] if _is_written(out, case)}
        except (KeyError, TypeError, ValueError, AttributeError):
            what = f"does not list {record.removesuffix('.json')}"
            raise FileError(out / listed, what, remedy="delete it or choose another --out") from None
        kept = listed == name == record  # what was made of files that are gone stays listed
        done |= {id: case for id, case in cases.items() if id in wanted or kept}
    return Listing(out, header, name, len(ids), of, list(done.values()), skipped=len(wanted & done.keys()))


def merge(out: Path, record: str, parts: int, header: Mapping[str, Any], *, of: str) -> Listing | None:
    """When all shards are through with the same items, write one list of all; whichever shard ends last does.

    Returns:
        The list, None where it is not whole yet.
    """
    names = [shard_name(record, part, parts) for part in range(1, parts + 1)]
    with locked(out, shard="merge", wait=True):
        found = lists_in(out, header, record)
        lists = [found[name] for name in names if name in found]
        if len(lists) < parts or not all(facts.get("of") == of and _is_whole(facts) for facts in lists):
            return None
        merged = Listing(out, header, record, total=sum(facts["total"] for facts in lists), of=of)
        merged.cases = _sorted(facts["cases"] for facts in lists)
        merged.failed = _sorted(facts["failed"] for facts in lists)
        merged.save()
        return merged


def shard_name(record: str, part: int, parts: int) -> str:
    """The list of one shard; of the only one it is that of the whole."""
    return record if parts == 1 else f"{record.removesuffix('.json')}.{part}-of-{parts}.json"


def _sorted(parts: Iterable[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return sorted((case for part in parts for case in part), key=lambda case: str(case["id"]))


def _is_whole(facts: Mapping[str, Any]) -> bool:
    return len(facts["cases"]) + len(facts["failed"]) == facts.get("total")


def _is_written(out: Path, case: Mapping[str, Any]) -> bool:
    """Whether all files of an entry are there."""
    return all((out / name).is_file() for key in FILES for name in strings_in(case.get(key)))


def strings_in(value: Any) -> list[str]:
    """The strings in a JSON value, however deep in lists and tables."""
    if isinstance(value, str):
        return [value]
    if value is None:
        return []
    parts = value.values() if isinstance(value, dict) else value
    return [name for part in parts for name in strings_in(part)]
