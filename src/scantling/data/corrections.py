"""Masks that people have corrected by hand, in a folder of their own; joined to the data, they stand in for its masks.

A folder of corrections holds `corrections.json` and `masks/`. The images stay where they are: each correction names its
case in the data set that was corrected, and knows the content of its images, so that a copy of the data will do too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from scantling.core.case import Address, Case, Correction, Frozen, Labels
from scantling.core.errors import DataError, FileError, ScantlingError
from scantling.core.outputs import CORRECTIONS
from scantling.data.contents import Contents, Finding, count, some
from scantling.data.described import confined
from scantling.data.hashing import files_of, hash_of
from scantling.data.labels import valid_labels

MASKS = "masks"
"""The folder of masks below that of corrections."""
NEWEST = 1


class CorrectedCase(Frozen):
    """A mask that was corrected.

    Attributes:
        id: of the case in the data set.
        subject, named: as of `Case`.
        mask: its file below the folder; where classes overlap one by class.
        slices: the slices of a volume that somebody vouches for, as the image counts them; None: all of it.
        correction: who, when, how long, which model.
        revisions: how often it was saved.
    """

    id: str
    subject: str
    named: bool = False
    mask: str | dict[str, str]
    slices: tuple[int, ...] | None = None
    correction: Correction
    revisions: int = 1


class CorrectionsFile(Frozen):
    """The contents of `corrections.json`.

    Attributes:
        version: of the form of the file.
        data, manifest, root, subjects: which data set was corrected, and how it was opened.
        labels: what the values of the masks mean.
        cases: by id.
    """

    version: int = NEWEST
    data: str
    manifest: str | None = None
    root: str | None = None
    subjects: str = "name"
    labels: Labels
    cases: tuple[CorrectedCase, ...] = ()


def read_corrections(folder: Path) -> CorrectionsFile:
    """`corrections.json` of a folder.

    Raises:
        FileError: it cannot be read, holds something else, or a newer version has written it.
    """
    path = folder / CORRECTIONS
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict) and isinstance(found.get("version"), int) and found["version"] > NEWEST:
            raise FileError(path, f"has version {found['version']}", expected=f"at most {NEWEST}; update Scantling")
        if isinstance(found, dict):
            found.pop("made_by", None)
        return CorrectionsFile.model_validate(found)
    except OSError as error:
        raise FileError(path, f"cannot be read ({error.strerror})") from None
    except (ValueError, ValidationError, RecursionError) as error:
        reason = " ".join(str(error).splitlines()[:3])
        raise FileError(
            path, f"is no list of corrections ({reason})", remedy="restore it, or correct into a new folder"
        ) from None


def is_corrections(folder: Path) -> bool:
    """Whether a folder holds corrections."""
    return (folder / CORRECTIONS).is_file()


def corrected(folder: Path, known: Iterable[Case]) -> Contents:
    """The corrected cases of a folder, with all that the data set says of them where it is still there.

    Args:
        known: the cases of the data set that was corrected; none if it is gone. Then cases are masks alone.

    Raises:
        FileError: the record cannot be read.
        DataError: a mask is not there, or lies outside of the folder.
    """
    file = read_corrections(folder)
    of = {case.id: case for case in known}
    cases = []
    for one in file.cases:
        where = f"{folder / CORRECTIONS}: {one.id}"
        mask: Address | Mapping[str, Address]
        if isinstance(one.mask, str):
            mask = _address(folder, one.mask, where)
        else:
            mask = {name: _address(folder, text, where) for name, text in one.mask.items()}
        plain = Case(id=one.id, subject=one.subject, named=one.named)
        if (case := of.get(one.id)) is not None and images_of(case) != one.correction.images:
            case = None  # another image has the name now
        cases.append(standing_in(case or plain, mask, one.slices, one.correction))
    remarks = []
    if gone := [case.id for case in cases if not case.images]:
        sentence = f"{count(len(gone), 'corrected mask')} ({some(gone)}) without the images, which were in {file.data}"
        remarks.append(Finding(level="note", kind="without image", cases=tuple(gone), sentence=sentence))
    labels = valid_labels(file.labels, str(folder / CORRECTIONS))
    return Contents(
        name=folder.resolve().name, root=folder, cases=tuple(cases), labels=labels, remarks=tuple(remarks),
        layout="corrections", described=True,
    )  # fmt: skip


def standing_in(
    case: Case, mask: Address | Mapping[str, Address], slices: tuple[int, ...] | None, correction: Correction
) -> Case:
    """A case with a corrected mask in place of its own, and without what belongs to that: objects and drawn parts."""
    return replace(
        case, masks=(mask,), instances=None, known=None, drawn_slices=slices, drawn_axis=None, drawn_objects=None,
        drawn_rim=0.0, drawn_classes=None, threshold=None, correction=correction,
    )  # fmt: skip


def images_of(case: Case) -> tuple[str, ...]:
    """The SHA-256 of each file of the images of a case; none if one cannot be read."""
    with suppress(ScantlingError, OSError):
        return tuple(hash_of(path) for address in case.images.values() for path in sorted(files_of(address)))
    return ()


@dataclass(frozen=True)
class Absorbed:
    """Data sets whose cases have taken their corrections over.

    Attributes:
        cases: of each data set, in order.
        remarks: what to know of it.
    """

    cases: tuple[tuple[Case, ...], ...]
    remarks: tuple[Finding, ...] = ()


def absorbed(parts: Sequence[Sequence[Case]], names: Sequence[str]) -> Absorbed:
    """Let corrected masks stand in for those of the same images in other data sets, so that no image stands twice.

    A case has the same image if it has the same id and the same files, or files of the same content. Corrections of
    cases that are for testing are left out: what has learned from a model's masks measures no model.

    Args:
        parts: the cases of each data set.
        names: of the data sets.

    Raises:
        DataError: there is no image for a corrected mask, or another one of its name.
    """
    places = {
        (number, case.id): case
        for number, cases in enumerate(parts)
        for case in cases
        if case.correction is None and case.images
    }
    if len(parts) == 1 or not any(case.correction for cases in parts for case in cases):
        return Absorbed(tuple(map(tuple, parts)))
    taken: dict[tuple[int, str], Case] = {}
    gone, tested, lost, others = set[tuple[int, str]](), list[str](), list[str](), list[str]()
    for number, cases in enumerate(parts):
        for case in cases:
            if case.correction is None:
                continue
            alike = [key for key in places if key[1] == case.id and key[0] != number]
            same = [key for key in alike if _same_image(places[key], case)]
            if same:
                gone.add((number, case.id))
                held = [key for key in same if places[key].split == "test"]
                tested += [case.id] if held else []
                taken |= {key: _with_mask_of(places[key], case) for key in same if key not in held}
            elif not case.images:
                (others if alike else lost).append(case.id)
    if lost or others:
        named = " and ".join(name for name, cases in zip(names, parts, strict=True) if any(c.correction for c in cases))
        found = "is not in the data" if lost else "is another one in the data"
        raise DataError(
            f"{named}: the image of {count(len(lost or others), 'corrected mask')} ({some(lost or others)}) {found}; "
            "name the data set that was corrected, or leave these corrections out"
        )
    remarks = []
    if tested:
        sentence = f"{count(len(tested), 'correction')} ({some(tested)}) of test cases left out: test masks stay as are"
        remarks.append(Finding(level="warning", kind="corrections", cases=tuple(tested), sentence=sentence))
    kept = (
        tuple(taken.get((number, case.id), case) for case in cases if (number, case.id) not in gone)
        for number, cases in enumerate(parts)
    )
    return Absorbed(tuple(kept), tuple(remarks))


def _with_mask_of(case: Case, other: Case) -> Case:
    mask, correction = other.masks[0], other.correction
    if correction is None:
        return case
    slices = other.drawn_slices if isinstance(other.drawn_slices, tuple) else None
    return standing_in(case, mask, slices, correction.model_copy(update={"instead": case.has("mask")}))


def _same_image(case: Case, corrected: Case) -> bool:
    if corrected.images and _places(case) == _places(corrected):
        return True
    correction = corrected.correction
    return correction is not None and bool(correction.images) and images_of(case) == correction.images


def _places(case: Case) -> set[tuple[Path, str]]:
    return {(address.path.resolve(), address.member) for address in case.images.values()}


def _address(folder: Path, text: str, where: str) -> Address:
    path = confined(folder, text, where)
    if not path.is_file():
        raise DataError(f"{where}: there is no {text}; restore it, or take the case out of {CORRECTIONS}")
    return Address(path)


class CorrectionsRead(Frozen):
    """The corrected masks that a training reads.

    Attributes:
        cases, subjects: how many; `ids` are those of the cases.
        minutes: that people have spent on them.
        authors, models: who corrected, and whose masks.
    """

    cases: int
    subjects: int
    minutes: float
    authors: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()

    def __str__(self) -> str:
        by = f", by {some(self.authors)}" if self.authors else ""
        masks, subjects = count(self.cases, "mask"), count(self.subjects, "subject")
        return f"{masks} of {subjects}, {self.minutes:.1f} minutes{by}"


def corrections_read(cases: Iterable[Case]) -> CorrectionsRead | None:
    """What the training and validation cases among `cases` say of their corrected masks; None where there is none."""
    found = [(c, c.correction) for c in cases if c.correction is not None and c.split != "test" and c.masks]
    if not found:
        return None
    return CorrectionsRead(
        cases=len(found),
        subjects=len({case.subject for case, _ in found}),
        minutes=round(sum(one.seconds for _, one in found) / 60, 2),
        authors=tuple(sorted({one.author for _, one in found if one.author})),
        models=tuple(sorted({one.model for _, one in found if one.model})),
        ids=tuple(case.id for case, _ in found),
    )
