"""What the masks of a data set are like, whoever or whatever made them: measured on some, drawn by hash."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scantling.core.case import IGNORE, Case, Geometry, Labels
from scantling.core.errors import DataError, ScantlingError, SettingsError
from scantling.core.randomness import seed_of
from scantling.data.loading import load
from scantling.evaluation.truth import open_truth
from scantling.metrics.topology import betti_numbers
from scantling.metrics.tubes import branching_angles, coverage, diversity, fractal_dimension, widths

MOST = 200
"""Masks of a folder that are measured unless said."""
KEPT = 1 << 28
"""Bytes of masks that are kept for the diversity."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
QUANTITIES = {
    "coverage": "Coverage",
    "width": "Mean width (pixels)",
    "widest": "Greatest width (pixels)",
    "forks": "Forks",
    "angle": "Mean branching angle",
    "components": "Pieces (β₀)",
    "holes": "Holes (β₁)",
    "tunnels": "Tunnels (β₁)",
    "cavities": "Cavities (β₂)",
    "fractal_dimension": "Fractal dimension",
}
"""What is measured of each mask, and its title."""
CONVENTIONS = (
    "Foreground is every class; what is marked as unknown counts as background. Of several annotators the first is "
    "measured.",
    "Coverage: the share of the pixels that are foreground, of those in the region of interest where a case has one.",
    "Width: in pixels, at every point of the centre line, from the distance to the background on a grid twice as fine; "
    "the widths of all points of a folder are put together.",
    "Branching angle: between the two closest arms of every fork that three arms of 10 pixels or more leave.",
    "β₀, β₁, β₂: connected pieces (corners count), holes in 2-D or tunnels in 3-D, cavities.",
    "Fractal dimension: by counting boxes of 1, 2, 4, … pixels that hold foreground, least squares.",
    "Diversity: the mean of 1 - Dice over all pairs of masks of the commonest shape; 0 if all are equal.",
)

Floats = NDArray[np.float64]
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Made:
    """Where masks come from: how many of a folder, real or made, and by what."""

    kind: str
    model: str
    count: int


@dataclass(frozen=True)
class MaskSet:
    """What the masks of one folder are like.

    Attributes:
        name: of the data set.
        folder: what was opened.
        count: masks that it has.
        origins: of all of them.
        cases: those that were measured, by id.
        values: a number for each of them by the names of `QUANTITIES`; NaN where there is nothing to measure.
        widths: (n,) in pixels, at all points of all centre lines.
        angles: (n,) in degrees, of all forks.
        diversity: see `metrics.tubes.diversity`; NaN for fewer than two masks of one shape.
        compared: masks that the diversity is of.
        shapes: of the masks, the commonest first.
        failed: sentences on masks that could not be read.
    """

    name: str
    folder: Path
    count: int
    origins: tuple[Made, ...]
    cases: tuple[Case, ...]
    labels: Labels | None
    values: Mapping[str, Floats]
    widths: Floats
    angles: Floats
    diversity: float
    compared: int
    shapes: tuple[tuple[int, ...], ...]
    failed: tuple[str, ...] = ()

    def mean(self, quantity: str) -> tuple[float, float]:
        """Mean and deviation (of a sample) over the masks where the quantity is defined; NaN where there are none."""
        found = self.values.get(quantity, np.zeros(0))
        found = found[np.isfinite(found)]
        if not found.size:
            return float("nan"), float("nan")
        return float(found.mean()), float(found.std(ddof=1)) if found.size > 1 else float("nan")

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        means = {name: self.mean(name) for name in self.values}
        return {
            "name": self.name,
            "folder": str(self.folder),
            "masks": self.count,
            "measured": len(self.cases),
            "origins": [{"kind": each.kind, "model": each.model, "masks": each.count} for each in self.origins],
            "shapes": [list(shape) for shape in self.shapes],
            "mean": {name: mean for name, (mean, _) in means.items()},
            "std": {name: std for name, (_, std) in means.items()},
            "quantiles": {"at": list(QUANTILES), "width": _quantiles(self.widths), "angle": _quantiles(self.angles)},
            "diversity": self.diversity,
            "diversity_masks": self.compared,
            "failed": list(self.failed),
        }


def measure_masks(
    folder: Path,
    *,
    most: int = MOST,
    manifest: Path | None = None,
    root: Path | None = None,
    progress: Progress | None = None,
) -> MaskSet:
    """Metric the masks of a data set, or of a folder that holds nothing but masks.

    Args:
        most: masks that are measured; of more a hash of their ids draws so many, always the same.
        manifest: describes the files below `folder`.
        root: the folder that the manifest's paths start from.
        progress: called with (done, total, id) after each mask.

    Raises:
        SettingsError: `most` is not positive.
        DataError: there are no masks, or none can be read. A mask that cannot be read is listed, not raised.
    """
    if most < 1:
        raise SettingsError(f"--most {most}: expected 1 or more")
    dataset = open_truth(folder, manifest=manifest, root=root)
    marked = [case for case in dataset.cases if case.masks]
    drawn = sorted(sorted(marked, key=lambda case: seed_of("masks", case.id))[:most], key=lambda case: case.id)
    labels = dataset.labels
    rows: list[dict[str, float]] = []
    cases: list[Case] = []
    pooled: dict[str, list[Floats]] = {"widths": [], "angles": []}
    masks: dict[tuple[int, ...], list[NDArray[np.bool_]]] = {}
    shapes: Counter[tuple[int, ...]] = Counter()
    failed, held = [], 0
    for number, case in enumerate(drawn, start=1):
        try:
            mask, region, _ = read_mask(case, labels)
        except (ScantlingError, OSError) as error:
            failed.append(f"{case.id}: {error}")
        else:
            wide, angles = widths(mask, spatial_dims=mask.ndim), branching_angles(mask, spatial_dims=mask.ndim)
            rows.append(_measured(mask, region, wide, angles))
            cases.append(case)
            pooled["widths"].append(wide)
            pooled["angles"].append(angles)
            shapes[mask.shape] += 1
            if held + mask.nbytes <= KEPT:
                held += mask.nbytes
                masks.setdefault(mask.shape, []).append(mask)
        if progress is not None:
            progress(number, len(drawn), case.id)
    if not rows:
        raise DataError(f"{folder}: none of its masks can be read: {failed[0]}")
    origins = Counter((case.origin.kind, case.origin.model) for case in marked)
    names = [name for name in QUANTITIES if any(name in row for row in rows)]
    compared = masks.get(shapes.most_common(1)[0][0], [])
    return MaskSet(
        name=dataset.name,
        folder=folder,
        count=len(marked),
        origins=tuple(Made(kind, model, count) for (kind, model), count in origins.most_common()),
        cases=tuple(cases),
        labels=labels,
        values={name: np.array([row.get(name, np.nan) for row in rows]) for name in names},
        widths=np.concatenate(pooled["widths"]),
        angles=np.concatenate(pooled["angles"]),
        diversity=diversity(compared),
        compared=len(compared),
        shapes=tuple(shape for shape, _ in shapes.most_common()),
        failed=tuple(failed),
    )


def read_mask(case: Case, labels: Labels | None) -> tuple[NDArray[np.bool_], NDArray[np.bool_] | None, Geometry]:
    """The foreground (*S) of a case's first mask, its region of interest where that is not empty, and their geometry.

    Raises:
        FileError: a file cannot be read.
        DataError: the files disagree.
    """
    sample = load(case, labels=labels, reads=("mask", "region"))
    layers = sample.masks[0]
    region = sample.region if sample.region is not None and sample.region.any() else None
    return ((layers > 0) & (layers != IGNORE)).any(axis=0), region, sample.geometry


def _measured(
    mask: NDArray[np.bool_], region: NDArray[np.bool_] | None, wide: Floats, angles: Floats
) -> dict[str, float]:
    betti = betti_numbers(mask, spatial_dims=mask.ndim)
    names = ("components", "holes") if mask.ndim == 2 else ("components", "tunnels", "cavities")
    return {
        "coverage": coverage(mask, region=region),
        "width": float(wide.mean()) if wide.size else np.nan,
        "widest": float(wide.max()) if wide.size else np.nan,
        "forks": float(len(angles)),
        "angle": float(angles.mean()) if angles.size else np.nan,
        **{name: float(value) for name, value in zip(names, betti, strict=True)},
        "fractal_dimension": fractal_dimension(mask, spatial_dims=mask.ndim),
    }


def _quantiles(values: Floats) -> list[float]:
    return [float(value) for value in np.quantile(values, QUANTILES)] if values.size else [np.nan] * len(QUANTILES)
