"""What the page calls an evaluation: which masks, how they were made, on what, and which pixels count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from scantling.report.targets import EvaluationFile
from scantling.report.words import listing


def title_of(evaluation: EvaluationFile) -> str:
    """What was scored: "masks (mended, of 16 samples) on drive, test split, inside the regions"."""
    record = evaluation.record
    options, made = record.options, record.made
    requested = made.get("options")
    drawn, others = (requested.get(key) if isinstance(requested, dict) else None for key in ("samples", "ensemble"))
    how = [
        "mended" if "mending" in made else "",
        f"of {drawn} samples" if isinstance(drawn, int) and drawn > 1 else "",
        f"of {1 + len(others)} runs" if isinstance(others, list) and others else "",
        "over views" if isinstance(requested, dict) and requested.get("views") is True else "",
    ]
    clauses = ", ".join(filter(None, how))
    of = (evaluation.masks or Path(record.prediction).name or evaluation.name) + (f" ({clauses})" if clauses else "")
    region, metrics = options.get("region"), options.get("metrics")
    inside = "inside the regions" if any(case.files.region for case in record.cases) else ""
    if inside and isinstance(region, str) and region != "dataset":
        inside += f" of {Path(region).name}"
    parts = [
        f"{of} on {evaluation.truth or Path(record.truth).name or evaluation.name}",
        f"{record.split} split" if record.split else "",
        inside,
        f"by {listing([str(one) for one in metrics])}" if isinstance(metrics, list) and metrics else "",
    ]
    return ", ".join(filter(None, parts))


def told_apart(evaluations: Sequence[EvaluationFile]) -> list[EvaluationFile]:
    """The evaluations of a page with names for their folders that tell them apart."""
    masks, truths = (
        _last_parts([path for path in {Path(getattr(one.record, side)) for one in evaluations} if path.parts])
        for side in ("prediction", "truth")
    )
    return [
        replace(one, masks=masks.get(Path(one.record.prediction), ""), truth=truths.get(Path(one.record.truth), ""))
        for one in evaluations
    ]


def _last_parts(paths: Sequence[Path]) -> dict[Path, str]:
    """For each path its last parts, as few as no other path ends in."""
    named = {}
    for path in paths:
        others = [other.parts for other in paths if other != path]
        counts = range(1, len(path.parts) + 1)
        fewest = next((n for n in counts if all(other[-n:] != path.parts[-n:] for other in others)), len(path.parts))
        named[path] = str(Path(*path.parts[-fewest:]))
    return named
