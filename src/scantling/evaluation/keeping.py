"""Where an evaluation is kept: in the run that made the masks, if that run can be known by its weights."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scantling.core.errors import DiskFullError
from scantling.records.evaluation import EvaluationRecord
from scantling.records.record import FileRecord
from scantling.records.run_folder import identity_of

EVALUATIONS = "evaluations"


def run_of(made: Mapping[str, Any]) -> Path | None:
    """The run folder that predictions name, if it may be written into.

    What `predictions.json` says may come from anyone. The run is believed only where the model that the predictions
    name is that of the weights that lie in the run now, and only at a path that follows no symbolic link, so that
    nothing is written but `evaluations/` of a real run.

    Args:
        made: `predictions.json` but for its cases.
    """
    named, model = made.get("run"), made.get("model")
    if not isinstance(named, str) or not isinstance(model, str):
        return None
    run = Path(named)
    try:
        real = run.is_absolute() and run.resolve() == run and (run / "run.json").is_file()
        inside = all(not (run / name).is_symlink() for name in ("run.json", "model", EVALUATIONS))
        return run if real and inside and identity_of(run) == model else None
    except (OSError, ValueError):  # no weights, or no path at all
        return None


def keep(record: EvaluationRecord, name: str) -> Path | None:
    """Write an evaluation into the folder of the run that made what was scored, for its report.

    The same evaluation again replaces itself, and no other: the file's name tells the folder of the predictions, the
    truth, the split, the regions and the options.

    Args:
        name: what the truth is called.

    Returns:
        The file; None if the run is unknown, gone or not ours to write into (see `run_of`).
    """
    metrics = record.options.get("metrics")
    facts = {
        **record.options,
        "metrics": None if metrics is None else sorted(metrics),
        "prediction": record.prediction,
        "truth": record.truth,
        "split": record.split,
        **({"regions": record.regions} if record.regions else {}),
    }
    inside = "region" if record.region is not None and record.region.of != "image" else ""
    parts = (Path(record.prediction).name, name, record.split or "", inside)
    return write(record, record.made, file_name=file_name(parts, facts))


def write(record: FileRecord, made: Mapping[str, Any], *, file_name: str) -> Path | None:
    """Write a record into `evaluations/` of the run that is named; None if that is not ours to write into."""
    run = run_of(made)
    if run is None:
        return None
    path = run / EVALUATIONS / file_name
    try:
        record.write(path)
    except (OSError, DiskFullError):
        return None
    return path


def file_name(readable: Sequence[str], facts: Mapping[str, Any]) -> str:
    """A file name that people can read and that no other evaluation has.

    Args:
        readable: parts of the name.
        facts: all that tells the evaluation from others, as JSON has it.
    """
    stem = re.sub(r"[^\w.-]+", "_", "-".join(part for part in readable if part)).strip("._-")[:80]
    key = hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=5).hexdigest()
    return f"{stem}-{key}.json"
