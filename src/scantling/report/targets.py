"""What a page is about: run folders and evaluations as far as they can be read."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scantling.core.errors import FileError
from scantling.core.outputs import PREDICTIONS, RUN
from scantling.core.postprocessing import AS_ANSWERED, Postprocessing
from scantling.metrics.catalogue import length_of
from scantling.records.evaluation import CaseRecord, EvaluationRecord
from scantling.records.predictions import NO_PREDICTIONS, PredictionsRecord
from scantling.records.record import read_json, read_record
from scantling.records.registration_scores import RegistrationScoresRecord
from scantling.records.run import RunRecord, typed
from scantling.records.run_folder import identity_of, read_postprocessing
from scantling.report.logs import Log, read_log


@dataclass(frozen=True)
class EvaluationFile:
    """Scores of a folder of predictions.

    Attributes:
        path: the JSON file; addresses in it that are relative may start from its folder.
        name: of the file.
        masks, truth: the folders of both sides as the page calls them: the last parts of their paths, as few as tell
            them from the others on the page.
        predictions: what the folder of masks says of itself, where it still can be read.
    """

    path: Path
    name: str
    record: EvaluationRecord
    predictions: PredictionsRecord = NO_PREDICTIONS
    masks: str = ""
    truth: str = ""

    def of(self, key: str) -> list[tuple[CaseRecord, float]]:
        """The cases in which the metric `key` is defined, with its value; of lengths those in the unit of the mean."""
        unit = self.record.units.get(key)
        return [
            (case, value)
            for case in self.record.cases
            if (value := case.values.get(key)) is not None and (unit is None or case.unit == length_of(unit))
        ]


@dataclass(frozen=True)
class RegistrationFile:
    """Scores of a folder of registrations: the JSON file, and its name."""

    path: Path
    name: str
    record: RegistrationScoresRecord


@dataclass(frozen=True)
class Run:
    """A run folder as far as it can be read; `unread` holds a sentence for each part that cannot."""

    folder: Path
    record: RunRecord
    card: Mapping[str, Any]
    log: Log
    validation: EvaluationFile | None
    evaluations: tuple[EvaluationFile, ...]
    registrations: tuple[RegistrationFile, ...]
    unread: tuple[str, ...]
    postprocessing: Postprocessing = AS_ANSWERED

    @property
    def title(self) -> str:
        """The title on the method's card, or the method's name."""
        return str(self.card.get("title") or self.record.method)

    @property
    def blind(self) -> bool:
        """Whether the method's card says that it learns from images and reads none of their masks."""
        needs = self.card.get("needs")
        ways = needs if isinstance(needs, list) and all(isinstance(words, list) for words in needs) else []
        words = {str(word).partition(":")[0] for way in ways for word in way}
        return bool(words) and words <= {"image", "region", "link", "pool"}

    def gives(self, capability: str) -> bool:
        """Whether the method's card says that it can do this; one that says nothing segments."""
        gives = self.card.get("gives")
        return capability in gives if isinstance(gives, list) else capability == "segment"

    @property
    def command(self) -> tuple[str, ...]:
        """The command as one would type it: where minutes were named, with the steps that they gave."""
        with suppress(ValueError):  # a record that somebody edited
            if self.record.repeats:
                return tuple(shlex.split(self.record.repeats))
        return typed(self.record.command)


def open_run(folder: Path) -> Run:
    """Read the run folder; raise FileError if run.json is not what a run writes."""
    record = read_record(RunRecord, folder / RUN)
    unread: list[str] = []
    evaluations: list[EvaluationFile] = []
    registrations: list[RegistrationFile] = []
    weights = _weights(folder)
    for path in [folder / "validation" / "scores.json", *sorted((folder / "evaluations").glob("*.json"))]:
        if path.is_file():
            try:
                found = open_scores(path)
            except FileError as error:
                unread.append(str(error))
                continue
            if weights is not None and _model(found) not in (None, weights):
                unread.append(f"{path}: holds scores of weights that the run no longer has; predict and evaluate again")
            elif isinstance(found, RegistrationFile):
                registrations.append(found)
            else:
                evaluations.append(found)
    validation = next((one for one in evaluations if one.record.split == "validation"), None)
    evaluations = [one for one in evaluations if one is not validation]
    evaluations.sort(key=lambda one: (one.record.split != "test", one.name))
    card: Any = {}
    if (folder / "model" / "card.json").is_file():
        try:
            card = read_json(folder / "model" / "card.json")
        except FileError as error:
            unread.append(str(error))
    card = card if isinstance(card, dict) else {}
    postprocessing = AS_ANSWERED
    try:
        postprocessing = read_postprocessing(folder)
    except FileError as error:
        unread.append(str(error))
    log = read_log(folder / "log.jsonl")
    parts = (tuple(evaluations), tuple(registrations), tuple(unread), postprocessing)
    return Run(folder, record, card, log, validation, *parts)


def _weights(run: Path) -> str | None:
    """What the weights of a run are called in what is made with them."""
    try:
        return identity_of(run)
    except OSError:
        return None


def _model(found: EvaluationFile | RegistrationFile) -> Any:
    """A short name for the weights that made what was scored; None if it is not known."""
    return found.record.model if isinstance(found, RegistrationFile) else found.record.made.get("model")


def holds_scores(content: Any) -> bool:
    """Whether JSON is that of an evaluation: of masks, image classes, boxes or registrations."""
    keys = {*content} if isinstance(content, dict) else set()
    return (
        {"cases", "mean"} <= keys or {"pairs", "mean", "method"} <= keys or "image_classes" in keys or "boxes" in keys
    )


def open_scores(path: Path) -> EvaluationFile | RegistrationFile:
    """Read an evaluation; raise FileError if the file is not one."""
    content = read_json(path)
    if isinstance(content, dict) and "pairs" in content and "cases" not in content:
        record = read_record(RegistrationScoresRecord, path)
        return RegistrationFile(path, Path(record.prediction).name or path.stem, record)
    return open_evaluation(path)


def open_evaluation(path: Path) -> EvaluationFile:
    """Read an evaluation of masks, of image classes or of both; raise FileError if the file is not one."""
    record = read_record(EvaluationRecord, path)
    name = path.parent.name if path.name == "scores.json" else path.stem
    places = [base / record.prediction for base in (Path(), path.parent)] if record.prediction else []
    if not places or path.name == "scores.json":  # it lies beside its masks, which may have been moved with it
        places.append(path.parent)
    beside = next((place for place in places if place.is_dir()), None)
    predictions = NO_PREDICTIONS
    if beside is not None and (beside / PREDICTIONS).is_file():
        with suppress(FileError):  # the scores stand without it
            predictions = read_record(PredictionsRecord, beside / PREDICTIONS)
    return EvaluationFile(path, name, record, predictions)
