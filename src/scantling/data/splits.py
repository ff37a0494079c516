"""Who may be learnt from: splits by subject, from folders, manifests or a stored file, else from a hash.

What must not be parted is a unit: the cases of a subject, with those that they link to and those that were made
from them. A unit has one split. No seed and no order of files has a say in it.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from scantling.core.case import Case, Frozen, Split
from scantling.core.errors import FileError
from scantling.core.randomness import seed_of
from scantling.data.contents import STORED_SPLIT, Finding, count, some

MASKS = ("mask",)
"""What a case that counts as labelled has, unless a method needs other labels."""
TEST_SHARE = 0.2
"""The share of the units that a dataset without a split keeps for testing."""
SPLITS: Final[tuple[Split, ...]] = ("train", "validation", "test")
_STRICTNESS: dict[Split, int] = {"train": 0, "validation": 1, "test": 2}


class StoredSplit(Frozen):
    """Subjects by split, as `scantling-split.json` holds them."""

    train: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()


def units(cases: Sequence[Case]) -> list[list[Case]]:
    """The cases in groups that must not be parted, in the order of `cases`: one subject, linked, parent and child."""
    boss = list(range(len(cases)))

    def top(number: int) -> int:
        while boss[number] != number:
            boss[number] = number = boss[boss[number]]
        return number

    ids = {case.id: number for number, case in enumerate(cases)}
    subjects: dict[str, int] = {}
    for number, case in enumerate(cases):
        related = (*case.links.values(), *case.origin.parents)
        for other in (subjects.setdefault(case.subject, number), *(ids[id] for id in related if id in ids)):
            first, second = sorted((top(number), top(other)))
            boss[second] = first
    grouped: dict[int, list[Case]] = {}
    for number, case in enumerate(cases):
        grouped.setdefault(top(number), []).append(case)
    return list(grouped.values())


def assign(cases: Sequence[Case], *, stored: StoredSplit | None = None, blind: bool = False) -> tuple[Case, ...]:
    """Every case with a split.

    A stored split counts first, then what folders or a manifest said. Where nothing at all was said, `TEST_SHARE` of
    the units (at least one of two or more; of the labelled and of the unlabelled ones alike) are for testing, those
    whose hash comes first. Units that nothing was said of, cases without images and synthetic cases without known
    parents are for training. A synthetic case has the strictest split of its parents.

    Args:
        stored: what `store_split` has written.
        blind: share out labelled and unlabelled units together, so that no label has a say in it.
    """
    if stored is not None:
        of = {subject: name for name in SPLITS for subject in getattr(stored, name)}
        cases = [replace(case, split=of.get(case.subject, case.split)) for case in cases]
    if any(case.split is not None for case in cases):
        # A case of which nothing was said goes with its unit, whose strictest member decides.
        split = {case.id: _strictest(unit) for unit in units(cases) for case in unit}
    else:
        able = [unit for unit in units(cases) if any(case.images and case.origin.kind != "synthetic" for case in unit)]
        parts = (by_hash(able),) if blind else by_labels(able)
        held = {id(unit) for part in parts for unit in part[: _share(len(part), TEST_SHARE)]}
        split = {case.id: "test" if id(unit) in held else "train" for unit in able for case in unit}
    return inherited([case if case.split else replace(case, split=split.get(case.id, "train")) for case in cases])


def together(cases: Sequence[Case], subjects: Collection[str]) -> tuple[Case, ...]:
    """The cases, each unit of one of `subjects` in one split: the strictest that one of its cases is in."""
    torn = [unit for unit in units(cases) if any(case.subject in subjects for case in unit)]
    split = {case.id: _strictest(unit) for unit in torn for case in unit}
    return tuple(replace(case, split=split.get(case.id, case.split)) for case in cases)


def inherited(cases: Sequence[Case]) -> tuple[Case, ...]:
    """The cases, synthetic ones with the strictest split of their parents (test before validation before training)."""
    split: dict[str, Split] = {case.id: case.split or "train" for case in cases}
    parents = {
        case.id: [id for id in case.origin.parents if id in split and id != case.id]
        for case in cases
        if case.origin.kind == "synthetic"
    }
    for _ in parents:  # as often as there may be generations
        before = dict(split)
        for id, above in parents.items():
            if above:
                split[id] = max((split[parent] for parent in above), key=_STRICTNESS.__getitem__)
        if split == before:
            break
    return tuple(replace(case, split=split[case.id]) for case in cases)


def _strictest(unit: Iterable[Case]) -> Split:
    stated = [case.split for case in unit if case.split is not None]
    return max(stated, key=_STRICTNESS.__getitem__) if stated else "train"


def by_labels(found: list[list[Case]], labels: Collection[str] = MASKS) -> tuple[list[list[Case]], list[list[Case]]]:
    """The labelled and the unlabelled units, each in the order of their hashes."""
    ordered = by_hash(found)
    return (
        [unit for unit in ordered if _labelled(unit, labels)],
        [unit for unit in ordered if not _labelled(unit, labels)],
    )


def by_hash(found: list[list[Case]]) -> list[list[Case]]:
    """Units in the order of the hashes of their first subjects."""
    return sorted(found, key=lambda unit: seed_of("split", min(case.subject for case in unit)))


def _labelled(unit: Iterable[Case], labels: Collection[str] = MASKS) -> bool:
    return any(is_labelled(case, labels) for case in unit)


def is_labelled(case: Case, labels: Collection[str] = MASKS) -> bool:
    """Whether the case is a real or synthetic image with any of these labels (`core.fields`)."""
    return bool(case.images) and any(case.has(name) for name in labels)


def _share(number: int, share: float) -> int:
    """`share` of `number`, rounded to the nearest, at least one of two or more."""
    return max(1, int(share * number + 0.5)) if number > 1 else 0


def stored_split(root: Path) -> StoredSplit | None:
    """The split that is stored in a folder, or None.

    Raises:
        FileError: the file is not what `store_split` writes.
    """
    path = root / STORED_SPLIT
    if not path.is_file():
        return None
    try:
        stored = StoredSplit.model_validate(json.loads(unicodedata.normalize("NFC", path.read_text(encoding="utf-8"))))
    except (OSError, ValueError, ValidationError, RecursionError) as error:
        raise FileError(
            path,
            f"the stored split cannot be read ({str(error).splitlines()[0]})",
            expected='{"train": [subjects], "validation": [...], "test": [...]}',
            remedy="mend or delete it",
        ) from None
    twice = [subject for subject in stored.train if subject in stored.validation + stored.test]
    twice += [subject for subject in stored.validation if subject in stored.test]
    if twice:
        raise FileError(path, f"the subjects {some(twice)} are in two splits", remedy="keep each in one")
    return stored


def torn_subjects(cases: Iterable[Case]) -> Mapping[str, tuple[str, ...]]:
    """The subjects that are in more than one split, and in which."""
    found: dict[str, set[str]] = {}
    for case in cases:
        found.setdefault(case.subject, set()).add(case.split or "train")
    return {
        subject: tuple(name for name in SPLITS if name in names) for subject, names in found.items() if len(names) > 1
    }


def split_remarks(before: Sequence[Case], after: Sequence[Case], stored: StoredSplit | None) -> Iterator[Finding]:
    """What to know of how the cases came by their splits."""
    if stored is None and len(before) > 1 and all(case.split is None for case in before):
        held = {case.subject for case in after if case.split == "test"}
        sentence = f"the dataset has no split; a hash took {count(len(held), 'subject')} for testing"
        yield Finding(level="note", kind="split", sentence=sentence)
    if stored is not None:
        named = {*stored.train, *stored.validation, *stored.test}
        if gone := sorted(named - {case.subject for case in before}):
            sentence = f"{count(len(gone), 'subject')} of {STORED_SPLIT} ({some(gone)}) not in the data"
            yield Finding(level="note", kind="split", sentence=sentence)
        new = sorted({case.subject for case in before if case.split is None} - named)
        if new:
            sentence = (
                f"{count(len(new), 'subject')} ({some(new)}) not in {STORED_SPLIT} went with their kin or to training"
            )
            yield Finding(level="note", kind="split", sentence=sentence)
    moved = [
        new.id
        for old, new in zip(before, after, strict=True)
        if old.split not in (None, new.split) and new.origin.kind == "synthetic"
    ]
    if moved:
        sentence = (
            f"{count(len(moved), 'synthetic case')} ({some(moved)}) were put into a split that their parents are not "
            "in, and were moved to that of the parents; mend the manifest"
        )
        yield Finding(level="error", kind="parents", cases=tuple(moved), sentence=sentence)
