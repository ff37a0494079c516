"""Which cases a model has learned from, by the records of its training and by the files themselves."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from scantling.core.case import Case
from scantling.core.errors import ScantlingError, SettingsError
from scantling.data.contents import count, some
from scantling.data.dataset import Dataset, file_hashes, fingerprint, open_dataset
from scantling.methods.catalogue import card_of
from scantling.records.run import RunRecord, read_run
from scantling.records.run_data import divided_as
from scantling.records.run_folder import identity_of
from scantling.training.material import without_others


def record_of(run: str | Path | None, *, model: str | None = None) -> RunRecord | None:
    """The `run.json` of a run; None if it is gone, broken or only a model, or holds other weights than `model`."""
    try:
        found = read_run(Path(run)) if run else None
        return found if run and model in (None, identity_of(Path(run))) else None
    except (ScantlingError, OSError, ValueError):
        return None


def learned_from(records: Iterable[RunRecord | None], dataset: Dataset, *, among: Collection[str]) -> set[str]:
    """The ids `among` those of `dataset` that show a subject from whom models, or what they are built on, have learned.

    A training on the same folder, or on a copy with the same contents, is known by its record; one on any folder that
    is still there, by the images that are in both and by the subjects that both name (`Case.named`). Where the weights
    were chosen on validation cases, those count too.

    Args:
        records: the `run.json` of each model; None where it is not known.
    """
    involved, ids = list(records), set[str]()
    for record in involved:
        if record is not None:
            ids |= _learned(record, dataset, among)
            before = [record_of(path) for path in record.earlier.values()]
            involved += [run for run in before if run not in involved]
    subjects = {case.subject for case in dataset.cases if case.id in ids}
    return {case.id for case in dataset.cases if case.subject in subjects and case.id in among}


def check_apart(uses: Mapping[str, Path], dataset: Dataset) -> list[str]:
    """Make sure that no model that a method is built on has learned from a subject of the test split, labelled or not.

    Returns:
        Sentences on models that have learned from validation subjects, or of which no record says from whom.

    Raises:
        SettingsError: one has seen a test subject.
    """
    remarks = []
    for role, run in uses.items():
        if (record := record_of(run)) is None:
            remarks.append(
                f"--use {role}={run}: no record says from whom it has learned; test subjects may be among them"
            )
            continue
        others = {case.id for name in ("test", "validation") for case in dataset.split(name)}
        found = learned_from([record], dataset, among=others)
        for split in ("test", "validation"):
            subjects = sorted({case.subject for case in dataset.split(split) if case.id in found})
            sentence = f"--use {role}={run}: has learned from {count(len(subjects), f'{split} subject')} of these data"
            if subjects and split == "test":
                raise SettingsError(
                    f"{sentence} ({some(subjects, most=3)}), so that scores there would say nothing; expected a model "
                    "of the same split: write the split into a manifest (scantling check DATA --write-manifest) and "
                    "train both on it"
                )
            if subjects:
                remarks.append(f"{sentence} ({some(subjects, most=3)}); what is chosen on them may be too hopeful")
    return remarks


def start_remarks(run: Path | None, dataset: Dataset) -> list[str]:
    """A sentence if the model that a training starts from has learned from test subjects; none if it has not."""
    record = None if run is None else record_of(run)
    found = learned_from([record], dataset, among={case.id for case in dataset.split("test")})
    subjects = sorted({case.subject for case in dataset.cases if case.id in found})
    if not subjects:
        return []
    return [
        f"--from {run}: has learned from {count(len(subjects), 'test subject')} of these data "
        f"({some(subjects, most=3)}): scores there would say nothing"
    ]


def _learned(record: RunRecord, dataset: Dataset, among: Collection[str]) -> set[str]:
    chosen_on = record.options.get("select") == "best"
    splits = ("train", "validation") if chosen_on else ("train",)
    ids = {id for name in splits for id in record.split.get(name, ())}
    recorded = {case.id for case in _of(dataset, ids, record)} if _same_files(record, dataset) else set[str]()
    images, named = set[str](), set[str]()
    for part in record.data:
        try:
            learned = _of(open_dataset(part.path, subjects=record.subjects), ids, record)
        except (ScantlingError, OSError, ValueError):
            continue  # the data are no longer there
        images |= {digest for case in learned for digest in _images(case)}
        named |= {case.subject for case in learned if case.named}
    if not images and not named:
        return recorded
    return recorded | {
        case.id
        for case in dataset.cases
        if case.id in among and ((case.named and case.subject in named) or not images.isdisjoint(_images(case)))
    }


def _same_files(record: RunRecord, dataset: Dataset) -> bool:
    """Whether a run was trained on this folder, or on a copy of it."""
    root = dataset.root.resolve()
    if any(Path(part.path) == root for part in record.data):
        return True
    counts = [(part.sha256, sum(part.cases.values())) for part in record.data]
    known = {digest for digest, number in counts if digest and number == len(dataset.cases)}
    try:
        if record.options.get("labels") is not None:  # no other masks were hashed
            dataset = without_others(dataset, divided_as(record, dataset))
        card = card_of(record.method).chosen(SimpleNamespace(**record.settings))
        reads = {word for words in card.needs for word in words}
        return bool(known) and fingerprint(file_hashes(dataset, reads={*reads, "region"})) in known
    except ScantlingError:
        return False


def _of(dataset: Dataset, ids: set[str], record: RunRecord) -> list[Case]:
    """The cases that a record lists with these ids."""
    return [case for case in dataset.cases if ids & record.names_of(case.id, dataset.root, dataset.name)]


def _images(case: Case) -> set[str]:
    """The hashes of the images of a case; none if a file is gone."""
    try:
        return set(file_hashes(Dataset("", Path(), (replace(case, masks=()),)), reads=("image",)).values())
    except ScantlingError:
        return set()
