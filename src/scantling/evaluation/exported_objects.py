"""The objects of a folder of predictions for other programs: GeoJSON for QuPath, or COCO."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from scantling.core.atomic import write_json
from scantling.core.case import Geometry
from scantling.core.errors import RunError, ScantlingError, SettingsError
from scantling.core.outputs import PREDICTIONS, check_inputs, output_folder
from scantling.data.annotations.writing import Drawn, annotation, feature, of_map
from scantling.data.contents import count
from scantling.data.files import GENEROUS, safe_id
from scantling.evaluation.objects import ObjectFiles, SplitObjects, layer_of, read_objects
from scantling.evaluation.predictions import Predictions, open_predictions, read_listing
from scantling.metrics.instance_overlaps import separated
from scantling.records.predicted_objects import PredictedObjectsRecord
from scantling.records.record import read_json, read_record

EXPORT = "export.json"
COCO = "objects.json"
Progress = Callable[[int, int, str], None]
Form = Literal["qupath", "coco"]


def export_objects(folder: Path, out: Path, *, form: Form, progress: Progress | None = None) -> dict[str, Any]:
    """Write the objects of predicted pictures: `out/ID.geojson` for each, or all of them in `out/objects.json`.

    Where a prediction has no objects, the connected components of its masks stand for them, which is said.

    Args:
        folder: what `predict` wrote.
        out: a folder that is new, empty, or holds the same export of these predictions.

    Returns:
        The contents of `out/export.json`; cases that could not be written are listed under "failed".

    Raises:
        RunError: `folder` holds no predictions.
        SettingsError: `out` holds something else.
    """
    listing = read_listing(folder / PREDICTIONS)
    if listing is None:
        raise RunError(f"{folder}: holds no {PREDICTIONS}; expected a folder that `scantling predict` wrote")
    predictions = open_predictions(folder, truth=listing.labels, ids={case.id for case in listing.cases})
    facts: dict[str, Any] = {"made_by": "scantling export", "format": form, "predictions": str(folder.resolve())}
    record = out / EXPORT
    if record.is_file() and {key: read_json(record).get(key) for key in facts} != facts:
        raise SettingsError(f"--out {out}: holds another export; choose another folder")
    check_inputs(out, [folder / PREDICTIONS])
    names = listing.labels.names
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    failed, pieces, total = list[str](), 0, 0
    with output_folder(out, record=EXPORT, inputs=[folder / PREDICTIONS]):
        write_json(record, facts)
        for number, id in enumerate(predictions.masks, start=1):
            try:
                found, shape, told_apart = objects_of(predictions, id)
            except (ScantlingError, ValueError, OSError) as error:
                failed.append(f"{id}: {error}")
            else:
                pieces, total = pieces + (not told_apart), total + len(found)
                if form == "qupath":
                    features = [feature(one) for one in found]
                    content = {"type": "FeatureCollection", "features": features}
                    write_json(out / f"{safe_id(id)}.geojson", content)
                images.append({"id": number, "file_name": f"{id}.png", "height": shape[0], "width": shape[1]})
                known = len(annotations)
                annotations += [
                    annotation(one, id=known + place, image=number, category=names.index(one.label) + 1, shape=shape)
                    for place, one in enumerate(found, start=1)
                ]
            if progress is not None:
                progress(number, len(predictions.masks), id)
        if form == "coco":
            categories = [{"id": number, "name": name} for number, name in enumerate(names, start=1)]
            write_json(out / COCO, {"images": images, "annotations": annotations, "categories": categories})
        notes = []
        if pieces:
            notes.append(
                f"{count(pieces, 'prediction')} without objects: connected components of the masks stand for them."
            )
        facts |= {"cases": len(images), "objects": total, "notes": notes, "failed": failed}
        write_json(record, facts)
    return facts


def objects_of(predictions: Predictions, id: str) -> tuple[list[Drawn], tuple[int, int], bool]:
    """The objects of a predicted picture, its shape, and whether it tells objects apart itself.

    Raises:
        SettingsError: it is a volume.
        ScantlingError: a file cannot be read.
    """
    names = predictions.labels.names
    mask, grid = predictions.mask(id, range(len(names)), limits=GENEROUS)
    if len(grid.shape) != 2:
        raise SettingsError(
            "is a volume, and QuPath and COCO hold pictures; leave it out, and open its label map of objects in a "
            "viewer of volumes"
        )
    shape = (int(grid.shape[0]), int(grid.shape[1]))
    files = predictions.objects.get(id)
    if files is None:
        layers = [separated(layer_of(mask, number))[0] for number in range(len(names))]
        drawn = [
            one
            for name, pieces in zip(names, layers, strict=True)
            for one in of_map(pieces, (name,) * (int(pieces.max(initial=0)) + 1), None)
        ]
        return drawn, shape, False
    if files.numbers is None and files.listed is not None:
        return _of_list(read_record(PredictedObjectsRecord, files.listed)), shape, True
    return _of_map(files, mask, grid, names), shape, True


def _of_list(listed: PredictedObjectsRecord) -> list[Drawn]:
    """Objects whose masks overlap, each whole."""
    return [
        Drawn(one.class_name, one.score, (one.at[0], one.at[1]), one.mask())
        for one in listed.objects
        if len(one.at) == 2 and one.mask().any()
    ]


def _of_map(files: ObjectFiles, mask: np.ndarray, grid: Geometry, names: Sequence[str]) -> list[Drawn]:
    found, own_grid = read_objects(files, names, grid, limits=GENEROUS)
    if tuple(own_grid.shape) != mask.shape[1:]:
        raise ValueError(f"{files.numbers} has the shape {own_grid.shape}; expected {mask.shape[1:]}, as the mask has")
    objects = SplitObjects(found.numbers.astype(np.int32), found.classes)
    labels = [""] * (int(found.numbers.max(initial=0)) + 1)
    for number, name in enumerate(names):
        for own in np.unique(objects.of_class(number, mask, len(names))):
            labels[own] = name if own else ""
    numbers = np.where(np.array([bool(label) for label in labels])[found.numbers], found.numbers, 0)
    return of_map(numbers, labels, found.scores)
