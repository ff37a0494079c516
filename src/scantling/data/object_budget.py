"""A budget of drawn objects: subjects with all that is drawn of them, and of the last one as many as are left."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from scantling.core.case import Address, Case, Labels
from scantling.core.errors import DataError, FileError
from scantling.core.randomness import seed_of
from scantling.data.contents import count
from scantling.data.dataset import Dataset
from scantling.data.division import without_labels
from scantling.data.drawn_objects import has_own_map, numbers_in_mask, radius_of
from scantling.data.files import read_labels
from scantling.data.label_budget import WithinBudget, keep_labels, label_order, parsed_labels, real_or_all
from scantling.data.label_source import find_labels
from scantling.data.labels import encode
from scantling.data.splits import MASKS, is_labelled

FLAG = "--label-instances"


@dataclass(frozen=True)
class _Drawn:
    """A case and the numbers of its objects, in the order in which a budget takes them."""

    case: Case
    map: np.ndarray
    numbers: tuple[int, ...]


def objects_of(case: Case, labels: Labels | None) -> np.ndarray:
    """(*S) one number for each drawn object of a case.

    Args:
        labels: what the values of masks mean; None: those that are found in this mask.

    Raises:
        DataError: its masks do not tell objects apart.
        FileError: a file cannot be read.
    """
    if has_own_map(case) and case.instances is not None:
        numbers = read_labels(case.instances)[0]
    elif isinstance(mask := next(iter(case.masks), None), Address) and case.threshold is None:
        labels = labels or find_labels([mask]).labels
        if labels is None:
            raise FileError(str(mask), "cannot be read")
        array = read_labels(mask, colours=labels.coloured)[0]
        numbers = numbers_in_mask(case, array, encode(array, labels, mask))
    else:
        raise DataError(
            f"case {case.id}: {FLAG} counts objects, and this case has neither a label map of objects ('instances' in "
            "a manifest) nor one label map of classes; add one, or leave it out"
        )
    if isinstance(case.drawn_objects, tuple):
        numbers = np.where(np.isin(numbers, case.drawn_objects), numbers, 0)
    return numbers


def keep_objects(
    dataset: Dataset, number: int | str, *, seed: int = 0, validation: float = 0.0, fields: Collection[str] = MASKS
) -> WithinBudget:
    """Keep so many drawn objects of labelled training subjects, those for validation included.

    Subjects are taken whole in the order of `label_order`, until the budget is reached; of the last one its images, and
    in the image that is not used up its objects, come in an order of the seed. So the objects of a smaller budget are
    among those of a larger one. In that image the other objects are unknown, and so is all that lies farther from a
    kept one than the median radius of these: a background known everywhere would outline the others (ours). No map
    beyond the last subject is opened, but for a percentage, which counts all.

    Args:
        number: of objects; or a percentage of those of the labelled training subjects, rounded down, at least one.
        seed, validation, fields: see `keep_labels`.

    Raises:
        DataError: there are fewer objects; else as `keep_labels` and `objects_of`.
        SettingsError: `number` is no number and no percentage.
    """
    wanted = parsed_labels(number, flag=FLAG, what="objects")
    pool = real_or_all([case for case in dataset.split("train") if is_labelled(case, fields)])
    order = label_order(pool, seed=seed)
    labels = dataset.label_source.resolved
    if not isinstance(wanted, int):
        wanted = max(1, int(wanted * sum(len(one.numbers) for one in _drawn(pool, order, seed, labels))))
    taken, found, subjects = list[_Drawn](), 0, 0
    while found < wanted and subjects < len(order):
        whole = [*_drawn(pool, order[subjects : subjects + 1], seed, labels)]
        taken += whole
        found += sum(len(one.numbers) for one in whole)
        subjects += 1
    if found < wanted:
        raise DataError(
            f"{dataset.name}: {FLAG} {number}: found {count(found, 'object')} in "
            f"{count(len(order), 'labelled training subject')}; ask for fewer, or draw more"
        )
    asked = f"{FLAG} {number}"
    within = keep_labels(dataset, subjects, seed=seed, validation=validation, fields=fields, asked=asked)
    left, partly = wanted, dict[str, Case | None]()
    for one in taken:
        if left <= 0:
            partly[one.case.id] = None
        elif left < len(one.numbers):
            kept = tuple(sorted(one.numbers[:left]))
            partly[one.case.id] = replace(one.case, drawn_objects=kept, drawn_rim=radius_of(one.map, kept))
        left -= len(one.numbers)
    return WithinBudget(_replaced(within.dataset, partly), (_sentence(wanted, asked, partly), *within.sentences))


def _drawn(pool: Sequence[Case], order: Sequence[str], seed: int, labels: Labels | None) -> Iterator[_Drawn]:
    """The cases of the subjects in order, with their objects; one that cannot be read has none."""
    for subject in order:
        own = [case for case in pool if case.subject == subject]
        for case in sorted(own, key=lambda case: seed_of("label images", seed, case.id)):
            try:
                numbers = objects_of(case, labels)
            except FileError:  # whoever reads it says why
                continue
            values = [int(value) for value in np.unique(numbers) if value > 0]
            ranked = sorted(values, key=lambda value: seed_of("label objects", seed, case.id, value))
            yield _Drawn(case, numbers, tuple(ranked))


def only_objects(case: Case, drawn: tuple[int, ...] | Literal["marked"] | None, rim: float) -> Case:
    """A case with no other labels than its masks and objects, of which only some are known."""
    bare = replace(without_labels(case), masks=case.masks, instances=case.instances, known=case.known)
    return replace(bare, drawn_objects=drawn, drawn_rim=rim, drawn_classes=case.drawn_classes)


def _replaced(dataset: Dataset, partly: dict[str, Case | None]) -> Dataset:
    """The dataset with the labels of these cases drawn in part, or not at all; what was made from them has none."""
    lost = {*partly}
    while made := {c.id for c in dataset.cases if c.images and not lost.isdisjoint(c.origin.parents)} - lost:
        lost |= made

    def now(case: Case) -> Case:
        if case.id not in lost or case.split == "test":
            return case
        one = partly.get(case.id)
        return without_labels(case) if one is None else only_objects(case, one.drawn_objects, one.drawn_rim)

    return replace(dataset, cases=tuple(map(now, dataset.cases)))


def _sentence(wanted: int, asked: str, partly: dict[str, Case | None]) -> str:
    sentence = f"{count(wanted, 'drawn object')} {'is' if wanted == 1 else 'are'} read ({asked})"
    for id, case in partly.items():
        if case is not None:
            rim = f"{case.drawn_rim:g} pixel{'s'[: case.drawn_rim != 1]}"
            sentence += (
                f"; of {id} {len(case.drawn_objects or ())}, and a rim of {rim} around them: all else is unknown"
            )
    return sentence
