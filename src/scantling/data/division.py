"""What is decided of a data set as a whole: who is held out, whose labels tell what, and the split that is stored."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from scantling.core.atomic import write_json
from scantling.core.case import Case, Split
from scantling.core.errors import DataError
from scantling.core.fields import FIELDS
from scantling.data.contents import STORED_SPLIT, count
from scantling.data.dataset import Dataset
from scantling.data.splits import (
    MASKS,
    SPLITS,
    TEST_SHARE,
    StoredSplit,
    assign,
    by_hash,
    by_labels,
    torn_subjects,
    units,
)


def blindly(dataset: Dataset) -> Dataset:
    """The dataset as it is split if nobody may look at its labels; one that has a split of its own stays as it is."""
    if dataset.parted:
        return dataset
    return replace(dataset, cases=assign([replace(case, split=None) for case in dataset.cases], blind=True))


def divide(
    dataset: Dataset, *, validation: float = TEST_SHARE, labelled: bool = True, labels: Collection[str] = MASKS
) -> Dataset:
    """Take validation subjects from the training subjects, those whose hash comes first.

    Args:
        dataset: every case of which has a split.
        validation: the share of the labelled training units, rounded, at least one unless 0. A dataset that says
            itself which subjects are for validation keeps those and gives no others.
        labelled: False takes the share of all real units with an image, so that no label has a say in it.
        labels: the fields of which a labelled case has any.

    Raises:
        DataError: no case would be left for training, or a synthetic case has parents in different splits.
    """
    if not 0 <= validation < 1:
        raise DataError(f"the validation share is {validation:g}; expected 0 or more and less than 1")
    split: dict[str, Split] = {case.id: case.split or "train" for case in dataset.cases}
    for case in dataset.cases:
        of = {parent: split[parent] for parent in case.origin.parents if parent in split}
        if len(set(of.values())) > 1:
            raise DataError(
                f"{dataset.name}: the synthetic case {case.id} was made from cases in different splits "
                f"({', '.join(f'{parent}: {name}' for parent, name in of.items())}); leave it out"
            )
    if validation == 0 or any(case.split == "validation" for case in dataset.cases):
        return dataset
    training = [unit for unit in units(dataset.cases) if all(split[case.id] == "train" for case in unit)]
    real = [unit for unit in training if any(case.origin.kind != "synthetic" for case in unit)]
    imaged = [unit for unit in real if any(case.images for case in unit)]
    able = by_labels(real, labels)[0] if labelled else by_hash(imaged)
    if not able:
        return dataset
    number = max(1, int(validation * len(able) + 0.5))
    if number == len(able):
        found, remedy = (
            ("labelled training subject", "label more cases") if labelled else ("training subject", "add more")
        )
        raise DataError(
            f"{dataset.name}: {count(len(able), found)} and {number} for validation leave none to learn from; pass "
            f"--validation 0, or {remedy}"
        )
    held = {case.id for unit in able[:number] for case in unit}
    return replace(
        dataset, cases=tuple(replace(case, split="validation") if case.id in held else case for case in dataset.cases)
    )


def within_budget(dataset: Dataset) -> Dataset:
    """The dataset whose masks of training and validation cases, as they stand, are all that tells undeclared labels.

    So no mask is opened that `label_budget.keep_labels` has taken away, nor any of a test case; and no slice tells a
    class that `label_budget.keep_slices` has taken away.
    """
    held = {
        mask
        for case in dataset.cases
        if case.split != "test"
        for role, mask in case.addresses()
        if role.startswith("mask ")
    }
    return replace(dataset, label_source=dataset.label_source.only(held, dataset.cases))


def without_labels(case: Case) -> Case:
    """The case as if nobody had labelled it."""
    labels = {
        "box_classes",
        "point_classes",
        *(field.attribute or name for name, field in FIELDS.items() if field.label),
    }
    empty: dict[str, Any] = {each.name: each.default for each in fields(Case) if each.name in labels}
    return replace(case, **empty, correction=None)


def store_split(dataset: Dataset) -> Path:
    """Write the split of every subject into the dataset's folder, where `open_dataset` honours it; return the file.

    Raises:
        DataError: a subject is in two splits, or the dataset was joined from several folders.
    """
    if dataset.label_source.parts:
        raise DataError(
            f"{dataset.name}: a split is stored for one folder; store each by itself before they are joined"
        )
    held: dict[Split, list[str]] = {name: sorted({case.subject for case in dataset.split(name)}) for name in SPLITS}
    if torn := torn_subjects(dataset.cases):
        raise DataError(
            f"{dataset.name}: the subject {min(torn)} is in {' and '.join(torn[min(torn)])}; keep it in one split"
        )
    path = dataset.root / STORED_SPLIT
    write_json(path, StoredSplit(**{name: tuple(subjects) for name, subjects in held.items()}).model_dump())
    return path
