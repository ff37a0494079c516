"""How two records differ, for a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MOST = 3
"""Files that a clause names."""


def differences(name: str, before: Any, after: Any) -> list[str]:
    """A clause for each value that differs, with the names that lead to it: "options.views was False, is True"."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = list(dict.fromkeys([*before, *after]))
        return [line for key in keys for line in differences(f"{name}.{key}", before.get(key), after.get(key))]
    if isinstance(before, list | tuple) and isinstance(after, list | tuple):
        if list(before) == list(after):
            return []
        if len(before) == len(after) and all(isinstance(value, dict) for value in [*before, *after]):
            pairs = enumerate(zip(before, after, strict=True))
            return [line for i, (b, a) in pairs for line in differences(f"{name}[{i}]", b, a)]
    if before == after:
        return []
    return [f"{name} was {_short(before)}, is {_short(after)}"]


def changed_files(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """ "1 file is new (a.png), 2 files have changed (b.png, c.png)"; empty where all are the same.

    Args:
        before, after: the hashes of the files by their paths.
    """
    kinds = {
        ("is new", "are new"): [path for path in after if path not in before],
        ("is gone", "are gone"): [path for path in before if path not in after],
        ("has changed", "have changed"): [path for path in after if before.get(path, after[path]) != after[path]],
    }
    clauses = []
    for (one, many), paths in kinds.items():
        if paths:
            named = ", ".join(sorted(paths)[:MOST]) + (", ..." if len(paths) > MOST else "")
            clauses.append(f"{len(paths)} {f'file {one}' if len(paths) == 1 else f'files {many}'} ({named})")
    return ", ".join(clauses)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
