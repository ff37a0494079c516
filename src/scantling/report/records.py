"""What the report reads: run folders and evaluations, checked as they come in, gaps allowed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator

from scantling.core.case import Labels
from scantling.core.errors import FileError
from scantling.records.run_folder import identity_of
from scantling.report.logs import Log, read_log


def _finite(value: Any) -> Any:
    return None if isinstance(value, int | float) and not abs(value) < GREATEST else value


def _number(value: float | None) -> float | None:
    """A number that can be drawn; None for one that is none, or beyond all metrics."""
    return float(value) if value is not None and abs(value) < GREATEST else None


def _sides(value: Any) -> Any:
    """A spacing, or None for one that is none."""
    sides = value if isinstance(value, list | tuple) else ()
    sound = all(isinstance(side, int | float) and 1 / GREATEST < side < GREATEST for side in sides)
    return value if sides and sound else None


def _addresses(value: Any) -> Any:
    if isinstance(value, dict):
        return list(value.values())
    return [value] if isinstance(value, str) else value or []


GREATEST = 1e30
"""A stranger's numbers that are larger are taken as none."""
Number = Annotated[float | None, BeforeValidator(_finite)]
Numbers = dict[str, Number]


class Record(BaseModel):
    """A part of a file that others wrote: what is not known here is passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", coerce_numbers_to_str=True)


R = TypeVar("R", bound=Record)


class Data(Record):
    """A dataset that a run was trained on."""

    path: str = ""
    name: str = ""
    sha256: str | None = None
    cases: dict[str, int] = {}


class Selected(Record):
    """Which weights were kept, and the validation value that spoke for them."""

    rule: str = "last"
    step: int | None = None
    value: Number = None


class RunRecord(Record):
    """run.json."""

    method: str
    command: tuple[str, ...] = ()
    preset: str | None = None
    settings: dict[str, Any] = {}
    traits: dict[str, Any] | None = None
    data: tuple[Data, ...] = ()
    split: dict[str, tuple[str, ...]] = {}
    seed: int | None = None
    threads: int | None = None
    device: str | None = None
    device_name: str | None = None
    base: str | None = None
    uses: dict[str, str] = {}
    manifest: str | None = None
    root: str | None = None
    options: dict[str, Any] = {}
    versions: dict[str, str | None] = {}
    started: str | None = None
    finished: str | None = None
    seconds: Number = None
    steps: int | None = None
    parameters: int | dict[str, int] | None = None
    selected: Selected | None = None
    warnings: tuple[str, ...] = ()


class Files(Record):
    """The addresses of a scored case; a mask of overlapping classes has one for each class.

    `threshold` and `spacing` are what the data say of this case beside its files (see `core.case.Case`).
    """

    image: Annotated[tuple[str, ...], BeforeValidator(_addresses)] = ()
    prediction: str | dict[str, str] | None = None
    truth: str | dict[str, str] | None = None
    region: str | None = None
    annotators: tuple[str | dict[str, str], ...] = ()
    samples: tuple[str | dict[str, str], ...] = ()
    uncertainty: Annotated[dict[str, str], BeforeValidator(lambda value: value or {})] = {}
    threshold: float | None = None
    spacing: Annotated[tuple[float, ...] | None, BeforeValidator(_sides)] = None


class MaskLabels(Record):
    """What the values of the masks on both sides mean; `order`: for each class its number, from 0, in `prediction`."""

    truth: Labels
    prediction: Labels
    order: tuple[int, ...]

    @model_validator(mode="after")
    def _fit(self) -> Self:
        for labels in (self.truth, self.prediction):
            if len(labels.values) != len(labels.names):
                raise ValueError("a class without its values")
        if not set(self.order) <= set(range(len(self.prediction.names))):
            raise ValueError("a class that the predictions do not have")
        return self


class CaseScores(BaseModel):
    """One scored case; its metrics stand beside its id, under names that the report does not prescribe."""

    model_config = ConfigDict(frozen=True, extra="allow", coerce_numbers_to_str=True)

    id: str
    subject: str | None = None
    files: Files = Files()
    classes: dict[str, Numbers] = {}
    marked: Numbers = {}
    """The shares of the pixels that count which the "prediction" marks, and which the "truth" does."""

    @property
    def values(self) -> Mapping[str, float | None]:
        """Every number of the case by the name of its metric, None where it is undefined."""
        found = self.model_extra or {}
        return {
            key: _number(value)
            for key, value in found.items()
            if value is None or (isinstance(value, int | float) and not isinstance(value, bool))
        }


class Failure(Record):
    """A case that could not be predicted or scored, and why."""

    id: str
    error: str = ""


class Reliability(Record):
    """Bins of predicted probability: their edges, mean prediction, share of foreground, number of pixels."""

    edges: tuple[float, ...] = ()
    confidence: tuple[Number, ...] = ()
    accuracy: tuple[Number, ...] = ()
    count: tuple[float, ...] = ()


class Tally(Record):
    """How many of how many, over cases and over subjects."""

    cases: tuple[int, int]
    subjects: tuple[int, int]

    def text(self, classes: int) -> str:
        """How many of how many, of cases or, where there are several `classes`, of the classes of cases."""
        people = f", {self.subjects[0]:,} of {self.subjects[1]:,} subjects" if self.subjects[1] != self.cases[1] else ""
        return f"{self.cases[0]:,} of {self.cases[1]:,} {'classes of cases' if classes > 1 else 'cases'}{people}"


class EvaluationRecord(Record):
    """An evaluation as `scantling evaluate --json` writes it."""

    cases: tuple[CaseScores, ...]
    mean: Numbers
    std: Numbers = {}
    interval: dict[str, tuple[Number, Number] | None] = {}
    count: dict[str, int] = {}
    prediction: str = ""
    truth: str = ""
    split: str | None = None
    run: str | None = None
    classes: tuple[str, ...] = ()
    labels: MaskLabels | None = None
    options: dict[str, Any] = {}
    made: dict[str, Any] = {}
    classes_mean: dict[str, Numbers] = {}
    failed: tuple[Failure, ...] = ()
    conventions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    reliability: Reliability | None = None
    detection: dict[str, Tally] = {}

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if self.labels is not None and len(self.labels.order) != len(self.classes):
            raise ValueError("the labels have other classes than the scores")
        return self


class PredictedCase(Record):
    """A case that was predicted: one number for each uncertainty of its image."""

    id: str = ""
    uncertainty: Annotated[Numbers, BeforeValidator(lambda value: value or {})] = {}


class PredictionsRecord(Record):
    """predictions.json: the cases, and those that failed."""

    cases: tuple[PredictedCase, ...] = ()
    failed: tuple[Failure, ...] = ()


@dataclass(frozen=True)
class Evaluation:
    """Scores of a folder of masks.

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
    predictions: PredictionsRecord = PredictionsRecord()
    masks: str = ""
    truth: str = ""

    def of(self, key: str) -> list[tuple[CaseScores, float]]:
        """The cases in which the metric `key` is defined, with its value."""
        return [(case, value) for case in self.record.cases if (value := case.values.get(key)) is not None]


@dataclass(frozen=True)
class Run:
    """A run folder as far as it can be read; `unread` holds a sentence for each part that cannot."""

    folder: Path
    record: RunRecord
    card: Mapping[str, Any]
    log: Log
    validation: Evaluation | None
    evaluations: tuple[Evaluation, ...]
    unread: tuple[str, ...]

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

    @property
    def command(self) -> tuple[str, ...]:
        """The command as one would type it, without the folder that the program lay in."""
        program, *words = self.record.command or ("",)
        path, typed = Path(program), [program]
        if path.parts[-2:] == ("scantling", "__main__.py"):
            typed = ["python", "-m", "scantling"]
        elif path.suffix == ".py":
            typed = ["python", program]
        elif path.name == "scantling":
            typed = ["scantling"]
        return (*typed, *words) if self.record.command else ()


def read_run(folder: Path) -> Run:
    """Read the run folder; raise FileError if run.json is not what a run writes."""
    record = _parse(RunRecord, read_json(folder / "run.json"), folder / "run.json")
    unread: list[str] = []
    evaluations: list[Evaluation] = []
    weights = _weights(folder)
    for path in [folder / "validation" / "scores.json", *sorted((folder / "evaluations").glob("*.json"))]:
        if path.is_file():
            try:
                found = read_evaluation(path)
            except FileError as error:
                unread.append(str(error))
                continue
            if weights is not None and found.record.made.get("model") not in (None, weights):
                unread.append(f"{path}: holds scores of weights that the run no longer has; predict and evaluate again")
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
    log = read_log(folder / "log.jsonl")
    return Run(folder, record, card, log, validation, tuple(evaluations), tuple(unread))


def _weights(run: Path) -> str | None:
    """What the weights of a run are called in what is made with them."""
    try:
        return identity_of(run)
    except OSError:
        return None


def read_evaluation(path: Path) -> Evaluation:
    """Read an evaluation; raise FileError if the file is not one."""
    record = _parse(EvaluationRecord, read_json(path), path)
    name = path.parent.name if path.name == "scores.json" else path.stem
    places = [base / record.prediction for base in (Path(), path.parent)] if record.prediction else []
    if not places or path.name == "scores.json":  # it lies beside its masks, which may have been moved with it
        places.append(path.parent)
    beside = next((place for place in places if place.is_dir()), None)
    predictions = PredictionsRecord()
    if beside is not None and (beside / "predictions.json").is_file():
        try:
            predictions = _parse(PredictionsRecord, read_json(beside / "predictions.json"), beside / "predictions.json")
        except FileError:
            predictions = PredictionsRecord()  # the scores stand without it
    return Evaluation(path, name, record, predictions)


def read_json(path: Path) -> Any:
    """The JSON of a file; FileError if there is none."""
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise FileError(path, f"cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise FileError(path, "is not JSON", remedy="write it again with the command that made it") from error


def _parse(kind: type[R], value: Any, path: Path) -> R:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the top level"
        found = f"{where}: {first['msg'].lower()}"
        what = "a run's record" if kind is RunRecord else "an evaluation"
        raise FileError(path, found, expected=what, remedy="write it again with the command that made it") from error
