"""A manifest as a start for editing: the cases of any folder, written out as they were understood."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from scantling.core.atomic import replacing
from scantling.core.case import Address, Case, Labels
from scantling.core.errors import DataError, SettingsError
from scantling.data.contents import MANIFESTS, some
from scantling.data.dataset import Dataset
from scantling.data.described import contents_of
from scantling.data.layouts import paired
from scantling.data.mask_colours import written

_HEADER = """\
# {name} as Scantling understood it, written by `scantling check --write-manifest`: a start for editing.
# As {manifest} in the folder of the data it is read by every command; elsewhere, name it with --manifest FILE.
# 'split' may be train, validation or test; 'subject' says whose image it is, and no split divides a subject.
# Many cases can be said in a few lines with a [[group]] and a pattern: see "Manifests" in docs/data.md.
"""


def place_of(dataset: Dataset, file: str) -> Path:
    """Where a manifest of `dataset` is to be written: `file`, or `scantling.toml` in its folder where that is empty.

    Raises:
        SettingsError: something is there already.
    """
    path = Path(file) if file else dataset.root / MANIFESTS[0]
    beside = [path.parent / name for name in MANIFESTS] if path.name in MANIFESTS else []
    for other in (path, *beside):
        if os.path.lexists(other):
            raise SettingsError(f"--write-manifest {path}: {other} exists; choose another file, or move that away")
    return path


def write_manifest(dataset: Dataset, path: Path, labels: Labels | None, *, derived: bool = False) -> None:
    """Write a manifest that gives the same cases, classes and splits when it is read.

    Args:
        dataset: of one folder.
        path: the file, which must be new.
        labels: what the values of the masks mean, as it was declared or found.
        derived: the image classes were derived from the masks.

    Raises:
        DataError: a name cannot stand in a manifest.
        SettingsError: the file cannot be written.
    """
    dataset = dataset.with_instances(labels)
    beyond = [c.id for c in dataset.cases for _, one in c.addresses() if not one.path.is_relative_to(dataset.root)]
    if beyond:
        raise DataError(
            f"{dataset.root}: files of {some(dict.fromkeys(beyond), most=3)} lie elsewhere; no manifest can name them; "
            "write one for the data set that holds them"
        )
    text = "\n".join(_lines(dataset, path, labels, derived=derived)) + "\n"
    try:
        content = text.encode()
    except UnicodeEncodeError as error:
        bad = text[: error.end].rpartition("\n")[2]
        raise DataError(f"{path}: a manifest is UTF-8, and {bad!r} is not; rename that file") from None
    try:
        with replacing(place_of(dataset, str(path))) as aside:
            aside.write_bytes(content)
            found = contents_of(aside, layout=paired, root=dataset.root).cases
            again = {case.id: case for case in found}
            for case in dataset.cases:
                if _compared(again.get(case.id)) != _compared(case):
                    raise DataError(f"{path}: the case {case.id} cannot be written into a manifest; rename its files")
    except OSError as error:
        raise SettingsError(
            f"--write-manifest {path}: cannot be written ({error.strerror}); name another file"
        ) from None


def _compared(case: Case | None) -> object:
    return case and replace(case, images=dict(case.images), links=dict(case.links), strata={**case.strata}, named=False)


def _lines(dataset: Dataset, path: Path, labels: Labels | None, *, derived: bool) -> Iterator[str]:
    yield _HEADER.format(name=json.dumps(dataset.name, ensure_ascii=False), manifest=MANIFESTS[0])
    yield f"name = {_toml(dataset.name)}"
    root = Path(os.path.relpath(dataset.root.resolve(), path.absolute().parent.resolve())).as_posix()
    if root != ".":
        yield f"root = {_toml(root)}"
    if derived:
        yield 'image_classes_from = "masks"  # by whether any pixel of an image is marked, outside the test split'
    if labels is not None and labels.others in ("error", "nearest", "object"):
        yield from () if labels.ignore is None else (f"ignore = {written(labels.ignore)}",)
        yield from () if labels.background == (0,) else (f"background = {_values(labels.background)}",)
        yield from () if labels.others == "error" else (f"others = {_toml(labels.others)}",)
        yield "\n[classes]  # the value or values of each class in the masks"
        for name, values in zip(labels.names, labels.values, strict=True):
            yield f"{_toml(name)} = {written(values[0]) if len(values) == 1 else _values(values)}"
        if dataset.regions:
            yield "\n[regions]  # masks are scored by them in place of the classes"
            yield from (f"{_toml(name)} = {_toml(classes)}" for name, classes in dataset.regions.items())
    elif labels is not None:
        yield f"\n# The classes are found in the masks: {_toml(labels.names)}."
    for case in dataset.cases:
        yield "\n[[case]]"
        yield from (f"{key} = {_toml(value)}" for key, value in _entry(case, dataset.root).items())


def _values(values: tuple[int, ...]) -> str:
    """Values or colours of a mask as a list."""
    return "[" + ", ".join(map(written, values)) + "]"


def _entry(case: Case, root: Path) -> dict[str, Any]:
    """What a manifest says of a case, without what it need not say."""

    def at(address: Address) -> str:
        path = address.path.relative_to(root).as_posix()
        return f"{path}#{address.member}" if address.member else path

    images = {name: at(address) for name, address in case.images.items()}
    masks = [
        at(mask) if isinstance(mask, Address) else {name: at(layer) for name, layer in mask.items()}
        for mask in case.masks
    ]
    inherited = case.origin.parents[0] if case.origin.kind == "synthetic" and case.origin.parents else case.id
    entry: dict[str, Any] = {
        "id": case.id,
        "subject": case.subject if case.named or case.subject != inherited else "",
        "images": images["image"] if set(images) == {"image"} else images,
        "masks": masks[0] if len(masks) == 1 else masks,
        **{
            key: at(address)
            for key in ("scribbles", "region", "known", "instances")
            if (address := getattr(case, key)) is not None
        },
        "boxes": case.boxes,
        "points": case.points,
        "box_classes": case.box_classes,
        "point_classes": case.point_classes,
        "image_class": case.image_class,
        "caption": case.caption,
        "links": case.links,
        "strata": case.strata,
        "pool": case.pool,
        "split": case.split,
        "spacing": case.spacing,
        "threshold": case.threshold,
        "drawn_slices": case.drawn_slices,
        "drawn_axis": case.drawn_axis,
        "drawn_objects": case.drawn_objects,
        "drawn_rim": case.drawn_rim or None,
        "drawn_classes": case.drawn_classes,
        "origin": case.origin.model_dump(exclude_defaults=True),
    }
    drawn = ("boxes", "points")  # an image in which somebody found none is labelled
    return {
        key: value
        for key, value in entry.items()
        if value is not None and (value not in ("", (), [], {}) or key in drawn)
    }


def _toml(value: Any) -> str:
    """A value as TOML writes it in one line."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_toml(str(name))} = {_toml(item)}" for name, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    text = json.dumps(value, ensure_ascii=False)
    return text.replace("\x7f", "\\u007f") if isinstance(value, str) else text
