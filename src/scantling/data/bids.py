"""BIDS (Gorgolewski et al., Scientific Data, 2016): images of `sub-01[/ses-01]`, masks of them below `derivatives`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scantling.core.case import Address, Case, Labels
from scantling.core.errors import DataError, FileError, ScantlingError
from scantling.data.contents import Contents, Finding, count, entries, files_below, left_out, some, unique
from scantling.data.files import is_image_name, probe, stem_of
from scantling.data.grids import disagreement
from scantling.data.labels import valid_labels
from scantling.data.tables import read_table

MAPS, MASKS = ("dseg", "seg"), ("mask", "roi")
"""The last words of names of label maps, and of masks of one thing."""
DATATYPES = ("anat", "dwi", "perf", "func", "micr", "pet", "swi", "fmap")
"""The folders that images lie in."""
NATIVE = ("", "orig", "individual", "native", "T1w", "T2w", "FLAIR", "scanner")
"""What the entity `space` says of a mask that lies on an image as it was taken."""
DEEPEST = 8


@dataclass(frozen=True)
class _File:
    """A file by what its name says.

    Attributes:
        visit: subject and session.
        entities: the others, by key.
        suffix: the last word of its name ("T1w", "dseg").
        pipeline: the folder below `derivatives` that it lies in; empty for an image as it was taken.
    """

    path: Path
    visit: tuple[str, str]
    entities: Mapping[str, str]
    suffix: str
    pipeline: str

    @property
    def kind(self) -> str:
        """What tells it from the other images of the visit ("acq-low_T1w")."""
        return "_".join([*(f"{key}-{value}" for key, value in self.entities.items()), self.suffix])

    @property
    def part(self) -> str:
        """What its mask is of: the entity `label`, else `desc`, or nothing."""
        return self.entities.get("label", self.entities.get("desc", ""))


def bids(root: Path) -> Contents | None:
    """The cases of a BIDS folder, one for each session; None where it is none.

    The masks are the `dseg` files, or else the `mask` files with a class for each `label`; those of further pipelines
    are by further annotators, `desc-brain_mask` beside others is the region. The channels are those images that lie on
    the grid of the mask and that every session with a mask has. `dseg.tsv` names the classes.

    Raises:
        DataError: no image lies on the grid of its mask.
        FileError: a table of classes is damaged.
    """
    if not any(re.fullmatch(r"sub-[A-Za-z0-9]+", path.name) and path.is_dir() for path in entries(root)):
        return None
    images: dict[tuple[str, str], dict[str, _File]] = {}
    masks: dict[tuple[str, str], list[_File]] = {}
    files = [path for path in files_below(root, levels=DEEPEST) if is_image_name(path)]
    for file in filter(None, (_parsed(path, root) for path in files)):
        if file.suffix in (*MAPS, *MASKS):
            masks.setdefault(file.visit, []).append(file)
        elif not file.pipeline and file.path.parent.name in DATATYPES:
            images.setdefault(file.visit, {})[file.kind] = file
    if not images:
        return None
    kept = _kept(masks, images)
    kinds = _channels(images, kept)
    lacking = [visit for visit, files in images.items() if not all(kind in files for kind in kinds)]
    remarks = [_understood(images, kept, kinds, lacking)]
    cases = [
        _case(visit, images[visit], kept.get(visit, []), kinds) for visit in sorted(images) if visit not in lacking
    ]
    if lacking:
        sentence = (
            f"{count(len(lacking), 'session')} ({some(map(_id, sorted(lacking)))}) without {some(kinds)} left out"
        )
        remarks.append(Finding(level="warning", kind="without image", sentence=sentence))
    used = {address.path for case in cases for _, address in case.addresses()}
    remarks += left_out([path for path in files if path not in used], root, "not part of the cases")
    cases = list(unique(cases, root))
    return Contents(
        name=root.resolve().name,
        root=root,
        cases=tuple(cases),
        labels=_labels(cases, kept, root),
        remarks=tuple(remarks),
        layout="BIDS",
    )


def _parsed(path: Path, root: Path) -> _File | None:
    parts = stem_of(path).split("_")
    entities = dict(part.split("-", 1) for part in parts if "-" in part)
    if not parts[0].startswith("sub-") or "-" in parts[-1]:
        return None
    place = path.relative_to(root).parts
    visit = next((part.removeprefix("ses-") for part in place if part.startswith("ses-") and part != place[-1]), "")
    subject, session = entities.pop("sub"), entities.pop("ses", visit)
    below = place[1] if place[0] == "derivatives" else ""
    pipeline = "derivatives" if below.startswith("sub-") else below
    return _File(path, (subject, session), entities, parts[-1], pipeline)


def _kept(
    masks: Mapping[tuple[str, str], Sequence[_File]], images: Mapping[tuple[str, str], Mapping[str, _File]]
) -> dict[tuple[str, str], list[_File]]:
    """The masks that are used: of images that are there, in their space, and no `mask` where there are label maps."""
    native = {
        visit: [
            file
            for file in files
            if file.entities.get("space", "")
            in {*NATIVE, *(one.entities.get("space") for one in images[visit].values())}
        ]
        for visit, files in masks.items()
        if visit in images
    }
    maps = any(file.suffix in MAPS for files in native.values() for file in files)
    kept = {
        visit: [file for file in files if file.suffix in MAPS or not maps or file.part == "brain"]
        for visit, files in native.items()
    }
    return {visit: files for visit, files in kept.items() if files}


def _is_region(file: _File, files: Iterable[_File]) -> bool:
    return file.suffix in MASKS and file.part == "brain" and any(other.part != "brain" for other in files)


def _channels(
    images: Mapping[tuple[str, str], Mapping[str, _File]], kept: Mapping[tuple[str, str], Sequence[_File]]
) -> tuple[str, ...]:
    """The kinds of images that every session with a mask has, or most sessions where none has, on one grid."""
    visits = sorted(kept) or sorted(images)
    times = Counter(kind for visit in visits for kind in images[visit])
    everywhere = [kind for kind in sorted(times) if times[kind] == len(visits)] or [times.most_common(1)[0][0]]
    visit = next(visit for visit in visits if all(kind in images[visit] for kind in everywhere))
    places = {kind: images[visit][kind].path for kind in everywhere}
    first = min(kept[visit], key=lambda file: file.path).path if kept else places[everywhere[0]]
    try:
        grid = probe(first, untrusted=True).geometry
        fits = [kind for kind in everywhere if not disagreement(grid, probe(places[kind], untrusted=True).geometry)]
    except ScantlingError:  # whoever reads the file meets the error
        fits = everywhere[:1]
    if not fits:
        raise DataError(
            f"{first}: none of {some(path.name for path in places.values())} lies on the grid of this mask; expected a "
            "mask on the grid of an image; resample it, or write a manifest (scantling.toml)"
        )
    return tuple(fits)


def _id(visit: tuple[str, str]) -> str:
    return f"sub-{visit[0]}" + (f"_ses-{visit[1]}" if visit[1] else "")


def _case(visit: tuple[str, str], images: Mapping[str, _File], files: Sequence[_File], kinds: Sequence[str]) -> Case:
    region = next((file for file in files if _is_region(file, files)), None)
    names = {kinds[0]: "image"} if len(kinds) == 1 else {}
    by_pipeline: dict[str, list[_File]] = {}
    for file in sorted((file for file in files if not _is_region(file, files)), key=lambda file: file.path):
        by_pipeline.setdefault(file.pipeline, []).append(file)
    return Case(
        id=_id(visit),
        subject=f"sub-{visit[0]}",
        named=True,
        images={names.get(kind, kind): Address(images[kind].path) for kind in kinds},
        masks=tuple(_mask(group) for group in by_pipeline.values()),
        region=Address(region.path) if region is not None else None,
    )


def _mask(files: Sequence[_File]) -> Address | dict[str, Address]:
    """The mask of one annotator: a label map, or a file for each class.

    Raises:
        DataError: there are several label maps, or masks of one name.
    """
    parts = {file.part: Address(file.path) for file in files}
    if len(files) == 1 and (files[0].suffix in MAPS or not files[0].part):
        return Address(files[0].path)
    if len(parts) < len(files) or "" in parts or files[0].suffix in MAPS:
        raise DataError(
            f"{files[0].path}: lies beside {files[1].path.name}, and their names do not tell which is the mask; keep "
            "one label map (dseg), or one mask for each class (label-NAME_mask), in a folder below derivatives"
        )
    return parts


def _labels(cases: Sequence[Case], kept: Mapping[tuple[str, str], Sequence[_File]], root: Path) -> Labels | None:
    """The classes: the names of masks, or those in a table beside or above the label maps; None to find them."""
    names = sorted({name for case in cases for mask in case.masks if isinstance(mask, Mapping) for name in mask})
    if names:
        return valid_labels(Labels(names=tuple(names), values=((),) * len(names)), str(root))
    maps = [file for files in kept.values() for file in files if file.suffix in MAPS]
    for file in maps[:1]:
        folders = [file.path.parent, *(folder for folder in file.path.parents if root in (folder, *folder.parents))]
        for folder in folders:
            tables = [path for path in entries(folder) if path.name.endswith("dseg.tsv")]
            own = [path for path in tables if path.name == f"{stem_of(file.path)}.tsv"]
            shared = [path for path in tables if not path.name.startswith("sub-")]
            if table := next(iter([*own, *shared]), None):
                return _table(table)
    return None


def _table(path: Path) -> Labels:
    """The classes of a table with the columns `index` and `name`.

    Raises:
        FileError: it has no such columns, or an index is no number.
    """
    columns, rows = read_table(path)
    try:
        values = {row["name"]: int(row["index"]) for row in rows}
    except (KeyError, ValueError):
        raise FileError(
            path, f"the table has the columns {some(columns)}", expected="'index', a whole number, and 'name'"
        ) from None
    values = {name: value for name, value in values.items() if value != 0}
    return valid_labels(Labels(names=tuple(values), values=tuple((value,) for value in values.values())), str(path))


def _understood(
    images: Mapping[tuple[str, str], object],
    kept: Mapping[tuple[str, str], Sequence[_File]],
    kinds: Sequence[str],
    lacking: Sequence[object],
) -> Finding:
    """A note of what the folder was taken for."""
    subjects = {visit[0] for visit in images}
    sessions = count(len(images) - len(lacking), "session")
    sentence = f"BIDS: {sessions} of {count(len(subjects), 'subject')}, image {some(kinds)}"
    files = [file for group in kept.values() for file in group]
    if files:
        pipelines = sorted({file.pipeline or "the images' folder" for file in files})
        what = sorted({"_".join(part for part in (file.part, file.suffix) if part) for file in files})
        sentence += f"; {len(kept)} with a mask ({some(what)} in {some(pipelines)})"
    return Finding(level="note", kind="layout", sentence=sentence)
