"""The label budget: whose labels a training may look at, in how many slices; the rest counts as unlabelled."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

import numpy as np

from scantling.core.case import Case
from scantling.core.errors import DataError, FileError, SettingsError
from scantling.core.randomness import seed_of
from scantling.data.contents import count, some
from scantling.data.dataset import Dataset
from scantling.data.division import without_labels
from scantling.data.files import probe
from scantling.data.orientation import file_axis
from scantling.data.splits import MASKS, inherited, is_labelled, units

SlicesFrom = Literal["even", "middle"]
_NUMBER, _PERCENT = re.compile(r"\d{1,9}"), re.compile(r"(\d{1,3}(?:\.\d{1,6})?)\s*%")


def parsed_labels(labels: int | str, *, flag: str = "--labels", what: str = "subjects") -> int | Fraction:
    """A number of subjects, or of what else is said ("10", 10), or the share of them that a percentage says ("10%").

    Raises:
        SettingsError: it is neither a number from 1 nor a percentage above 0, and 100 at most.
    """
    text = str(labels).strip()
    if _NUMBER.fullmatch(text) and int(text) > 0:
        return int(text)
    if (match := _PERCENT.fullmatch(text)) and 0 < Fraction(match[1]) <= 100:
        return Fraction(match[1]) / 100
    raise SettingsError(
        f"{flag} {labels}: expected a number of {what} from 1 on, such as 10, or a percentage of the labelled ones, "
        "such as 10%"
    )


def written_labels(labels: int | str, *, flag: str = "--labels", what: str = "subjects") -> int | str:
    """The same in one form: 10, or "10%"."""
    parsed = parsed_labels(labels, flag=flag, what=what)
    return parsed if isinstance(parsed, int) else f"{float(100 * parsed):.9g}%"


def label_order(cases: Sequence[Case], *, seed: int) -> list[str]:
    """The subjects of `cases` in the order in which a budget takes them, so that smaller budgets lie in larger ones.

    Every prefix is as proportional as it can be in the values of each stratum: the next subject is one whose values
    lag furthest behind their share (largest deficit, summed over the strata). The seed decides among equals.
    A stratum that tells most subjects apart (more than half as many values as subjects) does not count; ours.
    """
    of: dict[str, list[Case]] = {}
    for case in cases:
        of.setdefault(case.subject, []).append(case)
    purpose = ("labels", seed) if seed else ("labels",)
    subjects = sorted(of, key=lambda subject: (seed_of(*purpose, subject), subject))
    values = [
        [tuple(sorted({case.strata.get(name, "") for case in of[subject]})) for subject in subjects]
        for name in sorted({name for case in cases for name in case.strata})
    ]
    numbers = [np.unique([str(value) for value in column], return_inverse=True)[1] for column in values]
    columns = [column for column in numbers if 2 * (column.max() + 1) <= len(subjects)]
    if not columns:
        return subjects
    totals = [np.bincount(column) for column in columns]
    taken = [np.zeros_like(total) for total in totals]
    alike, group_of = np.unique(np.stack(columns, 1), axis=0, return_inverse=True)
    waiting = [np.flatnonzero(group_of == group).tolist()[::-1] for group in range(len(alike))]
    order = list[str]()
    for size in range(1, len(subjects) + 1):
        deficits = np.zeros(len(alike), np.int64)
        for place, (total, before) in enumerate(zip(totals, taken, strict=True)):
            deficits += (size * total - len(subjects) * before)[alike[:, place]]
        left = [group for group, ranks in enumerate(waiting) if ranks]
        group = max(left, key=lambda group: (deficits[group], -waiting[group][-1]))
        order.append(subjects[waiting[group].pop()])
        for place, counted in enumerate(taken):
            counted[alike[group, place]] += 1
    return order


def real_or_all(cases: Sequence[Case]) -> list[Case]:
    """Those that nobody has made; all of them where there is no other."""
    return [case for case in cases if case.origin.kind != "synthetic"] or [*cases]


@dataclass(frozen=True)
class WithinBudget:
    """A dataset with no more labels than a budget.

    Attributes:
        dataset: whose other training and validation cases have no label any more.
        sentences: what was decided.
    """

    dataset: Dataset
    sentences: tuple[str, ...]


def keep_labels(
    dataset: Dataset,
    labels: int | str,
    *,
    seed: int = 0,
    validation: float = 0.0,
    fields: Collection[str] = MASKS,
    asked: str | None = None,
) -> WithinBudget:
    """Keep the labels of some labelled training subjects, with all their cases; the validation subjects are of these.

    Other training cases lose masks and weak labels alike, and so do those that the data hold out for validation. Made
    cases keep their labels unless a labelled parent has lost its own; where all labelled cases are made, their subjects
    are counted. Masks that were corrected since (`Case.correction`) are read beside the budget: what a budget asks for
    is what a training began with. Cases without an image and those for testing stay as they are.

    Args:
        dataset: every case of which has a split.
        labels: a number of subjects; or a percentage of the labelled training subjects, rounded down, at least one.
        seed: which subjects: see `label_order`.
        validation: the share of the budget that is held out, rounded down. It is spread evenly over the order of the
            subjects, so that both parts of a smaller budget lie in those of a larger one.
        fields: of which a labelled case has any.
        asked: what the user has asked for, in sentences; None: `--labels` and the number.

    Raises:
        DataError: there are fewer labelled training subjects, or none would be left for training.
        SettingsError: `labels` is no number and no percentage.
    """
    corrected = {c.id: c.correction for c in dataset.split("train") if c.correction and c.images and "mask" in fields}
    drawn_since = corrected.keys()
    # a mask that the data have counts in the order and the number of subjects, though a corrected one stands in for it
    replaced = {id for id, correction in corrected.items() if correction.instead}
    training = [c for c in dataset.split("train") if is_labelled(c, fields) and c.id not in drawn_since - replaced]
    pool = real_or_all(training)
    order, wanted = label_order(pool, seed=seed), parsed_labels(labels)
    number = wanted if isinstance(wanted, int) else max(1, int(wanted * len(order)))
    if number > len(order):
        raise DataError(
            f"{dataset.name}: --labels {labels}: found {count(len(order), 'labelled training subject')}; expected "
            f"{f'1 to {len(order)}' if order else 'at least one'}; ask for fewer, or label more"
        )
    kept = dict.fromkeys(order[:number])
    lost = {case.id for case in pool if case.subject not in kept} - drawn_since
    made = [case for case in dataset.split("train") if case.origin.kind == "synthetic"] if pool != training else []
    while children := {c.id for c in made if c.id not in lost and not lost.isdisjoint(c.origin.parents)}:
        lost |= children
    free = {case.id for case in made} - lost
    outside = {
        case.id
        for case in dataset.cases
        if case.split != "test" and case.images and case.id not in free | drawn_since
        if case.split == "validation" or case.subject not in kept or case.id in lost
    }
    within = replace(dataset, cases=tuple(without_labels(c) if c.id in outside else c for c in dataset.cases))
    result, held = _held_out(within, order[:number], validation)
    named = {c.subject for c in dataset.split("validation") if c.id in outside and is_labelled(c, fields)}
    taught = [case.origin.hand_drawn for case in made if case.id in free and is_labelled(case, fields)]
    asked = asked or f"--labels {labels}"
    sentences = [
        f"labels of {number} of {count(len(order), 'labelled subject')} are read ({asked}, label seed "
        f"{seed}: {some(kept)}): {number - held} to train on, {held} for validation; other training images count as "
        "unlabelled"
    ]
    if validation > 0 and not held:
        none = f"none of so few is held out (--validation {validation:g}): labels choose no weights and no thresholds"
        sentences.append(none)
    if named:
        where = f"{count(len(named), 'subject')} that the data hold out for validation"
        sentences.append(f"the labels of {where} are not read")
    if taught:
        behind = f"made by what learned from {max(taught)} masks that people drew"
        sentences.append(f"{count(len(taught), 'made case')} beside them keep their labels, {behind}")
    return WithinBudget(result, tuple(sentences))


def _held_out(dataset: Dataset, subjects: Sequence[str], share: float) -> tuple[Dataset, int]:
    """The dataset with a share of the `subjects`, rounded down, for validation with their kin, and how many they are.

    Raises:
        DataError: their kin leave none to learn from.
    """
    held = {one for place, one in enumerate(subjects, 1) if _whole(share * place) > _whole(share * (place - 1))}
    kin = {case.id for unit in units(dataset.cases) if any(case.subject in held for case in unit) for case in unit}
    moved = [replace(c, split="validation") if c.split == "train" and c.id in kin else c for c in dataset.cases]
    left = {case.subject for case in moved if case.split == "train"}.intersection(subjects)
    if not left:
        raise DataError(
            f"{dataset.name}: the {len(subjects)} labelled subjects are kin, so that those for validation "
            f"({some(held)}) leave none to learn from; pass --validation 0"
        )
    return replace(dataset, cases=inherited(moved)), len(subjects) - len(left)


def _whole(number: float) -> int:
    """Rounded down, but for what is lost in binary fractions."""
    return int(number + 1e-9)


def keep_slices(dataset: Dataset, number: int, *, spread: SlicesFrom = "even") -> WithinBudget:
    """Keep `number` slices of each mask of a real training or validation volume; the rest is unknown.

    Slices are counted in the file of the image, along its slices or the axis that the data name. Where the data say
    which slices are drawn, they are chosen from these; corrected masks stay as they are. Weak labels that lie anywhere
    in the volume are taken away.

    Args:
        spread: "even": the middles of `number` equal parts of the volume; "middle": those around its middle.

    Raises:
        DataError: a labelled image is no volume, or its slices are known only from its mask.
    """
    learnt = [case for case in dataset.cases if case.split != "test" and case.images and case.masks]
    real = any(case.origin.kind != "synthetic" for case in learnt)
    cases, lengths = list[Case](), list[tuple[int, int]]()
    for case in dataset.cases:
        made = real and case.origin.kind == "synthetic"
        if case.split == "test" or not case.images or made or case.correction is not None:
            cases.append(case)
            continue
        chosen: tuple[int, ...] | None = None
        if case.masks:
            with suppress(FileError):  # whoever reads it says why
                slices = _drawn_slices(case)
                chosen = _chosen(slices, number, spread)
                lengths.append((len(chosen), len(slices)))
        kept = replace(without_labels(case), masks=case.masks, image_class=case.image_class)
        if case.drawn_objects is not None:  # whose numbers are those of this map
            kept = replace(kept, instances=case.instances)
        cases.append(replace(kept, drawn_slices=chosen or case.drawn_slices))
    where = "spread evenly" if spread == "even" else "around the middle"
    drawn, there = (sum(pair[place] for pair in lengths) for place in (0, 1))
    sentence = (
        f"{drawn} of the {there} slices of {count(len(lengths), 'labelled volume')} are read (--label-slices {number}, "
        f"{where}); the others are unknown"
    )
    return WithinBudget(replace(dataset, cases=tuple(cases)), (sentence,))


def _drawn_slices(case: Case) -> Sequence[int]:
    """The slices of a volume that were drawn, as its image counts them."""
    geometry = probe(next(iter(case.images.values()))).geometry
    if len(geometry.shape) != 3 or (case.drawn_axis or 0) > 2:
        raise DataError(
            f"case {case.id}: --label-slices goes with volumes; found {len(geometry.shape)} axes; leave it out"
        )
    if case.drawn_slices == "marked":
        raise DataError(
            f"case {case.id}: --label-slices cannot choose among 'marked' slices, which only the mask tells; name them "
            'in the manifest, such as drawn_slices = ["3-20"]'
        )
    if case.drawn_slices is not None:
        return case.drawn_slices
    stored = [file_axis(geometry, axis)[0] for axis in range(3)]
    return range(geometry.shape[geometry.slice_axis if case.drawn_axis is None else stored.index(case.drawn_axis)])


def _chosen(slices: Sequence[int], number: int, spread: SlicesFrom) -> tuple[int, ...]:
    """`number` of the slices, or all of fewer."""
    length = len(slices)
    if number >= length:
        return tuple(slices)
    first = (length - number) // 2
    places = [(2 * i + 1) * length // (2 * number) if spread == "even" else first + i for i in range(number)]
    return tuple(slices[place] for place in places)


def few_labelled(dataset: Dataset, labels: int | str, *, seed: int = 0) -> tuple[Dataset, Dataset]:
    """A budget as data sets: its subjects alone, and all cases with the labels of these; no subject is held out.

    Args:
        dataset, labels, seed: as of `keep_labels`.

    Raises:
        ScantlingError: as of `keep_labels`.
    """
    within = keep_labels(dataset, labels, seed=seed).dataset
    cases = tuple(replace(case, split="train") if case.split == "validation" else case for case in within.cases)
    kept = tuple(case for case in cases if case.split == "test" or is_labelled(case))
    return replace(within, cases=kept), replace(within, cases=cases)
