"""A folder of DICOM files as an archive writes it: each series is a case, segmentations are masks, the rest is told."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scantling.core.case import Address, Case, Labels, Split
from scantling.data.contents import CLASSES, Finding, count, is_silent, left_out, name_of, some
from scantling.data.files import RASTERS, VOLUMES
from scantling.data.formats.dicom_files import DEEPEST, DIRECTORY, SUFFIXES, files_below, is_dicom
from scantling.data.labels import valid_labels
from scantling.data.naming import IMAGE_FOLDERS, MASK_FOLDERS, SPLITS

if TYPE_CHECKING:
    from scantling.data.formats.dicom_index import Entry

PROJECTIONS = ("CR", "DX", "MG", "IO", "PX", "XA", "RF", "RG", "US", "ES", "GM", "SM", "XC", "OP", "OPT", "IVUS", "OCT")
"""Modalities whose files are images of their own and no slices of one volume."""
KINDS = {
    "SR": "report",
    "RTSTRUCT": "structure set",
    "RTPLAN": "treatment plan",
    "RTDOSE": "dose map",
    "PR": "presentation state",
    "KO": "key object selection",
    "REG": "registration",
    "DOC": "document",
    "SEG": "segmentation",
    DIRECTORY: DIRECTORY,
}
LOOKED_AT = 500
"""Files that are looked at before a folder without DICOM is believed to hold none."""
_UID = re.compile(r"[\d.]{20,}")


@dataclass(frozen=True)
class _Image:
    """What becomes one case: the files of a series, or one of them."""

    entries: tuple[Entry, ...]
    address: Address


def is_archive(folder: Path) -> bool:
    """Whether a folder holds DICOM files, at any depth, and next to nothing else that is an image.

    A volume of another format, a picture for every four DICOM files, or folders of another layout make it none.
    """
    if any(path.name.lower() in (*IMAGE_FOLDERS, *MASK_FOLDERS, *SPLITS) for path in folder.iterdir()):
        return False
    dicom = pictures = 0
    for looked, path in enumerate(files_below(folder, levels=DEEPEST), start=1):
        name = path.name.lower()
        if name.endswith(VOLUMES):
            return False
        if name.endswith(RASTERS):
            pictures += 1
        else:
            dicom += is_dicom(path)
        if looked >= LOOKED_AT and not dicom:
            return False
    return dicom > 4 * pictures


def archive(folder: Path, split: Split | None, remarks: list[Finding], root: Path) -> list[Case]:
    """The cases of an archive: each series of slices, each radiograph; none if `folder` is no archive.

    The subject is the patient's ID. A case is called after its folder or file where every case has one of its own,
    else after the patient and the description of the series. Scouts are left out where there are other images.

    Args:
        folder: where to look.
        split: of all the cases.
        remarks: gets what was understood and what was left out.
        root: the folder that is opened.
    """
    if not is_archive(folder):
        return []
    from scantling.data.formats.dicom_index import entries_of, without_scouts

    entries = entries_of(folder, levels=DEEPEST)
    sized = {entry.series for entry in entries if entry.sized}
    every = [entry for entry in entries if entry.image and entry.series in sized]
    chosen = without_scouts(every)
    inside: dict[Path, set[str]] = defaultdict(set)
    for entry in entries:
        if entry.image:
            inside[entry.path.parent].add(entry.series)
    images = [image for series in _by_series(chosen) for image in _images(series, inside)]
    masks = _masks(images, [entry for entry in entries if entry.segmentation])
    ids = _ids(images, folder)
    cases = []
    for image, id in zip(images, ids, strict=True):
        patient = _safe(image.entries[0].patient)
        cases.append(
            Case(
                id=id,
                subject=patient or id,
                named=bool(patient),
                split=split,
                images={"image": image.address},
                masks=masks.get(image.address, ()),
            )
        )
    cases.sort(key=lambda case: case.id)
    if len(cases) > 1 or len(entries) > len(chosen):
        remarks.append(_understood(cases, root, folder))
    used = {address for case in cases for mask in case.masks for address in _addresses(mask)}
    rest = [entry for entry in {*entries}.difference(chosen) if Address(entry.path) not in used]
    remarks += _no_images(rest, folder)
    known = {entry.path for entry in entries}
    told = {image.address.path for image in images if not image.address.member}  # `layouts` tells what is beside
    others = [path for path in files_below(folder, levels=DEEPEST) if path not in known and path.name != DIRECTORY]
    others = [path for path in others if path.parent not in told and path.name != CLASSES and not is_silent(path)]
    lost = [path for path in others if path.suffix.lower() in SUFFIXES]
    remarks += left_out(lost, root, "no DICOM file, by its content", warning="unreadable")
    remarks += left_out([path for path in others if path not in lost], root, "no DICOM file")
    return cases


def segment_labels(cases: Sequence[Case], root: Path) -> Labels | None:
    """The classes of masks that are DICOM segmentations, called by their labels; None where a mask is none.

    Raises:
        DataError: a label cannot be the name of a folder.
    """
    names = dict[int, str]()
    for case in cases:
        for mask in case.masks:
            if not isinstance(mask, Address) or not (found := _segments(mask)):
                return None
            if any(names.setdefault(number, label) != label for number, label in found.items()):
                return None
    if not names or len(set(names.values())) < len(names):
        return None
    ordered = sorted(names)
    labels = Labels(names=tuple(names[n] for n in ordered), values=tuple((n,) for n in ordered))
    return valid_labels(labels, str(root))


def _segments(mask: Address) -> Mapping[int, str]:
    if mask.path.suffix.lower() not in ("", *SUFFIXES) or not is_dicom(mask.path):
        return {}
    from scantling.data.formats.dicom_seg import segment_names

    return segment_names(mask.path)


def _by_series(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """The files of each series, a copy of it in another folder apart; one without a series is alone."""
    found: dict[tuple[str, int], list[Entry]] = defaultdict(list)
    copies: dict[str, list[Path]] = defaultdict(list)
    for entry in entries:
        folders = copies[entry.instance]
        if entry.path.parent not in folders:
            folders.append(entry.path.parent)
        found[entry.series or str(entry.path), folders.index(entry.path.parent)].append(entry)
    yield from found.values()


def _images(series: list[Entry], inside: Mapping[Path, set[str]]) -> Iterator[_Image]:
    """A volume of the slices of a series, or each file where these are no slices.

    Args:
        inside: the series of the images in each folder.
    """
    slices = [entry for entry in series if entry.frames <= 1 and entry.modality not in PROJECTIONS]
    slices = slices if len(slices) > 1 else []
    volume = {*slices}
    single = [entry for entry in series if entry not in volume]
    yield from (_Image((entry,), Address(entry.path)) for entry in single)
    if slices:
        folder = Path(os.path.commonpath([entry.path.parent for entry in slices]))
        alone = inside[folder] == {slices[0].series} and all(entry.path.parent == folder for entry in slices)
        member = "" if alone and not single else slices[0].series
        yield _Image(tuple(slices), Address(folder, member))


def _masks(
    images: Sequence[_Image], segmentations: Sequence[Entry]
) -> dict[Address, tuple[Address | Mapping[str, Address], ...]]:
    """The segmentations of each image: those that refer to its series, and to its file where it is one of several.

    One file is a label map where the labels of all files agree on the numbers; else the segments are classes by their
    labels, unless two files of an image have one in common: then these are by annotators.
    """
    found: dict[Address, dict[Path, Mapping[int, str]]] = {}
    for image in images:
        series = image.entries[0].series
        instances = {entry.instance for entry in image.entries}
        for entry in segmentations:
            if series and entry.refers[0] == series and (not entry.refers[1] or entry.refers[1] & instances):
                found.setdefault(image.address, {})[entry.path] = _segments(Address(entry.path))
    same = {pair for files in found.values() for names in files.values() for pair in names.items()}
    agree = len(same) == len({number for number, _ in same}) == len({label for _, label in same})
    labels = {at: [label for names in files.values() for label in names.values()] for at, files in found.items()}
    if any(len({*named}) < len(named) for named in labels.values()) or (
        agree and all(len(files) == 1 for files in found.values())
    ):
        return {at: tuple(Address(path) for path in files) for at, files in found.items()}
    return {
        at: ({label: Address(path, label) for path, names in files.items() for label in names.values()},)
        for at, files in found.items()
    }


def _ids(images: Sequence[_Image], folder: Path) -> list[str]:
    places = [name_of(image.address.path) if not image.address.member else "" for image in images]
    told = all(place and not _UID.fullmatch(place) for place in places)
    if told and len({place.casefold() for place in places}) == len(places):
        return places
    named = []
    for image in images:
        first = image.entries[0]
        described = _safe(first.description) or _safe("-".join(part for part in (first.modality, first.number) if part))
        named.append("_".join(part for part in (_safe(first.patient) or _safe(folder.name), described) if part))
    times, used = Counter(name.casefold() for name in named), Counter[str]()
    for at, name in enumerate(named):
        if times[name.casefold()] > 1:
            used[name.casefold()] += 1
            named[at] = f"{name}_{used[name.casefold()]}"
    return named


def _safe(text: str) -> str:
    """`text` as a part of a file's name."""
    return re.sub(r"[^\w.+]+", "-", text).strip("-. ")[:60]


def _addresses(mask: Address | Mapping[str, Address]) -> Iterable[Address]:
    return [mask] if isinstance(mask, Address) else mask.values()


def _understood(cases: Sequence[Case], root: Path, folder: Path) -> Finding:
    where = "" if folder == root else f" in {folder.relative_to(root).as_posix()}"
    people = {case.subject for case in cases if case.named}
    whose = f" of {count(len(people), 'patient')} by their IDs" if people else ""
    marked = sum(bool(case.masks) for case in cases)
    sentence = f"DICOM files{where}: {count(len(cases), 'case')}{whose} ({some((c.id for c in cases), most=3)})"
    sentence += f"; {marked} with a segmentation" if marked else ""
    return Finding(level="note", kind="layout", sentence=sentence)


def _no_images(entries: Sequence[Entry], folder: Path) -> Iterator[Finding]:
    """One line on what was left out, with counts."""
    kinds = Counter(
        "scout" if entry.scout and entry.image else KINDS.get(entry.modality, f"empty {entry.modality} file")
        for entry in entries
    )
    kinds[DIRECTORY] += (folder / DIRECTORY).is_file()
    listed = [count(number, kind) for kind, number in sorted(kinds.items()) if number]
    if listed:
        sentence = f"left out of the DICOM files, for they are no images to segment: {', '.join(listed)}"
        yield Finding(level="note", kind="unused files", sentence=sentence)
