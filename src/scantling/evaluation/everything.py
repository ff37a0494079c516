"""All that a folder of predictions holds, scored: its masks, its image classes and its boxes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scantling.core.engines import Cluster
from scantling.core.errors import DataError, SettingsError
from scantling.core.outputs import PREDICTIONS
from scantling.data.contents import entries
from scantling.data.dataset import Dataset, open_dataset
from scantling.data.files import is_image_name
from scantling.data.labels import OWN_FOLDERS
from scantling.data.subjects import Subjects
from scantling.evaluation.boxes import BoxEvaluation, boxes_from, evaluate_boxes, finds_boxes
from scantling.evaluation.classes import ClassEvaluation, evaluate_classes
from scantling.evaluation.folders import Progress, evaluate
from scantling.evaluation.keeping import keep
from scantling.evaluation.predictions import read_listing
from scantling.evaluation.result import Evaluation
from scantling.records.classes_csv import CLASSES
from scantling.records.evaluation import EvaluationRecord


@dataclass(frozen=True)
class Everything:
    """The scores of masks, of image classes and of boxes, one of them at least; `notes` say what was not scored."""

    masks: Evaluation | None
    classes: ClassEvaluation | None
    notes: tuple[str, ...] = ()
    boxes: BoxEvaluation | None = None

    def record(self) -> EvaluationRecord:
        """What `--json` prints and a run keeps: masks with "image_classes" and "boxes" beside them, or these alone."""
        classes, boxes = self.classes, self.boxes
        part: dict[str, Any] = {"image_classes": classes.record()} if classes else {}
        part |= {"boxes": boxes.record()} if boxes else {}
        if self.masks is not None:
            record = self.masks.record()
            return record.model_copy(update={"notes": (*record.notes, *self.notes), **part})
        if classes is not None:
            part |= {name: getattr(classes, name) for name in ("split", "run", "options", "made")}
            part |= {"prediction": str(classes.prediction), "truth": str(classes.truth), "notes": self.notes}
        elif boxes is not None:
            part |= {name: getattr(boxes, name) for name in ("split", "run", "made")}
            part |= {"prediction": str(boxes.prediction), "truth": str(boxes.truth), "notes": self.notes}
        return EvaluationRecord.model_validate(part)

    def facts(self) -> dict[str, Any]:
        """`record` as plain values, ready for JSON."""
        return self.record().facts()

    def keep(self) -> Path | None:
        """Keep the JSON in the run that predicted; see `keeping.keep`."""
        whole = self.masks or self.classes or self.boxes
        return keep(self.record(), whole.name if whole else "")

    def table(self, *, width: int | None = None) -> str:
        """For people.

        Args:
            width: columns of the terminal.
        """
        tables = (each.table(width=width) for each in (self.masks, self.classes, self.boxes) if each is not None)
        return "\n".join(["\n\n".join(tables), *self.notes])

    @property
    def failed(self) -> list[str]:
        """A line for each case that could not be scored."""
        lists = (each.failed for each in (self.masks, self.classes, self.boxes) if each is not None)
        return list(dict.fromkeys(f"{one.id}: {one.error}" for failed in lists for one in failed))

    def write_csv(self, path: Path) -> None:
        """Write the scores of each case: of masks to `path`, of classes too or, beside masks, to `beside(path)`.

        Raises:
            SettingsError: there are only boxes, whose scores are of all cases together.
        """
        if self.masks is None and self.classes is None:
            raise SettingsError("--csv: the scores of boxes are of all cases together; take --json")
        if self.masks is not None:
            self.masks.write_csv(path)
        if self.classes is not None:
            self.classes.write_csv(path if self.masks is None else beside(path))


def beside(path: Path) -> Path:
    """The table of classes beside that of masks: `NAME-classes.csv`."""
    return path.with_name(f"{path.stem}-classes{path.suffix}")


def evaluate_everything(
    prediction: Path,
    truth: Path | Dataset,
    *,
    split: str | None = None,
    probabilities: Path | None = None,
    region: Path | str | None = None,
    metrics: Iterable[str] | None = None,
    manifest: Path | None = None,
    root: Path | None = None,
    subjects: Subjects = "name",
    cluster: Cluster | None = None,
    progress: Progress | None = None,
) -> Everything:
    """Score the masks of a folder (`evaluate`), its `classes.csv` (`evaluate_classes`) and its boxes (`evaluate_boxes`)
    where the truth knows them.

    Raises:
        ScantlingError: nothing can be compared.
    """
    table = isinstance(truth, Path) and truth.suffix.lower() == ".csv"
    has_classes = table or (prediction / CLASSES).is_file()
    boxed = None if table else _boxed(prediction, truth, manifest=manifest, root=root, subjects=subjects)
    drawn = not has_classes or has_masks(prediction)
    knows_classes, knows_masks = table, not table
    if has_classes and not table:
        knows_classes, knows_masks = _known(truth, manifest=manifest, root=root, subjects=subjects)
    boxes = None if boxed is None else evaluate_boxes(prediction, boxed, split=split)
    knows_masks = knows_masks and (boxed is None or any(case.masks for case in boxed.cases))
    classes, masks, notes = None, None, list[str]()
    if has_classes and (knows_classes or not drawn):
        classes = evaluate_classes(prediction, truth, split=split, manifest=manifest, root=root, subjects=subjects)
    elif has_classes:
        notes.append(f"{prediction / CLASSES} was not scored: the truth names no image class.")
    if drawn and (knows_masks or (classes is None and boxes is None)):
        masks = evaluate(
            prediction, truth, split=split, probabilities=probabilities, region=region, metrics=metrics,
            manifest=manifest, root=root, subjects=subjects, cluster=cluster, progress=progress,
        )  # fmt: skip
    elif probabilities is not None or region is not None or metrics is not None:
        raise SettingsError(
            "--probabilities, --region and --metrics are of masks, and there are none to compare; leave them out"
        )
    elif drawn:
        notes.append(f"The masks of {prediction} were not scored: the truth has none.")
    return Everything(masks, classes, tuple(notes), boxes)


def _boxed(
    prediction: Path, truth: Path | Dataset, *, manifest: Path | None, root: Path | None, subjects: Subjects
) -> Dataset | None:
    """The truth, where boxes were found and it can tell true ones."""
    if not finds_boxes(prediction):
        return None
    try:
        dataset = (
            truth
            if isinstance(truth, Dataset)
            else open_dataset(truth, manifest=manifest, root=root, subjects=subjects)
        )
    except DataError:
        return None  # whoever scores masks says why
    return dataset if boxes_from(dataset) else None


def _known(truth: Path | Dataset, *, manifest: Path | None, root: Path | None, subjects: Subjects) -> tuple[bool, bool]:
    """Whether the truth has image classes, and whether it has masks, or may be a folder of nothing but masks."""
    try:
        cases = (
            truth
            if isinstance(truth, Dataset)
            else open_dataset(truth, manifest=manifest, root=root, subjects=subjects)
        ).cases
    except DataError:
        if manifest is not None or (isinstance(truth, Path) and not truth.is_dir()):
            raise
        return False, True
    classes = any(case.image_class is not None for case in cases)
    return classes, not classes or any(case.masks for case in cases)


def has_masks(folder: Path) -> bool:
    """Whether a folder of predictions holds masks, or one folder of them a class."""
    if (listing := read_listing(folder / PREDICTIONS)) is not None:
        return any(case.mask is not None for case in listing.cases)
    inside = list(entries(folder))
    folders = [entry for entry in inside if entry.is_dir() and entry.name not in OWN_FOLDERS]
    return any(is_image_name(file) for file in (*inside, *(file for each in folders for file in entries(each))))
