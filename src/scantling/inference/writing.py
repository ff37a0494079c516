"""What is written of an answer: masks, maps, samples, uncertainty, objects; each below the output folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from scantling.core.atomic import write_json
from scantling.core.case import COLOURED, IGNORE, Case, Geometry, Labels
from scantling.core.pieces import lookup
from scantling.data.files import safe_id, write_labels, write_map
from scantling.data.labels import class_folder
from scantling.data.orientation import stored_geometry
from scantling.inference.bands import Decided
from scantling.inference.objects import as_file_has_them, label_map, run_lengths

INSTANCES = "instances"
MAPS = "probabilities"
"""The folder of probability maps below that of masks."""


def written_values(labels: Labels) -> list[list[int]]:
    """What the classes are in the masks that are written: as in the data, or 1..K where those are 0 or colours."""
    if labels.coloured or any(0 in values for values in labels.values):
        return [[number] for number in range(1, len(labels.names) + 1)]
    return [list(values) for values in labels.values]


def values_of(labels: Labels) -> tuple[int, ...]:
    """What each class is in a mask that is written; 255 where classes overlap and have a layer each."""
    return tuple(named[0] if labels.exclusive else 255 for named in written_values(labels))


def write_answer(
    out: Path,
    case: Case,
    answer: Decided,
    geometry: Geometry,
    labels: Labels,
    *,
    maps: bool,
    region: np.ndarray | None = None,
) -> dict[str, Any]:
    """Write the mask of a case, 0 where no class is, its probability map if wanted, its samples and its doubt.

    The uncertainty of an image is one number for each name: the mean over the pixels of its region of interest, or all.

    Returns:
        The entry of the case in the list, paths below `out`.
    """

    def mask(folder: Path, name: str, decided: np.ndarray) -> str | list[str]:
        files = write_mask(folder, name, decided, geometry, labels)
        listed = [
            (folder / path).relative_to(out).as_posix() for path in ([files] if isinstance(files, str) else files)
        ]
        return listed[0] if labels.exclusive else listed

    facts: dict[str, Any] = {"id": case.id, "mask": mask(out, case.id, answer.decision), "probability": None}
    if maps and answer.probabilities is not None:
        facts["probability"] = write_probabilities(out, case.id, answer.probabilities, geometry)
    if len(answer.samples):
        folder = out / "samples" / safe_id(case.id)
        facts["samples"] = [
            mask(folder, f"{number:02d}", sample)
            if labels.exclusive
            else mask(folder / f"{number:02d}", safe_id(case.id), sample)
            for number, sample in enumerate(answer.samples)
        ]
    if answer.uncertainty:
        counted = {
            name: map_[region] if region is not None and region.any() else map_
            for name, map_ in answer.uncertainty.items()
        }
        facts["uncertainty"] = {name: round(float(values.mean()), 6) for name, values in counted.items()}
        facts["uncertainty_maps"] = {
            name: write_map(out / "uncertainty" / name, case.id, map_[None], geometry).relative_to(out).as_posix()
            for name, map_ in answer.uncertainty.items()
        }
    if answer.objects is not None:
        facts["files"] = write_objects(out, case.id, answer, geometry, labels)
    return facts


def write_objects(out: Path, id: str, answer: Decided, geometry: Geometry, labels: Labels) -> list[str]:
    """Write `instances/ID.json`, and a label map beside it where masks do not overlap; returns the paths below `out`.

    In JSON each object has its class, score and box; its number in the label map, or run lengths of its mask: pixels
    off, on, off ... of the box `at`, the last axis fastest.
    """
    found = answer.objects
    if found is None:
        return []
    numbers, files = label_map(found, geometry.shape), list[str]()
    if numbers is not None:
        files.append(write_labels(out / INSTANCES, id, numbers, geometry).relative_to(out).as_posix())
    found, shape = as_file_has_them(found, geometry), stored_geometry(geometry).shape
    entries = []
    for place in range(len(found.classes)):
        entry: dict[str, Any] = {
            "class": labels.names[int(found.classes[place])],
            "score": None if found.scores is None else round(float(found.scores[place]), 6),
            "box": [[round(float(end), 3) for end in axis] for axis in found.boxes[place]],
        }
        if numbers is not None:
            entry["number"] = place + 1
        elif found.corners is not None:
            entry["at"] = found.corners[place].tolist()
            entry["shape"] = list(found.crops[place].shape)
            entry["run_lengths"] = run_lengths(found.crops[place])
        entries.append(entry)
    path = out / INSTANCES / f"{safe_id(id)}.json"
    write_json(path, {"id": id, "shape": list(shape), "objects": entries})
    return [*files, path.relative_to(out).as_posix()]


def written_ignore(labels: Labels) -> int | None:
    """What unknown pixels are in the masks that are written: as in the data, unless a class has that value there."""
    if labels.ignore is None:
        return None
    classes = {value for values in written_values(labels) for value in values} if labels.exclusive else {255}
    return next(value for value in (labels.ignore, *range(255, 0, -1)) if 0 < value < COLOURED and value not in classes)


def mask_values(decided: np.ndarray, labels: Labels) -> np.ndarray:
    """The values of class numbers (*S) in a mask as it is written, or (K, *S) of 0 and 255 where classes overlap.

    Pixels of `IGNORE` are as `written_ignore` says.
    """
    table = np.zeros(IGNORE + 1, np.uint16)
    table[IGNORE] = written_ignore(labels) or 0
    if labels.exclusive:
        table[1 : len(labels.names) + 1] = [named[0] for named in written_values(labels)]
    else:
        table[1] = 255
    return lookup(table if table.max() > 255 else table.astype(np.uint8), decided)


def write_mask(out: Path, id: str, decided: np.ndarray, geometry: Geometry, labels: Labels) -> str | list[str]:
    """Write class numbers (*S), or (K, *S) of 0 and 1 where classes overlap; returns the paths below `out`."""
    if labels.exclusive:
        return write_labels(out, id, mask_values(decided, labels), geometry).relative_to(out).as_posix()
    return [
        write_labels(out / class_folder(name), id, mask_values(layer, labels), geometry).relative_to(out).as_posix()
        for name, layer in zip(labels.names, decided, strict=True)
    ]


def write_probabilities(out: Path, id: str, probabilities: np.ndarray, geometry: Geometry) -> str:
    """Write maps (K, *S); returns the path below `out`."""
    path = write_map(out / MAPS, id, probabilities, geometry)
    return path.relative_to(out).as_posix()
