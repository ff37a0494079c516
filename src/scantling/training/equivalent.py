"""The command line that trains as a call from Python does, for the records of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from scantling.contract.method import Method
from scantling.data.dataset import Dataset
from scantling.methods.catalogue import card_of
from scantling.training.options import DEFAULTS, FLAGS, Options

NO_FLAG = ("saved_every",)
"""Options that the command does not have; they change no number."""


def equivalent_command(
    method: str | type[Method], data: Sequence[Path | str | Dataset], out: Path, options: Options
) -> list[str]:
    """The words of `scantling train` that mean the same; data in memory stand as such: "/(in memory)/NAME".

    Args:
        method: its name, or its class; one that no package announces is called by the name of its card.
    """
    places = [str(each.root if isinstance(each, Dataset) else each) for each in data]
    words = ["scantling", "train", card_of(method).name, *(word for one in places for word in ("--data", one))]
    return [*words, "--out", str(out), *_flags(options)]


def _flags(options: Options) -> Iterator[str]:
    """What differs from the defaults."""
    for name in (each.name for each in fields(options)):
        value = getattr(options, name)
        if name in NO_FLAG or value == getattr(DEFAULTS, name):
            continue
        flag = FLAGS.get(name, f"--{name.replace('_', '-')}")
        if name == "settings":
            yield from (word for key, one in value.items() for word in (f"{flag}.{key}", shown(one)))
        elif isinstance(value, Mapping):
            yield from (word for key, one in value.items() for word in (flag, f"{key}={one}"))
        else:
            yield from (flag, str(value))


def shown(value: Any) -> str:
    """A value of a setting as the command takes it: "32,64", "32x32,64x64", "true", "0.1"."""
    if isinstance(value, list | tuple):
        return ",".join("x".join(map(str, each)) if isinstance(each, list | tuple) else shown(each) for each in value)
    if isinstance(value, bool | None):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)
