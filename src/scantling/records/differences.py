"""How two records differ, for a sentence."""

from __future__ import annotations

from typing import Any


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


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
