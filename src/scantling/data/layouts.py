"""Layouts that are understood as they are: paired folders, a plain folder, single files."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from scantling.core.case import Address, Case, Split
from scantling.core.errors import DataError
from scantling.data import objects
from scantling.data.beside import beside, plain
from scantling.data.class_table import classes_in
from scantling.data.contents import CLASSES, Contents, Finding, count, entries, left_out, name_of, some, unique
from scantling.data.dicom_archive import archive, is_archive, segment_labels
from scantling.data.files import is_image_name
from scantling.data.formats.dicom_files import DIRECTORY, is_dicom
from scantling.data.globs import loose_files
from scantling.data.naming import IMAGE_FOLDERS, MASK_FOLDERS, SPLITS, split_folder
from scantling.data.pairs import pair_files
from scantling.data.patients import labels_by_file, patients
from scantling.data.twins import twins

IMAGES, MASKS, INSTANCES = "images", "masks", "instances"
REGIONS = ("fov", "region", "regions")

_ANNOTATOR = re.compile(r"masks-(\d+)(?:st|nd|rd|th)?|([2-9])(?:nd|rd|th)_manual", re.IGNORECASE)


def paired(root: Path) -> Contents:
    """The cases of a folder of images and masks, of images, of patients, or of splits (`train`, `test`) of these.

    Raises:
        DataError: the folder holds no images, or its files cannot be paired without doubt.
    """
    listed = list(entries(root))
    inside = [path for path in listed if path.is_dir()]
    known = (*IMAGE_FOLDERS, *MASK_FOLDERS, *SPLITS)
    alone = len(inside) == len(listed) == 1 and inside[0].name.lower() not in known
    if alone and any(path.name.lower() in SPLITS for path in entries(inside[0]) if path.is_dir()):
        return replace(paired(inside[0]), name=root.resolve().name, root=root)
    joined = _by_split(inside)
    used = [path for rooms in joined.values() for path in rooms.values()]
    parts = {path: SPLITS[path.name.lower()] for path in inside if path.name.lower() in SPLITS and path not in used}
    layout = joined or parts or any(path.name.lower() in (*IMAGE_FOLDERS, *MASK_FOLDERS) for path in inside)
    if not layout and is_image_name(root) and not is_archive(root):
        series = loose_files([root], root=root)
        return replace(series, remarks=tuple(_beside_series(series.cases, root)))
    remarks: list[Finding] = []
    cases: list[Case] = []
    classes = classes_in(root / CLASSES, remarks)
    for split, rooms in joined.items():
        cases += _part(root, split, remarks, root, inside=rooms)
    for part, split in parts.items():
        cases += _part(part, split, remarks, root)
    if parts or joined:
        remarks += unread(root, [*parts, *used, root / CLASSES], root)
    else:
        cases = _part(root, None, remarks, root)
    twice = {id for id, times in Counter(case.id for case in cases).items() if times > 1}
    if twice and all(case.split for case in cases):
        cases = [replace(case, id=f"{case.split}_{case.id}", subject=f"{case.split}_{case.subject}") for case in cases]
        sentence = (
            f"{count(len(twice), 'name')} (such as {min(twice)}) {'is' if len(twice) == 1 else 'are'} used in more "
            "than one split, so every id was given its split and the images were taken for different subjects"
        )
        remarks.append(Finding(level="note", kind="names", sentence=sentence))
    if not cases:
        raise DataError(
            f"{root}: found no images; expected folders 'images' and 'masks' (also below 'train' and 'test'), image "
            "files, a folder for each patient, nnU-Net's dataset.json, or a manifest (scantling.toml or --manifest "
            "FILE)"
        )
    cases = _with_classes(cases, classes, root / CLASSES, remarks)
    remarks += _beside_series(cases, root)
    return Contents(
        name=root.resolve().name,
        root=root,
        cases=unique(cases, root),
        labels=labels_by_file(cases, root) or segment_labels(cases, root),
        remarks=tuple(remarks),
    )


@dataclass(frozen=True, kw_only=True)
class _Rooms:
    """The folders that files pair in: those of the images, of each annotator's masks, of regions and of instances."""

    images: Path | None
    masks: tuple[Path, ...]
    region: Path | None
    instances: Path | None

    def within(self, name: str) -> _Rooms:
        """The folders of a split or a patient inside these (`images/train`, `masks/Training`)."""
        split = SPLITS.get(name.lower())

        def inner(path: Path | None) -> Path | None:
            inside = [one for one in entries(path) if one.is_dir()] if path is not None else []
            same = [one for one in inside if _nfc(one.name) == name]
            return next(iter(same or [one for one in inside if split and SPLITS.get(one.name.lower()) == split]), None)

        masks = tuple(path for path in map(inner, self.masks) if path is not None)
        return _Rooms(
            images=inner(self.images), masks=masks, region=inner(self.region), instances=inner(self.instances)
        )

    def listed(self) -> list[Path]:
        """All of them."""
        return [path for path in (self.images, *self.masks, self.region, self.instances) if path is not None]


def _by_split(inside: Iterable[Path]) -> dict[Split, dict[str, Path]]:
    """The folders called after their split: `train_images` and `train_masks`, or `train` beside `train_masks`."""
    found: dict[Split, dict[str, Path]] = {}
    for path in inside:
        if (match := split_folder(path.name)) is not None:
            found.setdefault(match[1], {})[match[0]] = path
    for path in inside:
        rooms = found.get(SPLITS.get(path.name.lower(), "train")) if path.name.lower() in SPLITS else None
        if rooms and not rooms.keys() & {*IMAGE_FOLDERS} and any(map(is_image_name, entries(path))):
            rooms[IMAGES] = path
    return found


def _rooms(inside: Mapping[str, Path]) -> _Rooms | None:
    """The folders that files pair in; None where the folder has another layout."""
    folders = {name.lower(): path for name, path in sorted(inside.items()) if path.is_dir()} | dict(inside)
    first = next((name for name in MASK_FOLDERS if name in folders and (name != "y" or "x" in folders)), "")
    images = next((name for name in IMAGE_FOLDERS if name in folders and (name != "x" or first == "y")), "")
    exact = IMAGES in inside or MASKS in inside
    if first and not images and not any(map(is_image_name, inside.values())):
        known = (*MASK_FOLDERS, *REGIONS, *SPLITS, INSTANCES)
        others = [path for path in inside.values() if path.is_dir() and not _ANNOTATOR.fullmatch(path.name)]
        others = [path for path in others if path.name.lower() not in known and any(map(is_image_name, entries(path)))]
        images = others[0].name if len(others) == 1 else ""
    if not exact and (not (images or first) or any(map(is_image_name, inside.values()))):
        return None
    region = next((folders[name] for name in REGIONS if name in folders), None)
    if region is None and first == "1st_manual":
        region = folders.get("mask")
    further = sorted(
        (int(match[1] or match[2]), path)
        for name, path in inside.items()
        if path.is_dir() and (match := _ANNOTATOR.fullmatch(name))
    )
    first = first or (INSTANCES if INSTANCES in folders else "")
    return _Rooms(
        images=folders.get(images),
        masks=(*([folders[first]] if first else []), *(path for _, path in further)),
        region=region,
        instances=folders.get(INSTANCES),
    )


def _part(
    folder: Path,
    split: Split | None,
    remarks: list[Finding],
    root: Path,
    *,
    inside: Mapping[str, Path] | None = None,
) -> list[Case]:
    """The cases of one folder with `images` and `masks`, of a plain folder, or of one with a folder a patient.

    Args:
        inside: the folders of one split where they lie beside those of others, by what they would be called alone.
    """
    named_by_split = inside is not None
    inside = inside if inside is not None else {path.name: path for path in entries(folder)}
    rooms = _rooms(inside)
    if rooms is None:
        if not (cases := archive(folder, split, remarks, root)):
            files = [path for path in inside.values() if is_image_name(path)]
            if not files:
                return patients(folder, split, remarks, root)
            remarks += unread(folder, [*files, folder / CLASSES], root)
            cases = beside(files, split, remarks, root)
        classes = classes_in(folder / CLASSES, remarks) if folder != root else {}
        return _with_classes(cases, classes, folder / CLASSES, remarks)
    roles = {"images": rooms.images, "masks": rooms.masks[0] if rooms.masks else None, "fov": rooms.region}
    called = {role: path.name for role, path in roles.items() if path is not None}
    if any(name != role and name not in REGIONS for role, name in called.items()):
        listed = ", ".join(f"{name!r} for {role}" for role, name in called.items())
        where = folder.relative_to(root).as_posix() if folder != root else folder.resolve().name
        remarks.append(Finding(level="note", kind="layout", sentence=f"the folders of {where} were taken: {listed}"))
    cases = _below(rooms, split, remarks, root)
    if rooms.images is not None and not any(case.masks for case in cases):
        others = [path for path in inside.values() if path.is_dir() and path not in rooms.listed()]
        images = {one: [*filter(is_image_name, entries(one))] for one in [rooms.images, *others]}
        remarks += twins(images, root)
    if not named_by_split and (folder != root or not any(name in SPLITS for name in inside)):
        remarks += unread(folder, [*rooms.listed(), folder / CLASSES], root)
    classes = classes_in(folder / CLASSES, remarks) if folder != root else {}
    return _with_classes(cases, classes, folder / CLASSES, remarks)


def _below(rooms: _Rooms, split: Split | None, remarks: list[Finding], root: Path) -> list[Case]:
    """The cases of folders that pair, or of the folders of splits or of patients inside them."""
    images = list(entries(rooms.images)) if rooms.images is not None else []
    inner = [_nfc(path.name) for path in images if path.is_dir()]
    if not inner or any(map(is_image_name, images)):
        return _paired(rooms, split, remarks, root)
    cases: list[Case] = []
    parts = {name: rooms.within(name) for name in inner}
    for name, part in parts.items():
        if name.lower() in SPLITS and split is None:
            cases += _below(part, SPLITS[name.lower()], remarks, root)
            continue
        for case in _paired(part, split, remarks, root):
            id = case.id if case.id.startswith(name) else f"{name}_{case.id}"
            people = any(letter.isdigit() for letter in "".join(inner))
            cases.append(replace(case, id=id, subject=name if people else id, named=people))
    for room in rooms.listed():
        remarks += unread(room, [path for part in parts.values() for path in part.listed()], root)
    return cases


def _paired(rooms: _Rooms, split: Split | None, remarks: list[Finding], root: Path) -> list[Case]:
    """The cases of folders whose files pair by their stems."""
    images = _by_stem(rooms.images, remarks, root)
    by_object, sentence = objects.paired_by_object(images, rooms.masks[0]) if rooms.masks else ({}, "")
    if by_object:
        remarks.append(Finding(level="note", kind="layout", sentence=sentence))
        return [objects.with_objects(plain(path, split), by_object.get(stem, [])) for stem, path in images.items()]
    masks = [_by_stem(path, remarks, root) for path in rooms.masks]
    stems = sorted(images or (masks[0] if masks else ()))
    roles = {path: pair_files(masks[number], stems, path, remarks, root) for number, path in enumerate(rooms.masks)} | {
        path: pair_files(_by_stem(path, remarks, root), stems, path, remarks, root)
        for path in (rooms.region, rooms.instances)
        if path is not None
    }

    def address(role: Path | None, stem: str) -> Address | None:
        path = roles[role].get(stem) if role is not None else None
        return Address(path) if path is not None else None

    marked = {stem: [address(path, stem) for path in rooms.masks] for stem in stems}
    return [
        Case(
            id=stem,
            subject=stem,
            split=split,
            images={"image": Address(images[stem])} if stem in images else {},
            masks=tuple(mask for mask in marked[stem] if mask is not None),
            region=address(rooms.region, stem),
            instances=address(rooms.instances, stem),
        )
        for stem in stems
    ]


def _nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _by_stem(folder: Path | None, remarks: list[Finding], root: Path) -> dict[str, Path]:
    """The image files of a folder by stem."""
    if folder is None or not folder.is_dir():
        return {}
    found: dict[str, Path] = {}
    strange = []
    for path in entries(folder):
        if not is_image_name(path):
            strange.append(path)
            continue
        stem = name_of(path)
        if stem in found:
            raise DataError(f"{folder}: {found[stem].name} and {path.name} have the same stem; keep one, or rename one")
        found[stem] = path
    remarks += left_out(strange, root, "no image")
    return found


def unread(folder: Path, read: Iterable[Path], root: Path) -> list[Finding]:
    """A note of what lies in `folder` and is not among `read`."""
    known = set(read)
    return list(left_out([path for path in entries(folder) if path not in known], root, "not part of the layout"))


def _beside_series(cases: Iterable[Case], root: Path) -> Iterator[Finding]:
    """A note of what lies in folders that are read as a DICOM series and is no part of it."""
    addresses = [address for case in cases for address in case.images.values()]
    folders = [address.path for address in addresses if address.path.is_dir() and not address.member]
    inside = [path for folder in folders for path in entries(folder) if path.name != DIRECTORY]
    yield from left_out([path for path in inside if not is_dicom(path)], root, "no DICOM file")


def _with_classes(cases: list[Case], classes: Mapping[str, str], path: Path, remarks: list[Finding]) -> list[Case]:
    if not classes:
        return cases
    lost = sorted(classes.keys() - {name for case in cases for name in (case.id, _stem(case))})
    if lost:
        remarks.append(
            Finding(
                level="warning",
                kind="without image",
                sentence=f"{path}: {count(len(lost), 'row')} without an image ({some(lost, most=3)})",
            )
        )
    return [
        replace(case, image_class=classes.get(_stem(case), classes.get(case.id, case.image_class))) for case in cases
    ]


def _stem(case: Case) -> str:
    return next((name_of(address.path) for address in case.images.values()), case.id)
