"""Pages with a case viewer, and what stands in them, for several test files."""

from __future__ import annotations

import base64
import io
import json
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image

from reported import evaluation, labels_of, log_lines, run_facts, write_run
from scantling.report import report

VOLUME = (12, 10, 6)
"""Voxels to the right, to the front and to the head."""


def decoded(array: dict[str, Any]) -> np.ndarray:
    """The bytes of an array of a payload, as `viewer_arrays.js` reads them."""
    shape = tuple(array["shape"])
    if array["codec"] == "deflate":
        flat = np.frombuffer(zlib.decompress(base64.b64decode(array["data"])), np.uint8).reshape(shape)
        return np.cumsum(flat, axis=2, dtype=np.uint8) if array["delta"] else flat
    atlas = np.asarray(Image.open(io.BytesIO(base64.b64decode(array["data"].partition(",")[2]))))
    depth, height, width = shape[:3]
    places = [(n // array["columns"] * height, n % array["columns"] * width) for n in range(depth)]
    return np.stack([atlas[top : top + height, left : left + width] for top, left in places])


def volumes(folder: Path, *, cases: int = 3) -> dict[str, Any]:
    """An evaluation of volumes with two classes: in case n, slice 2 (from the feet) has n + 1 missed voxels of "core".

    Every voxel of an image tells its place: 1000 x right + 40 x front + head. The slice 4 has one voxel added.
    """
    facts = evaluation(folder, cases=cases, classes=["whole", "core"])
    facts["labels"] = labels_of(["whole", "core"], [[1], [2]])
    right, front, head = np.indices(VOLUME)
    for number, case in enumerate(facts["cases"]):
        truth = np.zeros(VOLUME, np.uint8)
        truth[3:9, 2:8, 1:5] = 1
        truth[4:8, 3:7, 2] = 2
        mask = truth.copy()
        mask[4, 3 : 4 + number, 2] = 1
        mask[10, 8, 4] = 1
        names = {}
        for what, array in (("image", 1000 * right + 40 * front + head), ("truth", truth), ("prediction", mask)):
            path = folder / f"{what}-{number}.nii.gz"
            kind = np.int16 if what == "image" else np.uint8
            nib.save(nib.Nifti1Image(array.astype(kind), np.diag([1.0, 1.0, 3.0, 1.0])), path)
            names[what] = [str(path)] if what == "image" else str(path)
        case["files"] = names
    return facts


def volume_page(folder: Path, **changes: Any) -> Path:
    """The page of a run with such an evaluation."""
    run = write_run(folder / "run", run_facts(folder), log_lines(), volumes(folder / "masks") | changes)
    return report([run])


def photo_page(folder: Path, *, cases: int = 12) -> Path:
    """The page of a run on pictures in colour."""
    run = write_run(folder / "run", run_facts(folder), log_lines(), evaluation(folder / "masks", cases=cases))
    return report([run])


def payloads(page: Path) -> dict[str, dict[str, Any]]:
    """The cases that stand in a page, by id."""
    parts = page.read_text(encoding="utf-8").split('<script type="application/json" data-case="')[1:]
    texts = [part.split("</script>")[0].split('">', 1) for part in parts]
    return {id: json.loads(text) for id, text in texts}
