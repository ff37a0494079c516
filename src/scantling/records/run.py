"""`run.json`: how a model was trained, on what, and which weights were kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import ValidationError

from scantling.core.errors import FileError, RunError
from scantling.core.outputs import RUN
from scantling.core.samples import Traits
from scantling.data.corrections import CorrectionsRead
from scantling.records.record import FileRecord, Number, Numbers, Record, Table, read_record


class TrainingData(Record):
    """A data set that a run was trained on.

    Attributes:
        path: its folder.
        sha256: of all files that were read; None if that is not known.
        cases: how many there are, by split.
    """

    path: str = ""
    name: str = ""
    sha256: str | None = None
    cases: dict[str, int] = {}


class Selected(Record):
    """Which weights were kept, and the validation value that spoke for them."""

    rule: str = "last"
    stage: str | None = None
    step: int | None = None
    value: Number = None


class Timed(Record):
    """What was timed before the steps were fitted to `--minutes`, in seconds.

    Attributes:
        step: of a step, by stage.
        preparing: of what stages prepare before their first step.
        look: of one look at the validation cases, in all stages together.
        looks: at them in each stage, chosen with the steps.
        answers: of the answers to them at the end, also those that postprocessing is learnt from.
        starting_model: of scoring them for the comparison with the model that gave the first weights.
        views: of comparing views on them at the end, at most.
        appearance: of telling at the end what the training images look like.
        batch: chosen with the steps; None where it stayed what it was.
    """

    step: dict[str, float] = {}
    preparing: float = 0.0
    look: float = 0.0
    looks: int = 10
    answers: float = 0.0
    starting_model: float = 0.0
    views: float = 0.0
    appearance: float = 0.0
    batch: int | None = None

    @property
    def validation(self) -> float:
        """Of all looks at the validation cases, the comparison with the starting model and the answers at the end."""
        return self.looks * self.look + self.starting_model + self.answers


class StartingModel(Record):
    """The model that gave the first weights, against the one that was trained.

    Attributes:
        summary: what was loaded and the score before the training, in a sentence.
        metric: of the scores.
        cases, seen: how many validation cases are scored, and on how many of them the starting model was trained.
        before, after: the scores of the starting model and of the trained one.
        unscored: why there is no score.
    """

    summary: str = ""
    metric: str | None = None
    cases: int | None = None
    seen: int | None = None
    before: Number = None
    after: Number = None
    unscored: str | None = None


class Drawn(Record):
    """Labels that people drew or gave: of how many subjects and cases, and in how many slices of volumes."""

    subjects: int = 0
    cases: int = 0
    slices: int = 0

    def __str__(self) -> str:
        if not self.cases:
            return "none"
        slices = f", {self.slices} slices" if self.slices else ""
        return f"{self.subjects} subject{'s'[: self.subjects != 1]} ({self.cases} case{'s'[: self.cases != 1]}{slices})"


class LabelsRead(Record):
    """The labels of real cases that a training has looked at.

    Attributes:
        training: what it learned from.
        selection: what the kept weights were chosen by.
        thresholds: what was learnt after the training from: calibration, thresholds and the rest of the postprocessing,
            whether views help, and how far expected scores hold.
        all: these, and what only the watched scores were of, each once.
        behind: how many masks that people drew stand behind all that it learned from, those included that taught the
            models of made cases and of the first weights.
    """

    training: Drawn = Drawn()
    selection: Drawn = Drawn()
    thresholds: Drawn = Drawn()
    all: Drawn = Drawn()
    behind: int = 0

    def __str__(self) -> str:
        return f"training {self.training}; selection {self.selection}; thresholds {self.thresholds}"


class DrawnObjects(Record):
    """The numbers of the objects of an image that are read, and the rim around them in pixels (`core.case.Case`)."""

    numbers: tuple[int, ...]
    rim: float = 0.0


def never_found(marked: Mapping[str, tuple[int, int]]) -> list[str]:
    """A sentence on each class that a model marks in none of the validation cases whose truth has it.

    Args:
        marked: as `RunRecord.marked`.
    """
    return [
        f"The class {name} was never found in validation: the model marks it in 0 of the {all_} case{'s'[: all_ != 1]} "
        "that have it. Train longer, label more cases that have it, and see with `scantling check` whether its masks "
        "are as meant."
        for name, (some, all_) in marked.items()
        if all_ and not some
    ]


class RunRecord(FileRecord):
    """The contents of `run.json`.

    Attributes:
        command: as it was typed, word by word.
        minutes, timed: into which the steps were fitted, and by what; None where they were not.
        repeats: the command line that repeats such a run, with its steps in place of the minutes.
        implementation: the class of the method ("package.module:Class").
        preset, settings: of the method; `given` are those that were given beside the preset, None in earlier versions.
        plan: sentences on what the settings decided from the data, and why.
        traits: of the data, as `core.samples.Traits` reads them.
        split: the ids of the cases, by split.
        base: the run that gave the first weights.
        pretrained: the tensors that it did not give, and the factor on the learning rate of the others; None where it
            gave all and they learn at the full rate.
        starting_model: see `StartingModel`.
        uses: the runs that the model is built on, by role.
        manifest, root, subjects: how the data were opened.
        options: of the training.
        device, device_name, threads, versions: what bit-identical repetition depends on.
        started, finished: times; `finished` is None while the training is not at its end.
        seconds: of training.
        steps: of all stages.
        learned: numbers that the method tells of itself, by name.
        parameters: how many, of the whole model or by network.
        warnings: sentences.
        labelled: with a budget of labels the ids of the training and validation images that have any; else None.
        drawn_objects: with a budget of objects those that are read of an image that is not read as a whole, by id.
        labels_read: see `LabelsRead`.
        marked: by class in how many of the validation cases whose truth has it the finished model marks it, and of how
            many; empty in earlier versions, and where no mask may be read.
        corrections: the masks that people corrected and that it learned from; None where there was none.
        left_out: why, by id, of training and validation cases that could not be read.
    """

    what: ClassVar[str] = "record of a training"
    writer: ClassVar[str] = "scantling train"

    method: str = ""
    implementation: str | None = None
    command: tuple[str, ...] = ()
    minutes: Number = None
    timed: Timed | None = None
    repeats: str | None = None
    preset: str | None = None
    settings: Table = {}
    given: Table | None = None
    plan: tuple[str, ...] = ()
    traits: dict[str, Any] | None = None
    data: tuple[TrainingData, ...] = ()
    split: dict[str, tuple[str, ...]] = {}
    seed: int | None = None
    threads: int | None = None
    device: str | None = None
    device_name: str | None = None
    base: str | None = None
    pretrained: dict[str, Any] | None = None
    starting_model: StartingModel | None = None
    uses: Table = {}
    manifest: str | None = None
    root: str | None = None
    subjects: Literal["name", "file"] = "name"
    options: Table = {}
    versions: dict[str, str | None] = {}
    started: str | None = None
    finished: str | None = None
    seconds: Number = None
    steps: int | None = None
    parameters: int | dict[str, int] | None = None
    learned: Numbers = {}
    selected: Selected | None = None
    labelled: tuple[str, ...] | None = None
    drawn_objects: dict[str, DrawnObjects] = {}
    labels_read: LabelsRead | None = None
    corrections: CorrectionsRead | None = None
    warnings: tuple[str, ...] = ()
    marked: dict[str, tuple[int, int]] = {}
    left_out: dict[str, str] = {}

    @property
    def earlier(self) -> dict[str, str]:
        """The runs that this one was built on, by role, "from" being the one that gave its first weights."""
        before = {"from": self.base} if self.base else {}
        return {**{role: str(run) for role, run in self.uses.items()}, **before}

    def names_of(self, id: str, root: Path, name: str) -> set[str]:
        """What the record may call a case of the data set at `root`, known as `name`.

        Where several data sets were joined, an id that two of them use stands behind the name of its own.
        """
        before = {name, *(part.name for part in self.data if Path(part.path) == root.resolve())}
        return {id, *(f"{one}_{id}" for one in before)}

    @property
    def whole(self) -> bool:
        """Whether it says all that is needed to go on with the training or to use its model."""
        try:
            Traits.model_validate(self.traits)
        except ValidationError:
            return False
        named = {"settings", "split", "data", "warnings"} <= self.model_fields_set
        return named and bool(self.method) and all(part.path for part in self.data)


def typed(command: Sequence[str]) -> tuple[str, ...]:
    """A command as one would type it, without the folder that the program lay in."""
    program, *words = command or ("",)
    path, first = Path(program), [program]
    if path.parts[-2:] == ("scantling", "__main__.py"):
        first = ["python", "-m", "scantling"]
    elif path.suffix == ".py":
        first = ["python", program]
    elif path.name == "scantling":
        first = ["scantling"]
    return (*first, *words) if command else ()


def read_run(run: Path) -> RunRecord:
    """`run.json` of a run folder.

    Raises:
        RunError: the folder is no run.
        FileError: its `run.json` cannot be read, holds something else or lacks what every run needs.
    """
    path = run / RUN
    if not path.is_file():
        what = "does not exist" if not run.exists() else f"holds no {RUN}"
        raise RunError(f"{run}: found no run: the folder {what}; expected a folder that `scantling train` has written")
    record = read_record(RunRecord, path)
    if not record.whole:
        raise FileError(path, "does not describe a training", remedy="restore it, or train into another folder")
    return record


def run_facts(run: Path) -> dict[str, Any]:
    """`run.json` of a run folder as plain values; raises what `read_run` raises."""
    return read_run(run).facts()
