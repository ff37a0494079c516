"""Vessels as numbers: the branches of each mask of a folder, of a data set or of predictions."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scantling.core.atomic import write_text
from scantling.core.case import IGNORE, Case, Geometry, Unit
from scantling.core.errors import DataError, ScantlingError
from scantling.core.outputs import PREDICTIONS
from scantling.data.contents import count
from scantling.data.dataset import Dataset
from scantling.data.files import GENEROUS
from scantling.data.loading import load
from scantling.data.opening import OPENING, Opening
from scantling.evaluation.cases import Regions
from scantling.evaluation.objects import layer_of
from scantling.evaluation.predictions import open_predictions, read_listing
from scantling.evaluation.truth import open_truth
from scantling.evaluation.units import known_spacing
from scantling.metrics.branches import Branches, branches

Progress = Callable[[int, int, str], None]
COLUMNS = (
    "case", "class", "branch", "kind", "length", "distance", "tortuosity", "radius", "least_radius", "from", "to",
    "unit",
)  # fmt: skip


@dataclass(frozen=True)
class VesselCase:
    """One class of one mask, measured; lengths are in `unit`."""

    id: str
    label: str
    unit: Unit
    found: Branches

    def facts(self) -> dict[str, Any]:
        """As JSON; what is undefined is None."""
        found = self.found
        numbers = {
            "branches": len(found.branches),
            "length": found.length,
            "radius": found.radius,
            "least_radius": min((branch.least_radius for branch in found.branches), default=math.nan),
            "tortuosity": found.tortuosity,
            "forks": found.forks,
            "ends": found.ends,
            "pieces": found.pieces,
            "coverage": found.area / found.region if found.region else math.nan,
            "density": found.density,
        }
        known = {name: None if isinstance(n, float) and math.isnan(n) else n for name, n in numbers.items()}
        return {"id": self.id, "class": self.label, "unit": self.unit, **known}


@dataclass(frozen=True)
class Vessels:
    """All masks of a folder, measured.

    Attributes:
        masks: the folder or data set.
        cases: one for each class of each mask.
        failed: sentences on masks that could not be measured.
    """

    masks: Path
    cases: tuple[VesselCase, ...]
    failed: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "masks": str(self.masks), "cases": [case.facts() for case in self.cases], "failed": list(self.failed),
        }  # fmt: skip

    def table(self) -> str:
        """For a terminal: the mean over the masks, by class and unit."""
        lines = []
        for label, unit in dict.fromkeys((case.label, case.unit) for case in self.cases):
            rows = [case.facts() for case in self.cases if (case.label, case.unit) == (label, unit)]
            means = {
                name: float(np.mean(known)) if (known := [row[name] for row in rows if row[name] is not None]) else None
                for name in rows[0]
                if name not in ("id", "class", "unit")
            }
            length = "mm" if unit == "mm" else "pixels"
            lines.append(f"{label}, mean of {count(len(rows), 'mask')}, lengths in {length}")
            lines += [
                f"  {name.replace('_', ' '):<13}{'undefined' if mean is None else f'{mean:.4g}'}"
                for name, mean in means.items()
            ]
        return "\n".join(lines)

    def write_csv(self, path: Path | str) -> None:
        """A line for each branch."""
        target = io.StringIO()
        table = csv.writer(target, lineterminator="\n")
        table.writerow(COLUMNS)
        for case in self.cases:
            for number, branch in enumerate(case.found.branches, start=1):
                lengths = (branch.length, branch.distance, branch.tortuosity, branch.radius, branch.least_radius)
                shown = ["" if math.isnan(each) else f"{each:.6g}" for each in lengths]
                places = [" ".join(map(str, place)) for place in branch.at]
                table.writerow([case.id, case.label, number, branch.kind, *shown, *places, case.unit])
        write_text(path, target.getvalue())


def vessels(
    masks: Path,
    *,
    data: Path | Dataset | None = None,
    split: str = "all",
    classes: Sequence[str] = (),
    only: Collection[str] | None = None,
    opening: Opening = OPENING,
    progress: Progress | None = None,
) -> Vessels:
    """Measure the vessels of masks, in mm where a file or the manifest says how large pixels are, else in pixels.

    Args:
        masks: what `predict` or `mend` wrote, a folder of masks, or a data set with masks.
        data: the data set that predictions are of, for their regions of interest and the size of their pixels.
        split: the cases to measure.
        classes: by name; none: all.
        only: the ids of the masks to measure; None: all.
        opening: of `masks` where it is a data set, and of `data`.
        progress: called with (done, total, id) after each mask.

    Raises:
        ScantlingError: there is nothing to measure. A mask that cannot be read is listed.
    """
    known = None if data is None else data if isinstance(data, Dataset) else opening.open(data)
    cases = {} if known is None else {case.id: case for case in known.cases}
    listing = read_listing(masks / PREDICTIONS)
    how: dict[str, Any] = {"limits": opening.limits or GENEROUS, "untrusted": opening.untrusted}
    if listing is not None:
        predictions = open_predictions(masks, truth=listing.labels, ids={case.id for case in listing.cases})
        ids, names = list(predictions.masks), listing.labels.names
        order = range(len(names))

        def read(id: str) -> tuple[np.ndarray, Geometry]:
            return predictions.mask(id, order, **how)

    else:
        truth = open_truth(masks, manifest=opening.manifest, root=opening.root, subjects=opening.subjects)
        labels = truth.labels
        if labels is None:
            raise DataError(f"{masks}: found no mask; expected a folder of masks, or a data set with masks")
        own = {case.id: case for case in truth.cases if case.masks}
        cases = {**own, **cases}
        ids, names = list(own), labels.names

        def read(id: str) -> tuple[np.ndarray, Geometry]:
            sample = load(own[id], labels=labels, reads=("mask",), **how)
            return sample.masks[0], sample.geometry

    if strange := [name for name in classes if name not in names]:
        raise DataError(f"--classes {strange[0]}: expected some of {', '.join(names)}")
    if split != "all":
        ids = [id for id in ids if id in cases and cases[id].split == split]
    if only is not None:
        ids = [id for id in ids if id in only]
    if not ids:
        raise DataError(f"{masks}: holds no mask of the split {split!r}; choose another --split, or name the --data")
    found, failed = list[VesselCase](), list[str]()
    for done, id in enumerate(ids, start=1):
        try:
            mask, grid = read(id)
            found += _measured(id, mask, grid, cases.get(id), names, classes or names, how)
        except (ScantlingError, ValueError, OSError) as error:
            failed.append(f"{id}: {error}")
        if progress is not None:
            progress(done, len(ids), id)
    return Vessels(masks, tuple(found), tuple(failed))


def _measured(
    id: str, mask: np.ndarray, grid: Geometry, case: Case | None, names: Sequence[str], wanted: Sequence[str],
    how: dict[str, Any],
) -> list[VesselCase]:  # fmt: skip
    """The classes of one mask; where it is not known what is there, nothing is counted."""
    region, spacing, unit = None, grid.spacing, grid.unit
    if case is not None:
        spacing, unit = known_spacing(case, (grid,), **how)
        region = Regions("dataset" if case.region is not None else None, ()).read(case, grid, **how)
    found = []
    for number, name in enumerate(names):
        if name in wanted:
            known = mask[0 if len(mask) == 1 else number] != IGNORE
            where = known if region is None else known & region
            layer = layer_of(mask, number)
            measured = branches(layer, spacing=spacing, region=where, spatial_dims=len(grid.shape))
            found.append(VesselCase(id, name, unit, measured))
    return found
