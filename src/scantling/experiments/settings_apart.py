"""In which settings the methods of a comparison differ, by what their runs and their masks say of themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scantling.experiments.candidates import Candidate
from scantling.records.predictions import PredictionsRecord

UNKNOWN = "–"
"""Stands where nothing is said."""
_LONGEST = 80


def settings_apart(
    groups: Sequence[Sequence[tuple[Candidate, PredictionsRecord]]],
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The settings in which methods differ, as (name, a text for each method).

    Args:
        groups: for each method its runs, or folders of masks, with what their masks say; the first stands for all of
            them, but seeds are listed.
    """
    told = [_told(group) for group in groups]
    names = dict.fromkeys(name for one in told for name in one)
    table = [(name, tuple(one.get(name, UNKNOWN) for one in told)) for name in names]
    return tuple((name, texts) for name, texts in table if len(set(texts)) > 1)


def _told(group: Sequence[tuple[Candidate, PredictionsRecord]]) -> dict[str, str]:
    candidate, made = group[0]
    run, facts = candidate.run, dict[str, Any]()
    if run is not None:
        facts |= {"method": run.method, "preset": run.preset, "steps": run.steps, "minutes": run.minutes}
        facts |= {"data": [Path(part.path).name for part in run.data]}
        facts |= {"training subjects or cases": len(run.split.get("train", ()))}
        facts |= _flat("settings", run.settings) | _flat("training", run.options)
        facts |= {"seed": sorted({one.seed for one, _ in group if one.seed is not None})}
        facts |= {f"built on, {role}": path for role, path in run.earlier.items()}
    elif made.method:
        facts["method"] = made.method
    facts |= _flat("answers", made.options) | _flat("mending", made.mending)
    facts.pop("settings.steps", None)
    return {name: text for name, value in facts.items() if (text := _text(value))}


def _flat(name: str, table: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a table and of those in it, by dotted names."""
    found = dict[str, Any]()
    for key, value in table.items():
        found |= _flat(f"{name}.{key}", value) if isinstance(value, Mapping) else {f"{name}.{key}": value}
    return found


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        value = ", ".join(map(str, value))
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
