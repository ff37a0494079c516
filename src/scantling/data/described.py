"""The cases that a manifest describes: patterns matched, addresses filled in, nothing outside the root."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args
from unicodedata import normalize

from scantling.core.case import Address, Case, Labels, Split
from scantling.core.errors import DataError, FileError
from scantling.core.system_files import is_hidden
from scantling.data import objects
from scantling.data.contents import (
    Contents,
    Finding,
    count,
    entries,
    is_silent,
    left_out,
    name_of,
    safe_id,
    some,
    spelled,
    unique,
)
from scantling.data.files import is_image_name
from scantling.data.labels import joined_classes, valid_labels
from scantling.data.manifest import Block, CaseTable, Group, Manifest, Mask, read_manifest
from scantling.data.patterns import Pattern, filled

DERIVED = "image classes derived"
"""The kind of the remark on them."""
RULE = (
    "the image classes were derived from the masks, outside the test split: an image with a marked pixel shows the "
    "object, one with an empty mask does not"
)


def contents_of(path: Path, *, layout: Callable[[Path], Contents], root: Path | None = None) -> Contents:
    """The cases that the manifest at `path` describes.

    Args:
        path: the manifest.
        layout: what finds the cases below the root where the manifest has no group and no case.
        root: the folder that holds the files; the manifest's `root` unless said.

    Raises:
        FileError: the manifest cannot be read or contradicts itself.
        DataError: it describes files that are not there or leave the root.
    """
    manifest = read_manifest(path)
    root = root if root is not None else path.parent / manifest.root
    if not root.is_dir():
        raise FileError(path, f"the root {root} is no folder", remedy="set 'root' in the manifest or pass --root")
    builder = _Builder(path, root, manifest.classes)
    cases = [builder.listed(table, number) for number, table in enumerate(manifest.case, start=1)]
    files, remarks = _files(root) if manifest.group else ((), ())
    for number, group in enumerate(manifest.group, start=1):
        cases += builder.matched(group, number, files)
    found = None if cases else layout(root)
    cases = list(unique(cases if found is None else found.cases, path))
    if manifest.others == "object":
        cases = [with_maps_of_masks(case) for case in cases]
    if manifest.threshold is not None:
        cases = [case if case.threshold else replace(case, threshold=manifest.threshold) for case in cases]
    _same_links(cases, path)
    if manifest.image_classes_from:
        builder.remarks.append(Finding(level="note", kind=DERIVED, sentence=RULE))
    labels = _labels(manifest, cases, path) or (found.labels if found is not None else None)
    if manifest.regions and labels is not None:
        joined_classes(labels, manifest.regions, str(path))
    return Contents(
        name=manifest.name or root.resolve().name,
        root=root,
        cases=tuple(_with_split(cases, manifest.split, path)),
        labels=labels,
        regions=manifest.regions,
        remarks=(*remarks, *builder.remarks, *_unused(cases, files, root)) if found is None else found.remarks,
        layout=f"manifest {path.name}" if found is None else found.layout,
        described=found is None or found.described,
    )


@dataclass(frozen=True)
class _Builder:
    """Makes cases; knows the manifest for its complaints and the root that no path may leave."""

    path: Path
    root: Path
    classes: Collection[str] = ()
    remarks: list[Finding] = field(default_factory=list)

    def listed(self, table: CaseTable, number: int) -> Case:
        where = f"{self.path}: case {number}"
        id = safe_id(table.id, f"{where}, key 'id'")
        fields = self._fields(table, {}, where, demanded=True)
        named = {*table.box_classes, *table.point_classes}
        if strange := sorted(named - {*self.classes}) if self.classes else ():
            raise FileError(
                self.path,
                f"case {number}: a box or a point is of {strange[0]!r}, which is no class",
                expected=f"one of {', '.join(self.classes)}",
            )
        return Case(
            id=id,
            subject=table.subject or _inherited(table) or id,
            named=bool(table.subject),
            boxes=table.boxes,
            points=table.points,
            box_classes=table.box_classes,
            point_classes=table.point_classes,
            origin=table.origin,
            **fields,
        )

    def matched(self, group: Group, number: int, files: tuple[str, ...]) -> list[Case]:
        where = f"{self.path}: group {number}"
        pattern = Pattern(group.pattern, where)
        cases: list[Case] = []
        asked: set[str] = set()
        met: set[str] = set()
        for file in files:
            if (fields := pattern.fields(file)) is None:
                continue
            fields.setdefault("id", normalize("NFC", "_".join([*Path(file).parent.parts, name_of(self.root / file)])))
            fields["path"] = file
            if group.id:
                fields["id"] = filled(group.id, fields, f"{where}, key 'id'")
            id = safe_id(fields["id"], f"{where}, key 'id'") if group.id else fields["id"]
            subject = (
                filled(group.subject, fields, f"{where}, key 'subject'") if group.subject else fields.get("subject", id)
            )
            rendered = (
                group
                if "images" in group.model_fields_set
                else group.model_copy(update={"images": {"image": "{path}"}})
            )
            held = self._fields(rendered, fields, where, demanded=False)
            case = Case(id=id, subject=subject, named=bool(group.subject) or "subject" in fields, **held)
            cases.append(case)
            asked |= {key for key in ("masks", "scribbles", "region", "instances", "known") if getattr(group, key)}
            met |= {key for key in asked if getattr(case, key)}
        if not cases:
            raise FileError(
                self.path,
                f"group {number}, key 'pattern': {group.pattern!r} matches no file below {self.root}",
                remedy="correct the pattern, or pass --root",
            )
        if lacking := sorted(asked - met):
            raise FileError(
                self.path,
                f"group {number}, key {lacking[0]!r}: no case of the group has such a file, not even {cases[0].id}",
                remedy="correct the address or take the key out",
            )
        self.remarks.extend(pattern.remarks())
        return cases

    def _fields(self, block: Block, fields: Mapping[str, str], where: str, *, demanded: bool) -> dict[str, Any]:
        """What cases have in common with groups; files other than images may be absent unless `demanded`."""

        def at(key: str, template: str, *, needed: bool) -> Address | None:
            return self._address(
                filled(template, fields, f"{where}, key {key!r}"), f"{where}, key {key!r}", needed=needed
            )

        def mask(template: Mask) -> Address | dict[str, Address] | None:
            if isinstance(template, str):
                return at("masks", template, needed=demanded)
            layers = {name: at("masks", text, needed=demanded) for name, text in template.items()}
            return {name: layer for name, layer in layers.items() if layer is not None} or None

        images = {name: at("images", text, needed=True) for name, text in block.images.items()}
        masks = (mask(template) for template in block.masks)
        split = filled(block.split, fields, f"{where}, key 'split'")
        if split and split not in get_args(Split):
            raise DataError(f"{where}, key 'split': found {split!r}; expected 'train', 'validation' or 'test'")
        return {
            "images": {name: image for name, image in images.items() if image is not None},
            "masks": tuple(found for found in masks if found is not None),
            **{
                key: at(key, template, needed=demanded) if template else None
                for key in ("scribbles", "region", "instances", "known")
                for template in (getattr(block, key),)
            },
            "image_class": filled(block.image_class, fields, f"{where}, key 'image_class'") or None,
            "caption": filled(block.caption, fields, f"{where}, key 'caption'"),
            "links": {role: filled(text, fields, f"{where}, key 'links'") for role, text in block.links.items()},
            "strata": {name: filled(text, fields, f"{where}, key 'strata'") for name, text in block.strata.items()},
            "pool": filled(block.pool, fields, f"{where}, key 'pool'"),
            "split": split or None,
            "spacing": block.spacing,
            "threshold": block.threshold,
            "drawn_slices": block.drawn_slices,
            "drawn_axis": block.drawn_axis,
            "drawn_objects": block.drawn_objects,
            "drawn_rim": block.drawn_rim,
            "drawn_classes": self._classes(block.drawn_classes, where),
        }

    def _classes(self, names: tuple[str, ...] | None, where: str) -> tuple[str, ...] | None:
        """The classes that masks know, in the order of `classes`."""
        if names is None:
            return None
        if not names or (strange := [name for name in names if name not in self.classes]):
            found = repr(strange[0]) if names else "none"
            known = f"some of {', '.join(self.classes)}" if self.classes else "classes that 'classes' declares"
            raise DataError(f"{where}, key 'drawn_classes': found {found}; expected {known}")
        return tuple(name for name in self.classes if name in names)

    def _address(self, text: str, where: str, *, needed: bool) -> Address | None:
        whole = spelled(confined(self.root, text, where), self.root)
        if os.path.lexists(whole):
            return Address(whole)
        file, mark, member = text.rpartition("#")
        path = spelled(confined(self.root, file if mark else text, where), self.root)
        if os.path.lexists(path):
            return Address(path, member)
        if needed:
            raise DataError(f"{where}: there is no {text!r} below {self.root}; correct the address or the root")
        return None


def with_maps_of_masks(case: Case) -> Case:
    """A case whose mask numbers its objects, with the mask as its instance map, if it has none."""
    mask = next(iter(case.masks), None)
    return replace(case, instances=mask) if case.instances is None and isinstance(mask, Address) else case


def _inherited(table: CaseTable) -> str:
    return table.origin.parents[0] if table.origin.kind == "synthetic" and table.origin.parents else ""


def confined(root: Path, text: str, where: str) -> Path:
    """The path `text` below `root`.

    Raises:
        DataError: it is absolute, goes up, or a symbolic link leads out of the root.
    """
    relative = Path(text)
    if not text or relative.is_absolute() or ".." in relative.parts or "\0" in text or "\\" in text:
        raise DataError(
            f"{where}: {text!r} is no path below the root; write it relative to the root, with '/', without '..'"
        )
    path = root / relative
    try:
        inside = path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # links that lead to each other
        inside = False
    if not inside:
        raise DataError(
            f"{where}: {text!r} is a symbolic link that leaves {root} or leads nowhere; put the file itself there"
        )
    return path


def _files(root: Path) -> tuple[tuple[str, ...], tuple[Finding, ...]]:
    """All files below the root, and folders with a DICOM series, as relative paths in order; folders not looked into.

    Raises:
        FileError: the root cannot be listed.
    """
    found: list[str] = []
    closed: list[Path] = []
    linked: list[Path] = []
    next(entries(root), None)
    for folder, folders, files in os.walk(root, onerror=lambda error: closed.append(Path(error.filename))):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        here = Path(folder).relative_to(root)
        series = {name for name in folders if is_image_name(Path(folder) / name)}
        found += [(here / name).as_posix() for name in series]
        found += [(here / name).as_posix() for name in files if not is_silent(Path(folder) / name)]
        linked += [path for name in folders if name not in series and (path := Path(folder) / name).is_symlink()]
    remarks = (*left_out(closed, root, "unreadable"), *left_out(linked, root, "a link to a folder"))
    return tuple(sorted(found)), remarks


def _labels(manifest: Manifest, cases: list[Case], path: Path) -> Labels | None:
    layered = dict.fromkeys(name for case in cases for mask in case.masks if isinstance(mask, Mapping) for name in mask)
    classes = manifest.classes or dict.fromkeys(layered, ())
    if not classes:
        if manifest.ignore is not None or manifest.background != (0,) or manifest.others != "error":
            raise FileError(
                path, "'ignore', 'background' or 'others' without 'classes'", remedy="declare the classes too"
            )
        return None
    if strange := [name for name in layered if name not in classes]:
        raise FileError(
            path, f"there are masks of {strange[0]!r}, which is no class", expected=f"one of {', '.join(classes)}"
        )
    values = tuple((value,) if isinstance(value, int) else value for value in classes.values())
    labels = Labels(
        names=tuple(classes),
        values=values,
        ignore=manifest.ignore,
        background=manifest.background,
        others=manifest.others,
    )
    return valid_labels(labels, f"{path}, key 'classes'")


def _with_split(cases: list[Case], split: Mapping[Split, tuple[str, ...]], path: Path) -> Iterator[Case]:
    of: dict[str, Split] = {}
    for name, subjects in split.items():
        for subject in subjects:
            if of.setdefault(subject, name) != name:
                raise FileError(
                    path, f"key 'split': the subject {subject!r} is in {of[subject]} and in {name}", remedy="keep one"
                )
    if strange := sorted(of.keys() - {case.subject for case in cases}):
        raise FileError(
            path,
            f"key 'split': there is no subject {strange[0]!r}",
            expected=f"subjects such as {some(sorted({case.subject for case in cases}), most=3)}",
        )
    yield from (replace(case, split=of.get(case.subject, case.split)) for case in cases)


def _same_links(cases: list[Case], path: Path) -> None:
    known = {case.id for case in cases}
    for case in cases:
        for role, other in case.links.items():
            if other not in known:
                raise FileError(
                    path,
                    f"the case {case.id} links to {other!r} as {role!r}, and there is no such case",
                    expected="the id of a case",
                    remedy="correct 'links'",
                )


def _slice(root: Path, file: str) -> bool:
    from scantling.data.formats.dicom_files import is_dicom

    return is_dicom(root / file)


def _unused(cases: list[Case], files: tuple[str, ...], root: Path) -> tuple[Finding, ...]:
    addresses = [address for case in cases for _, address in case.addresses()]
    used = {address.path for address in addresses} | {path for one in addresses for path in objects.files_of(one)}
    series = {path.relative_to(root) for path in used if path.is_dir()}
    spare = [
        file for file in files if root / file not in used and not (Path(file).parent in series and _slice(root, file))
    ]
    if not spare:
        return ()
    return (
        Finding(
            level="note",
            kind="unused files",
            sentence=f"{count(len(spare), 'file')} below {root} {'is' if len(spare) == 1 else 'are'} in no case "
            f"({some(spare, most=3)})",
        ),
    )
