"""A folder for each patient: an image, or one for each channel, and a mask, or one for each class."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path

from scantling.core.case import Address, Case, Labels, Split
from scantling.core.errors import DataError, FileError
from scantling.data import objects
from scantling.data.beside import beside
from scantling.data.contents import Finding, count, entries, left_out, name_of, some
from scantling.data.files import RASTERS, is_image_name
from scantling.data.labels import valid_labels
from scantling.data.naming import IMAGE_FOLDERS, MASK_FOLDERS, class_in, says_image, says_mask, says_region, words
from scantling.data.twins import is_label_map, twins

DEEPEST = 5
"""How many levels of folders may lie between the folder that is opened and the files of a patient."""


@dataclass
class _Patient:
    """The files of one folder by what their names have more than the name of the folder ("t1", "seg")."""

    folder: Path
    images: dict[str, Path] = field(default_factory=dict)
    masks: dict[str, Path] = field(default_factory=dict)
    region: Path | None = None
    unused: list[Path] = field(default_factory=list)
    apart: bool = False  # the masks lie in a folder of their own


def patients(root: Path, split: Split | None, remarks: list[Finding], top: Path) -> list[Case]:
    """The cases of a folder that holds a folder for each patient, at one level or several; none if it holds no image.

    The folder's name is the id and the subject. Of several images in each folder, each is a channel, or, where more
    than one has a mask of its own or all are pictures, a case of the same subject. Several masks are one for each
    class, and their names those of the classes.

    Args:
        root: where to look.
        split: of all the cases.
        remarks: gets what was understood and what was left out.
        top: the folder that is opened.

    Raises:
        DataError: nothing tells which file is the image, or only some patients have a mask for each class.
    """
    lost: list[Path] = []
    found = [_files_of(folder) for folder in _folders(root, DEEPEST, {os.path.realpath(root)}, lost)]
    empty = [patient.folder for patient in found if not patient.images]
    found = [patient for patient in found if patient.images]
    remarks += left_out(lost, top, "without an image")
    remarks += left_out(empty if found else [], top, "without an image", warning="without image")
    if not found:
        return []
    names = _ids([patient.folder.relative_to(root) for patient in found])
    if _many_images(found):
        return _pictures(found, names, split, remarks, top)
    _tell_apart(found)
    by_object = objects.by_object([(patient.folder, patient.masks) for patient in found])
    by_class = not by_object and _by_class(found)
    channels = Counter(name for patient in found for name in patient.images)
    cases = [
        Case(
            id=id,
            subject=subject,
            named=True,
            split=split,
            images=_named_images(patient, channels),
            masks=_masks(patient, by_class=by_class) if not by_object else (),
            region=Address(patient.region) if patient.region is not None else None,
        )
        for patient, (id, subject) in zip(found, names, strict=True)
    ]
    if by_object:
        remarks.append(Finding(level="note", kind="layout", sentence=by_object))
        pairs = zip(cases, found, strict=True)
        cases = [objects.with_objects(case, sorted(patient.masks.values())) for case, patient in pairs]
    remarks.append(_understood(found, cases, top))
    remarks += left_out([path for patient in found for path in patient.unused], top, "not part of the layout")
    return cases


def labels_by_file(cases: Sequence[Case], root: Path) -> Labels | None:
    """The classes of masks that lie in a file for each class or for each object; None where no case has such.

    Raises:
        DataError: there are too many, or one cannot be the name of a folder.
    """
    if labels := objects.labels_of(cases):
        return labels
    listed = [mask for case in cases for mask in case.masks if isinstance(mask, Mapping)]
    names = tuple(sorted({name for mask in listed for name in mask}))
    return valid_labels(Labels(names=names, values=((),) * len(names)), str(root)) if names else None


def _folders(root: Path, depth: int, seen: set[str], lost: list[Path]) -> Iterator[Path]:
    """The folders below `root` that hold images, or a folder of images beside one of masks."""
    for path in entries(root):
        if not path.is_dir() or (place := os.path.realpath(path)) in seen:
            lost.append(path)
            continue
        seen.add(place)
        try:
            inside = list(entries(path))
        except FileError:
            lost.append(path)
            continue
        kinds = {one.name.lower() for one in inside if one.is_dir()}
        if is_image_name(path) or any(map(is_image_name, inside)) or kinds & {*IMAGE_FOLDERS}:
            yield path
        elif depth > 1:
            yield from _folders(path, depth - 1, seen, lost)
        else:
            lost.append(path)


def _files_of(folder: Path) -> _Patient:
    """The images and masks of one patient, by their names as far as these tell."""
    patient = _Patient(folder)
    if is_image_name(folder):
        return replace(patient, images={"": folder})
    inside = list(entries(folder))
    direct = [path for path in inside if is_image_name(path)]
    rooms = {path.name.lower(): path for path in inside if path.is_dir() and not is_image_name(path)}
    masks = next((rooms[name] for name in MASK_FOLDERS if name in rooms), None)
    images = next((rooms[name] for name in IMAGE_FOLDERS if name in rooms), None) if not direct else None
    listed = [path for path in entries(images) if is_image_name(path)] if images is not None else direct
    apart = [path for path in entries(masks) if is_image_name(path)] if masks is not None else []
    used = {*direct, images, masks}
    patient.unused += [path for path in inside if path not in used]
    patient.apart = bool(apart)
    patient.masks = {name_of(path): path for path in apart}
    if len(apart) == 1:  # called after the image or the patient, it names no class
        patient.masks = {"" if name_of(apart[0]) in map(name_of, listed) else _short(apart, folder)[0]: apart[0]}
    for path, name in zip(listed, _short(listed, folder), strict=True):
        role = patient.masks if not apart and images is None and says_mask(name) else patient.images
        if name in role:
            raise DataError(f"{folder}: {role[name].name} and {path.name} have the same stem; keep one, or rename one")
        role[name] = path
    regions = [name for name in patient.masks if not apart and says_region(name)]
    if len(regions) == 1 and len(patient.masks) > 1 and not any(map(class_in, patient.masks.keys() - {*regions})):
        patient.region = patient.masks.pop(regions[0])
    return patient


def _short(files: Sequence[Path], folder: Path) -> list[str]:
    """What the name of each file has more than all of them have, or than the name of the folder."""
    parts = [words(name_of(path)) for path in files]
    own = words(folder.name)
    for end in (1, -1):
        turned = [part[::end] for part in parts]
        columns = zip(*turned, strict=False) if len(turned) > 1 else zip(*turned, own[::end], strict=False)
        common = sum(1 for _ in takewhile(lambda column: len({*column}) == 1, columns))
        parts = [part[common:][::end] for part in turned]
    return ["_".join(part) for part in parts]


def _ids(places: Sequence[Path]) -> list[tuple[str, str]]:
    """The id and the subject of each folder: its name; with those above it where names are used twice.

    A folder whose name begins with that of the one above it, or is used again below another one ("visit1"), is one of
    several of the same patient, unless there are fewer such folders than may lie in one of them (sites). A level that
    is called the same everywhere ("anat") says nothing.
    """
    while all(len(place.parts) > 1 and place.name == places[0].name for place in places):
        if len({place.parent for place in places}) < len(places):
            break
        places = [place.parent for place in places]
    times = Counter(place.name for place in places)
    inside = Counter(place.parent for place in places)
    visits = len(inside) >= max(inside.values())
    named = []
    for place in places:
        twice = times[place.name] > 1
        above = place.parent.name
        id = "_".join(place.parts) if twice else place.name
        of_above = above and (place.name.lower().startswith(above.lower()) or (twice and visits))
        named.append((id, "_".join(place.parent.parts) if twice and of_above else above if of_above else id))
    return [(unicodedata.normalize("NFC", id), unicodedata.normalize("NFC", subject)) for id, subject in named]


def _many_images(found: Sequence[_Patient]) -> bool:
    """Whether a folder holds several images that are cases of their own, and not the channels of one."""
    bare = not any(patient.masks for patient in found)
    for patient in found:
        stems = {name_of(path) for path in patient.images.values()}
        if len(stems) > 1 and patient.apart and len(stems & {*patient.masks}) > 1:
            return True
        if len(stems) > 1 and not patient.apart and len(patient.masks) > 1:
            every = [*patient.images.values(), *patient.masks.values()]
            if sum(bool(case.masks) for case in beside(every, None, [], patient.folder)) > 1:
                return True
        if bare and len(stems) > 2 and all(p.name.lower().endswith(RASTERS) for p in patient.images.values()):
            return True
    return False


def _pictures(
    found: Sequence[_Patient],
    names: Sequence[tuple[str, str]],
    split: Split | None,
    remarks: list[Finding],
    top: Path,
) -> list[Case]:
    """A case for each image of each folder; folders without a number in their names are no patients but groups."""
    people = any(any(letter.isdigit() for letter in subject) for _, subject in names)
    cases: list[Case] = []
    ignored: list[Finding] = []
    for patient, (id, subject) in zip(found, names, strict=True):
        if patient.apart:
            masks = {name: Address(path) for name, path in patient.masks.items()}
            stems = {name_of(path): path for path in patient.images.values()}
            own = [
                Case(
                    id=stem,
                    subject=stem,
                    split=split,
                    images={"image": Address(path)},
                    masks=(masks[stem],) if stem in masks else (),
                )
                for stem, path in stems.items()
            ]
            lost = [path for name, path in patient.masks.items() if name not in stems]
            ignored += left_out(lost, top, "without an image of the same stem", warning="without image")
        else:
            every = sorted([*patient.images.values(), *patient.masks.values()])
            own = beside(every, split, ignored, top)
        ignored += left_out(patient.unused, top, "not part of the layout")
        for case in own:
            longer = case.id if case.id.startswith(id) else f"{id}_{case.id}"
            cases.append(replace(case, id=longer, subject=subject if people else longer, named=people))
    whose = "each folder is one subject" if people else "each image is a subject, for no folder's name has a number"
    marked = sum(bool(case.masks) for case in cases)
    sentence = f"{count(len(found), 'folder')} with {count(len(cases), 'image')}, {marked} with a mask; {whose}"
    remarks.append(Finding(level="note", kind="layout", sentence=sentence))
    remarks += [remark for remark in ignored if remark.kind != "names"]
    if not marked:
        remarks += twins({patient.folder: [*patient.images.values()] for patient in found}, top)
    return cases


def _tell_apart(found: Sequence[_Patient]) -> None:
    """Find the masks among files whose names do not tell, where none is called a mask.

    Where some names speak of an image, the others are masks if their values are those of label maps in one patient.
    Where none does, that patient's only file that is no label map is the image.
    """
    doubtful = [patient for patient in found if len(patient.images) > 1]
    if any(patient.masks for patient in found) or not doubtful:
        return
    first = doubtful[0]
    spoken = {name for name in first.images if says_image(name)}
    flat = {name for name, path in first.images.items() if name not in spoken and is_label_map(path)}
    if flat and len(flat) < len(first.images):
        images = first.images.keys() - flat
        for patient in doubtful:
            kept = {name: path for name, path in patient.images.items() if name in images}
            if kept:
                patient.masks = {name: path for name, path in patient.images.items() if name not in images}
                patient.images = kept


def _by_class(found: Sequence[_Patient]) -> bool:
    """Whether masks lie in a file for each class: several, or one in a folder of its own with a name that recurs.

    Raises:
        DataError: there are several, and no name recurs in another folder: they may be one for each object.
    """
    marked = [patient for patient in found if patient.masks]
    several = [patient for patient in marked if len(patient.masks) > 1]
    names = Counter(class_in(name) for patient in marked for name in patient.masks)
    recurs = any(times > 1 for times in names.values()) or len(marked) == 1
    if several and not recurs:
        raise DataError(
            f"{several[0].folder}: holds {len(several[0].masks)} masks, whose names ({some(several[0].masks, most=3)}) "
            "no other folder has; expected one mask, or one for each class with the name of the class; join masks of "
            "single objects to one label map, or write a manifest (scantling.toml)"
        )
    return bool(several) or (recurs and any(patient.apart and all(map(class_in, patient.masks)) for patient in marked))


def _named_images(patient: _Patient, channels: Mapping[str, int]) -> dict[str, Address]:
    if len(patient.images) == 1 and len(channels) > 1 and max(channels.values()) > 1:
        name = next(iter(patient.images))
        if channels[name] > 1 and sum(times > 1 for times in channels.values()) > 1:
            return {name: Address(patient.images[name])}
    if len(patient.images) == 1:
        return {"image": Address(next(iter(patient.images.values())))}
    once = [name for name in patient.images if channels[name] == 1]
    if once and max(channels.values()) > 1:
        raise DataError(
            f"{patient.folder}: holds {some(path.name for path in patient.images.values())}, and no other folder has a "
            f"file such as {patient.images[once[0]].name}; expected one image, or the same channels in every folder; "
            "move it away, or write a manifest (scantling.toml)"
        )
    return {name or "image": Address(path) for name, path in sorted(patient.images.items())}


def _masks(patient: _Patient, *, by_class: bool) -> tuple[Address | Mapping[str, Address], ...]:
    """The mask of one patient, one for each annotator ("seg_1", "seg_2"), or one for each class."""
    if not by_class or not patient.masks:
        return tuple(map(Address, patient.masks.values()))
    classes = {class_in(name): path for name, path in patient.masks.items()}
    if set(classes) == {""}:
        return tuple(Address(path) for _, path in sorted(patient.masks.items()))
    if len(classes) < len(patient.masks) or "" in classes:
        raise DataError(
            f"{patient.folder}: the names of {some(path.name for path in patient.masks.values())} do not tell which "
            "class each is; expected one mask, or one for each class that is called after it; rename them, or write "
            "a manifest (scantling.toml)"
        )
    return ({name: Address(path) for name, path in sorted(classes.items())},)


def _understood(found: Sequence[_Patient], cases: Sequence[Case], top: Path) -> Finding:
    """A note of what the folders were taken for."""
    first = next((patient for patient in found if patient.masks), found[0])
    image = some((path.relative_to(first.folder).as_posix() for path in first.images.values()), most=4)
    mask = some((path.relative_to(first.folder).as_posix() for path in first.masks.values()), most=4)
    bare = sum(not case.masks for case in cases)
    sentence = f"{count(len(found), 'folder')}, each a subject: in {first.folder.relative_to(top).as_posix()} the image"
    sentence += f" is {image or '.'}"
    sentence += f" and the mask {mask}" if mask else ""
    sentence += f", the region of interest {first.region.name}" if first.region is not None else ""
    names = sorted({name for case in cases for one in case.masks if isinstance(one, Mapping) for name in one})
    sentence += f", a file for each class ({some(names, most=9)})" if names else ""
    return Finding(level="note", kind="layout", sentence=sentence + (f"; {bare} without a mask" if bare else ""))
