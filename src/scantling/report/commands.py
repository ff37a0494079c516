"""The command lines that repeat what a page shows, with every option that changes a number, quoted for a shell."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scantling.core.atomic import to_json
from scantling.records.evaluation import EvaluationRecord
from scantling.records.registration_scores import RegistrationScoresRecord
from scantling.report.targets import EvaluationFile, RegistrationFile, Run

SETTINGS_OF_MENDING = ("iterations", "high", "low", "smallest", "carry", "coherence")


def shell(*words: str | Path) -> str:
    """A command line of these words."""
    return " ".join(_quoted(str(word)) for word in words)


def _quoted(word: str) -> str:
    """A word for a shell; the bytes of a file name that is no UTF-8 as bash and zsh write them."""
    try:
        word.encode()
    except UnicodeEncodeError:
        plain = (
            chr(byte) if 32 <= byte < 127 and byte not in b"\\'" else f"\\x{byte:02x}" for byte in os.fsencode(word)
        )
        return f"$'{''.join(plain)}'"
    return shlex.quote(word)


def repeating(
    run: Run | None, evaluations: tuple[EvaluationFile, ...], registrations: tuple[RegistrationFile, ...] = ()
) -> list[str]:
    """Training, prediction, mending and scoring, in this order and each once."""
    lines = [shell(*run.command)] if run is not None and run.command else []
    for evaluation in evaluations:
        record = evaluation.record
        if record.prediction and record.truth:
            lines += [*_making(record.made, Path(record.prediction), run), scoring(record)]
    lines += [scoring(one.record) for one in registrations]
    return list(dict.fromkeys(lines))


def scoring(record: EvaluationRecord | RegistrationScoresRecord) -> str:
    """The `evaluate` that wrote a record."""
    options = record.options
    named = {key: options.get(key) for key in ("probabilities", "region", "manifest", "root")}
    named["subjects"] = _not_default(options.get("subjects"))
    metrics = options.get("metrics")
    return shell(
        "scantling",
        "evaluate",
        record.prediction,
        record.truth,
        *_flags(split=record.split if isinstance(record, EvaluationRecord) else None, **named),
        *(["--metrics", *map(str, metrics)] if isinstance(metrics, list) and metrics else []),
    )


def data_flags(run: Run) -> list[str]:
    """How the data of a training are to be opened."""
    record = run.record
    return _flags(manifest=record.manifest, root=record.root, subjects=_not_default(record.subjects))


def _making(made: Mapping[str, Any], out: Path, run: Run | None) -> Iterator[str]:
    """The commands that made a folder of masks, as far as its `predictions.json` says."""
    mended = _table(made.get("mended"))
    if mended.get("maps"):
        maps = Path(str(mended["maps"]))
        home = next((place.parent for place in (maps, maps.parent) if place.name == "probabilities"), maps)
        before = {key: value for key, value in made.items() if key not in ("mending", "mended")}
        yield from _making({**before, **_table(mended.get("earlier"))}, home, run)
        yield _mending(made, mended, out)
    elif made.get("run") and made.get("input") and "mending" not in made and not _of_training(out, made):
        yield _prediction(made, out, run)


def _of_training(out: Path, made: Mapping[str, Any]) -> bool:
    """Whether the training itself predicted these masks, those of its validation cases."""
    return out == Path(str(made["run"])) / "validation"


def _gib(memory: Any) -> float | None:
    """The memory of a record in GiB; older ones say bytes."""
    if isinstance(memory, bool) or not isinstance(memory, int | float) or not memory > 0:
        return None
    if not memory < 2**60:
        return None
    return memory / 2**30 if isinstance(memory, int) and memory >= 2**20 else float(memory)


def _prediction(made: Mapping[str, Any], out: Path, run: Run | None) -> str:
    options = _table(made.get("options"))
    older = {key: options.get(key) for key in ("samples", "steps", "fuse", "memory", "views")}
    requested = _table(made["requested"]) if "requested" in made else older
    folder = str(made["run"]) if run is None else str(run.folder)
    memory = requested.get("memory")
    precision = options.get("precision")
    listed = options.get("ensemble")
    others = [_table(other).get("run") for other in listed] if isinstance(listed, list) else []
    fuse = requested.get("fuse")
    return shell(
        "scantling",
        "predict",
        folder,
        f"./{made['input']}" if str(made["input"]).startswith("-") else str(made["input"]),
        "--out",
        out,
        *_flags(
            split=made.get("split"),
            manifest=made.get("manifest"),
            root=made.get("root"),
            subjects=_not_default(made.get("subjects")),
        ),
        *(["--probabilities"] if options.get("probabilities") else []),
        *({"True": ["--views"], "False": ["--no-views"]}.get(str(requested.get("views")), [])),
        *_flags(
            samples=requested.get("samples"),
            sampling_steps=requested.get("steps"),
            fuse="vote" if fuse == "sum" else fuse,  # a method's own way to count votes
            precision=None if precision == "auto" else precision,
            scale=requested.get("scale"),
            memory=_gib(memory),
            seed=requested.get("seed"),
        ),
        *(
            word
            for name, value in requested.items()
            if name not in ("samples", "steps", "fuse", "views", "scale", "votes", "memory", "seed")
            for word in (f"--options.{name}", to_json(value, indent=None) if not isinstance(value, str) else value)
        ),
        *(word for other in others if other for word in ("--ensemble", str(other))),
    )


def _mending(made: Mapping[str, Any], mended: Mapping[str, Any], out: Path) -> str:
    used, chosen = _table(made.get("mending")), bool(mended.get("auto"))
    settings = {name: used.get(name) for name in SETTINGS_OF_MENDING}
    chosen_by = {
        "iterations": "auto",
        **{key: mended.get(key) for key in ("validation", "manifest", "root", "subjects")},
    }
    return shell(
        "scantling",
        "mend",
        str(mended.get("maps")),
        "--out",
        out,
        *_flags(rule=mended.get("rule", used.get("rule")), **(chosen_by if chosen else settings)),
    )


def _not_default(subjects: Any) -> Any:
    return None if subjects == "name" else subjects


def _flags(**values: Any) -> list[str]:
    """`--name value` for each value that is not None."""
    return [
        word
        for name, value in values.items()
        if value is not None
        for word in (f"--{name.replace('_', '-')}", str(value))
    ]


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
