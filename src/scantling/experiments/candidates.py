"""Who takes part in a comparison: a run, a folder of masks or an evaluation, and what is known of how it came about."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Literal

from scantling.contract.capabilities import Segmenter
from scantling.core.atomic import to_json
from scantling.core.errors import FileError, RunError
from scantling.evaluation.predictions import LISTING
from scantling.experiments.leakage import record_of
from scantling.records.run_folder import WEIGHTS, earlier_runs, identity_of, load_model, parts_of, read_json


@dataclass(frozen=True)
class Candidate:
    """One of those that are compared.

    Attributes:
        path: as it was named.
        kind: a run (or its model folder), a folder of masks, or an evaluation (JSON).
        run: the `run.json` of the run that made the masks; empty if that is not known.
        folder: the run's folder.
        partners: the `run.json` of the other runs of an ensemble.
        parameters: of the model.
        classes: that it segments; None if it does not say.
        doubts: whether a run answers with several samples, and so with maps of how they differ.
        made: what a folder of masks, or the one that was evaluated, says of itself (`predictions.json`).
        scores: the contents of an evaluation.
    """

    path: Path
    kind: Literal["run", "masks", "scores"]
    run: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    partners: tuple[Mapping[str, Any], ...] = ()
    parameters: int | None = None
    classes: tuple[str, ...] | None = None
    doubts: bool = False
    made: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seed(self) -> int | None:
        """The seed of the training."""
        found = self.run.get("seed")
        return found if isinstance(found, int) else None

    @property
    def label(self) -> str:
        """The name of the method, if it is known, else that of the folder or file."""
        method = self.run.get("method") or self.made.get("method")
        if not method:
            return self.path.resolve().name if self.kind != "scores" else self.path.stem
        together = f" ensemble of {1 + len(self.partners)}" if self.partners else ""
        return f"{method}{together}{' mended' if 'mending' in self.made else ''}"

    @property
    def weights(self) -> str | None:
        """A short name for the weights, the same for copies of a run."""
        return identity_of(self.path) if self.kind == "run" else None

    def alike(self) -> str | None:
        """What runs that differ in nothing but their seed have in common; None where too little is known."""
        if not self.run:
            return None
        settings = self.folder / "model" / "settings.json" if self.folder else Path()
        described = read_json(settings) if settings.is_file() else {}
        made = {key: self.made.get(key) for key in ("options", "mending")}
        return to_json({**_recipe(self.run, parts_of(described)), "made": made})

    def cache(self, out: Path | None, name: str, *parts: object) -> Path:
        """Where the predictions of a run are kept: of these very weights, and of data and options that are `told`."""
        text = f"{self.path.resolve()} {self.weights} {parts}"
        key = hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=5).hexdigest()
        return self.path / "compared" / f"{name}-{key}" if out is None else out / f"{self.path.resolve().name}-{key}"


def open_candidate(path: Path) -> Candidate:
    """Look at what was named, so that nothing is predicted before all can be.

    Raises:
        RunError: it is nothing that can be compared, its training is not finished, or it cannot segment.
        FileError: a file of it cannot be read.
    """
    path = path.parent if path.name == "run.json" else path
    if (path / "run.json").is_file() or (path / "model" / WEIGHTS).is_file() or (path / WEIGHTS).is_file():
        method = load_model(path)
        if not isinstance(method, Segmenter):
            raise RunError(f"{path}: {method.card.name} cannot segment; it can {', '.join(method.card.gives)}")
        number = sum(parameter.numel() for parameter in method.parameters())
        several, made = (method.segment_options(method.segment_with()).samples or 1) > 1, {"method": method.card.name}
        return Candidate(path, "run", record_of(path), path, (), number, method.traits.classes, several, made)
    if path.is_dir():
        return _from_masks(path, path)
    if not path.is_file() or path.suffix != ".json":
        found = "is none of these" if path.exists() else "does not exist"
        raise RunError(f"{path}: {found}; expected a run, a folder of predicted masks or an evaluation's JSON file")
    scores = read_json(path)
    if not _lists_cases(scores):
        raise FileError(path, "is no evaluation", expected="what `scantling evaluate --json` writes")
    return _from_masks(path, Path(str(scores.get("prediction") or path)), scores)


def _from_masks(path: Path, masks: Path, scores: Mapping[str, Any] | None = None) -> Candidate:
    made = _read(masks / LISTING)
    facts = record_of(made.get("run"), model=made.get("model"))
    listed = made.get("options", {}).get("ensemble") or []
    partners = tuple(record_of(one.get("run"), model=one.get("model")) for one in listed)
    numbers = [one.get("parameters") for one in (facts, *partners)]
    known = [number for number in numbers if isinstance(number, int)]
    classes = (scores or made).get("classes")
    return Candidate(
        path,
        "masks" if scores is None else "scores",
        facts,
        Path(made["run"]) if facts else None,
        partners,
        sum(known) if len(known) == len(numbers) else None,
        tuple(map(str, classes)) if isinstance(classes, list) else None,
        made=made,
        scores=scores or {},
    )


def median_seconds(made: Mapping[str, Any]) -> float | None:
    """The median time of an image as it was measured when masks were predicted; None where mending was timed."""
    listed = [case.get("seconds") for case in made.get("cases", []) if "mending" not in made]
    known = [float(value) for value in listed if isinstance(value, int | float)]
    return float(median(known)) if known else None


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    found = read_json(path)
    if not _lists_cases(found) or not isinstance(found.get("options", {}), dict):
        raise FileError(path, "is no list of predictions", expected="what `scantling predict` writes")
    return dict(found)


def _lists_cases(found: Any) -> bool:
    """Whether a JSON file holds cases with an id and, maybe, failures."""
    parts = [found.get("cases"), found.get("failed", [])] if isinstance(found, dict) else [None]
    return all(isinstance(part, list) and all(isinstance(one, dict) and "id" in one for one in part) for part in parts)


def _recipe(run: Mapping[str, Any], parts: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """All of a training but its seed; `parts` stands for the records of those whose runs are gone."""

    def before(role: str, path: Any) -> Any:
        record, part = record_of(path), (parts or {}).get(role)
        return _recipe(record) if record else _without_traits(part) if part else path

    return {
        **{key: run.get(key) for key in ("method", "settings", "options", "split")},
        "data": [entry.get("sha256") for entry in run["data"]],
        "built on": {role: before(role, path) for role, path in earlier_runs(run).items()},
    }


def _without_traits(described: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: described.get(key) for key in ("method", "settings")}
    return {**kept, "uses": {role: _without_traits(part) for role, part in parts_of(described).items()}}
