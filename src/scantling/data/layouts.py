"""Layouts that are understood as they are: paired folders, a plain folder, single files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from scantling.core.case import Address, Case, Split
from scantling.core.errors import DataError, FileError
from scantling.data.beside import beside, plain
from scantling.data.contents import Contents, Finding, count, entries, left_out, name_of, safe_id, some, unique
from scantling.data.files import is_image_name, stem_of
from scantling.data.patients import labels_by_file, patients
from scantling.data.tables import read_table

IMAGES, MASKS, INSTANCES, CLASSES = "images", "masks", "instances", "labels.csv"
REGIONS = ("fov", "region", "regions")
SPLITS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "val": "validation",
    "test": "test",
    "testing": "test",
}
ENDINGS = ("_mask", "_masks", "_seg", "_segmentation", "_label", "_labels", "_gt", "_fov")
"""What the stem of a mask may have more than the stem of its image, where that leaves no doubt."""
OTHER_CLASS = "other"
"""The class of rows in which no class column is 1."""

_ANNOTATOR = re.compile(r"masks-(\d+)(?:st|nd|rd|th)?")


def loose_files(paths: Sequence[Path], *, root: Path) -> Contents:
    """Each file (or folder with a DICOM series) is a case without labels."""
    cases = [plain(path, None) for path in paths]
    name = name_of(paths[0]) if len(paths) == 1 else root.resolve().name
    return Contents(name=name, root=root, cases=unique(cases, root))


def paired(root: Path) -> Contents:
    """The cases of a folder of images and masks, of images, of patients, or of splits (`train`, `test`) of these.

    Raises:
        DataError: the folder holds no images, or its files cannot be paired without doubt.
    """
    if is_image_name(root) and not any((root / name).is_dir() for name in (IMAGES, MASKS, *SPLITS)):
        series = loose_files([root], root=root)
        return replace(series, remarks=tuple(_beside_series(series.cases, root)))
    parts = {path: SPLITS[path.name] for path in entries(root) if path.is_dir() and path.name in SPLITS}
    remarks: list[Finding] = []
    cases: list[Case] = []
    classes = _classes(root / CLASSES)
    if parts:
        for part, split in parts.items():
            found = _part(part, split, remarks, root)
            cases += found
        remarks += unread(root, [*parts, root / CLASSES], root)
        twice = {id for id, times in Counter(case.id for case in cases).items() if times > 1}
        if twice:
            cases = [_renamed(case, f"{case.split}_{case.id}") for case in cases]
            remarks.append(
                Finding(
                    level="note",
                    kind="names",
                    sentence=(
                        f"{count(len(twice), 'name')} (such as {min(twice)}) {'is' if len(twice) == 1 else 'are'} "
                        "used in "
                        "more than one split, so every id was given its split and the images were taken for different "
                        "subjects"
                    ),
                )
            )
    else:
        cases = _part(root, None, remarks, root)
    if not cases:
        raise DataError(
            f"{root}: found no images; expected folders 'images' and 'masks' (also below 'train' and 'test'), image "
            "files, nnU-Net's dataset.json, or a manifest (scantling.toml or --manifest FILE)"
        )
    cases = _with_classes(cases, classes, root / CLASSES, remarks)
    remarks += _beside_series(cases, root)
    return Contents(
        name=root.resolve().name,
        root=root,
        cases=unique(cases, root),
        labels=labels_by_file(cases, root),
        remarks=tuple(remarks),
    )


def _part(folder: Path, split: Split | None, remarks: list[Finding], root: Path) -> list[Case]:
    """The cases of one folder with `images` and `masks`, or of a plain folder."""
    inside = {path.name: path for path in entries(folder)}
    annotators = sorted(
        (int(match[1]), path)
        for name, path in inside.items()
        if path.is_dir() and (match := _ANNOTATOR.fullmatch(name))
    )
    region = next((inside[name] for name in REGIONS if name in inside), None)
    if IMAGES not in inside and MASKS not in inside:
        files = [path for path in inside.values() if is_image_name(path)]
        if not files:
            return patients(folder, split, remarks, root)
        remarks += unread(folder, [*files, folder / CLASSES], root) if files else []
        cases = beside(files, split, remarks, root)
        return _with_classes(cases, _classes(folder / CLASSES) if folder != root else {}, folder / CLASSES, remarks)
    images = _by_stem(inside.get(IMAGES), remarks, root)
    masks = _by_stem(inside.get(MASKS), remarks, root)
    stems = sorted(images or masks)
    roles: dict[Path, dict[str, Path]] = {}
    for path in (inside.get(MASKS), *(path for _, path in annotators), region, inside.get(INSTANCES)):
        if path is not None:
            roles[path] = _pair(
                _by_stem(path, remarks, root) if path.name != MASKS else masks, stems, path, remarks, root
            )

    def address(role: Path | None, stem: str) -> Address | None:
        path = roles[role].get(stem) if role is not None else None
        return Address(path) if path is not None else None

    cases = []
    for stem in stems:
        marked = [address(path, stem) for path in (inside.get(MASKS), *(path for _, path in annotators))]
        cases.append(
            Case(
                id=safe_id(stem, folder),
                subject=stem,
                split=split,
                images={"image": Address(images[stem])} if stem in images else {},
                masks=tuple(mask for mask in marked if mask is not None),
                region=address(region, stem),
                instances=address(inside.get(INSTANCES), stem),
            )
        )
    read = [path for path in (inside.get(IMAGES), *roles, folder / CLASSES) if path is not None]
    if folder != root or not any(name in SPLITS for name in inside):
        remarks += unread(folder, read, root)
    return _with_classes(cases, _classes(folder / CLASSES) if folder != root else {}, folder / CLASSES, remarks)


def _renamed(case: Case, id: str) -> Case:
    return replace(case, id=id, subject=id)


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


def _pair(
    files: Mapping[str, Path], stems: Iterable[str], folder: Path, remarks: list[Finding], root: Path
) -> dict[str, Path]:
    """The file of each stem: the one with the same stem, else the only one with one of `ENDINGS` more."""
    known = set(stems)
    pairs = {stem: path for stem, path in files.items() if stem in known}
    alone = []
    for stem, path in files.items():
        if stem in known:
            continue
        owner = next((stem[: -len(end)] for end in ENDINGS if stem.endswith(end) and stem[: -len(end)] in known), None)
        if owner is None:
            alone.append(path)
        elif owner in pairs:
            raise DataError(f"{folder}: both {pairs[owner].name} and {path.name} may belong to {owner}; keep one")
        else:
            pairs[owner] = path
    if files and not pairs:
        raise DataError(
            f"{folder}: no file pairs with an image (found {alone[0].name}, the images have stems such as "
            f"{min(known)}); give both the same stem, or write a manifest (scantling.toml)"
        )
    remarks += left_out(alone, root, "without an image of the same stem", warning="without image")
    return pairs


def unread(folder: Path, read: Iterable[Path], root: Path) -> list[Finding]:
    """A note of what lies in `folder` and is not among `read`."""
    known = set(read)
    return list(left_out([path for path in entries(folder) if path not in known], root, "not part of the layout"))


def _beside_series(cases: Iterable[Case], root: Path) -> Iterator[Finding]:
    """A note of what lies in folders that are read as a DICOM series and is no part of it."""
    folders = [address.path for case in cases for address in case.images.values() if address.path.is_dir()]
    if folders:
        from scantling.data.formats.dicom_series import DIRECTORY, is_dicom

        inside = [path for folder in folders for path in entries(folder) if path.name != DIRECTORY]
        yield from left_out([path for path in inside if not is_dicom(path)], root, "no DICOM file")


IMAGE_COLUMNS = ("stem", "id", "image", "filename", "file", "file_name", "name")
"""What the column that names the image may be called, in any capitals."""


def _classes(path: Path) -> dict[str, str]:
    """The class of each stem in a table: the column `label` or `class`, else the columns that hold only 0 and 1.

    Raises:
        FileError: the table has no column that names the image or none that names a class, or a row names two classes.
    """
    if not path.is_file():
        return {}
    columns, rows = read_table(path)
    key = next((column for column in columns if column.lower() in IMAGE_COLUMNS), None)
    named = next((column for column in columns if column.lower() in ("label", "class")), None)
    hot = (
        []
        if named
        else [column for column in columns if column != key and all(_bit(row[column]) is not None for row in rows)]
    )
    if key is None or not (named or hot):
        raise FileError(
            path,
            f"the table has the columns {some(columns, most=9) or '(none)'}",
            remedy="rename its columns",
            expected="'image', 'filename', 'stem' or 'id', and 'label', 'class' or a column of 0 and 1 for each class",
        )
    found: dict[str, str] = {}
    for number, row in enumerate(rows, start=2):
        stem = stem_of(Path(row[key] or "")) if is_image_name(Path(row[key] or "")) else (row[key] or "").strip()
        marked = [column for column in hot if _bit(row[column])]
        if len(marked) > 1:
            raise FileError(
                path, f"line {number} gives {stem!r} the classes {some(marked)}", expected="one class at most"
            )
        label = (row[named] or "").strip() if named else (marked[0] if marked else OTHER_CLASS)
        if found.setdefault(stem, label) != label:
            raise FileError(
                path, f"line {number} gives {stem!r} a second class, {label!r}", expected="one row an image"
            )
    return {stem: label for stem, label in found.items() if label}


def _bit(text: str | None) -> bool | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return bool(number) if number in (0.0, 1.0) else None


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
