"""The data of a run, opened again as the run divided and labelled them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from scantling.core.errors import RunError
from scantling.data.contents import some
from scantling.data.dataset import Dataset, distinct, join
from scantling.data.division import without_labels
from scantling.data.label_budget import keep_slices
from scantling.data.memory import in_memory
from scantling.data.object_budget import only_objects
from scantling.data.opening import Opening
from scantling.data.splits import SPLITS
from scantling.records.run import RunRecord, read_run


def dataset_of(run: Path) -> Dataset:
    """The data that a run was trained on, as it divided and labelled them.

    Raises:
        RunError: there is no run, or it was trained on nothing.
        ScantlingError: its data are not where they were.
    """
    record = read_run(run)
    if not record.data:
        raise RunError(f"{run}: was trained on no data set; name the data instead")
    if held := [part.name for part in record.data if in_memory(part.path)]:
        raise RunError(
            f"{run}: was trained on data in memory ({some(held)}), which no file holds; pass the data instead"
        )
    opening = Opening(
        manifest=Path(record.manifest) if record.manifest else None,
        root=Path(record.root) if record.root else None,
        subjects=record.subjects,
    )
    dataset = join(distinct([opening.open(part.path) for part in record.data]))
    divided = divided_as(record, dataset)
    if not divided.cases:
        raise RunError(f"{run}: none of its cases is in {dataset.root} any more; name the data instead")
    return divided


def divided_as(record: RunRecord, dataset: Dataset) -> Dataset:
    """The cases of a dataset that a run has, with the splits and the labels that they have in it.

    Raises:
        RunError: an earlier version has kept labels by cases, and the run does not say of which.
    """
    splits = {id: name for name in SPLITS for id in record.split.get(name, ())}
    cases = tuple(replace(case, split=splits[case.id]) for case in dataset.cases if case.id in splits)
    if any(record.options.get(name) is not None for name in ("labels", "label_instances")):
        if record.labelled is None:
            raise RunError(
                "a run with --labels of an earlier version does not say whose labels it has kept; train it again, or "
                "name its data instead"
            )
        kept = {*record.labelled}
        cases = tuple(c if c.id in kept or c.split == "test" or not c.images else without_labels(c) for c in cases)
    cases = tuple(
        only_objects(case, tuple(part.numbers), part.rim)
        if (part := record.drawn_objects.get(case.id)) is not None and case.drawn_objects != tuple(part.numbers)
        else case
        for case in cases
    )
    divided, slices = replace(dataset, cases=cases), record.options.get("label_slices")
    if slices is None:
        return divided
    return keep_slices(divided, int(slices), spread=record.options["label_slices_from"]).dataset
