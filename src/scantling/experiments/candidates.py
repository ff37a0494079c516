"""Who takes part in a comparison: a run, a folder of predictions or an evaluation, and how it came about."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

from scantling.contract.capabilities import Segmenter
from scantling.contract.card import Capability
from scantling.core.atomic import to_json
from scantling.core.errors import RunError
from scantling.core.outputs import PREDICTIONS, RUN
from scantling.evaluation.everything import has_masks
from scantling.evaluation.truth import Kind
from scantling.records.classes_csv import CLASSES, read_classes
from scantling.records.evaluation import EvaluationRecord
from scantling.records.predictions import NO_PREDICTIONS, PredictionsRecord
from scantling.records.record import read_json, read_record
from scantling.records.run import RunRecord
from scantling.records.run_folder import WEIGHTS, identity_of, load_model, parts_of
from scantling.training.leakage import record_of

_ANSWERS: dict[Kind, Capability] = {"mask": "segment", "class": "classify"}


@dataclass(frozen=True)
class Candidate:
    """One of those that are compared.

    Attributes:
        path: as it was named.
        kind: a run (or its model folder), a folder of predictions, or an evaluation (JSON).
        run: the `run.json` of the run that made the masks; None if that is not known.
        folder: the run's folder.
        partners: the `run.json` of the other runs of an ensemble.
        parameters: of the model.
        answers: with masks, with image classes, or with both.
        classes: that it segments, `image_classes` those that it tells images by; None if it does not say.
        uncertain: whether a run answers with several samples, and so with maps of how they differ.
        made: what a folder of predictions, or the one that was evaluated, says of itself (`predictions.json`).
        scores: an evaluation, if that is what was named.
    """

    path: Path
    kind: Literal["run", "masks", "scores"]
    run: RunRecord | None = None
    folder: Path | None = None
    partners: tuple[RunRecord | None, ...] = ()
    parameters: int | None = None
    answers: tuple[Kind, ...] = ("mask",)
    classes: tuple[str, ...] | None = None
    image_classes: tuple[str, ...] | None = None
    uncertain: bool = False
    made: PredictionsRecord = NO_PREDICTIONS
    scores: EvaluationRecord | None = None

    @property
    def seed(self) -> int | None:
        """The seed of the training."""
        return self.run.seed if self.run else None

    @property
    def draw(self) -> tuple[int | None, int | None]:
        """The seed of the training, and with a budget of labels the one that drew their subjects."""
        return self.seed, int(self.run.options.get("label_seed") or 0) if self.run else None

    @property
    def label(self) -> str:
        """The name of the method, if it is known, else that of the folder or file."""
        method = self.run.method if self.run else self.made.method
        if not method:
            return self.path.resolve().name if self.kind != "scores" else self.path.stem
        together = f" ensemble of {1 + len(self.partners)}" if self.partners else ""
        return f"{method}{together}{' mended' if self.made.mending else ''}"

    @property
    def weights(self) -> str | None:
        """A short name for the weights, the same for copies of a run."""
        return identity_of(self.path) if self.kind == "run" else None

    def alike(self) -> str | None:
        """What runs that differ in their seed and label seed alone have in common; None where too little is known."""
        if not self.run:
            return None
        settings = self.folder / "model" / "settings.json" if self.folder else Path()
        described = read_json(settings) if settings.is_file() else {}
        made = {"options": self.made.options, "mending": self.made.mending}
        return to_json({**_recipe(self.run, parts_of(described)), "made": made})

    def cache(self, out: Path | None, name: str, *parts: object) -> Path:
        """Where the predictions of a run are kept: of these very weights, and of data and options that are `told`."""
        text = f"{self.path.resolve()} {self.weights} {parts}"
        key = hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=5).hexdigest()
        return self.path / "compared" / f"{name}-{key}" if out is None else out / f"{self.path.resolve().name}-{key}"


def open_candidate(path: Path) -> Candidate:
    """Look at what was named, so that nothing is predicted before all can be.

    Raises:
        RunError: it is nothing that can be compared, its training is not finished, or it can neither segment nor
            classify.
        FileError: a file of it cannot be read.
    """
    path = path.parent if path.name == RUN else path
    if (path / RUN).is_file() or (path / "model" / WEIGHTS).is_file() or (path / WEIGHTS).is_file():
        method = load_model(path)
        answers = tuple(kind for kind, word in _ANSWERS.items() if word in method.gives)
        if not answers:
            raise RunError(
                f"{path}: {method.card.name} cannot segment or classify; it can {', '.join(method.card.gives)}"
            )
        number = sum(parameter.numel() for parameter in method.parameters())
        several = isinstance(method, Segmenter) and (method.segment_options(method.segment_with()).samples or 1) > 1
        return Candidate(
            path,
            "run",
            record_of(path),
            path,
            (),
            number,
            answers,
            method.traits.classes if "mask" in answers else None,
            method.traits.image_classes if "class" in answers else None,
            several,
            NO_PREDICTIONS.model_copy(update={"method": method.card.name}),
        )
    if path.is_dir():
        return _from_folder(path, path)
    if not path.is_file() or path.suffix != ".json":
        found = "is none of these" if path.exists() else "does not exist"
        raise RunError(f"{path}: {found}; expected a run, a folder of predictions or an evaluation's JSON file")
    scores = read_record(EvaluationRecord, path)
    return _from_folder(path, Path(scores.prediction or path), scores)


def _from_folder(path: Path, folder: Path, scores: EvaluationRecord | None = None) -> Candidate:
    listing = folder / PREDICTIONS
    made = read_record(PredictionsRecord, listing) if listing.is_file() else NO_PREDICTIONS
    if scores is not None:
        of_images = scores.image_classes.classes if scores.image_classes else None
        masks = bool(scores.cases) or of_images is None
    else:
        of_images = read_classes(folder / CLASSES)[0] if (folder / CLASSES).is_file() else None
        masks = of_images is None or has_masks(folder)
    answers: tuple[Kind, ...] = (*(("mask",) if masks else ()), *(("class",) if of_images else ()))
    record = record_of(made.run, model=made.model)
    listed = made.options.get("ensemble")
    others = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    partners = tuple(record_of(one.get("run"), model=one.get("model")) for one in others)
    numbers = [one.parameters if one else None for one in (record, *partners)]
    known = [number for number in numbers if isinstance(number, int)]
    return Candidate(
        path,
        "masks" if scores is None else "scores",
        record,
        Path(made.run) if record and made.run else None,
        partners,
        sum(known) if len(known) == len(numbers) else None,
        answers,
        (scores or made).classes or None,
        of_images,
        made=made,
        scores=scores,
    )


def median_seconds(made: PredictionsRecord) -> float | None:
    """The median time of an image as it was measured when masks were predicted; None where mending was timed."""
    known = [float(case.seconds) for case in made.cases if case.seconds is not None and not made.mending]
    return float(median(known)) if known else None


def _recipe(run: RunRecord, parts: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """All of a training but its seed and, with a budget of labels, which subjects it drew.

    Args:
        parts: stands for the records of those whose runs are gone.
    """

    def before(role: str, path: str) -> Any:
        record, part = record_of(path), (parts or {}).get(role)
        return _recipe(record) if record else _without_traits(part) if part else path

    recipe = run.model_dump(include={"method", "settings", "options", "split"})
    data: list[str | None] = [part.sha256 for part in run.data]
    if run.options.get("labels") is not None and run.given is not None:
        # with other subjects come other validation cases, other labels that are read, and another plan for them
        recipe |= {
            "settings": {"preset": run.preset, "given": run.given, "steps": run.settings.get("steps")},
            "options": {name: value for name, value in run.options.items() if name != "label_seed"},
            "split": {"test": run.split.get("test", ())},
        }
        data = [part.path for part in run.data]
    if run.minutes is not None:  # the steps that fitted into them are none of the recipe
        recipe |= {"minutes": run.minutes, "settings": {**recipe["settings"], "steps": None}}
    return {
        **recipe,
        "data": data,
        "built on": {role: before(role, path) for role, path in run.earlier.items()},
    }


def _without_traits(described: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: described.get(key) for key in ("method", "settings")}
    return {**kept, "uses": {role: _without_traits(part) for role, part in parts_of(described).items()}}
