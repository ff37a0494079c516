"""Fréchet and kernel distance, precision, recall, density and coverage in the features of a named network.

Each is given beside a scale: the other half of the real subjects, and that half with noise, held against the same half
as the made images and in the same number, because these measures depend on how many images there are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scantling.core.randomness import numpy_generator
from scantling.evaluation.made_and_real import NOISE, Places
from scantling.metrics.generation import frechet_distance, kernel_distance, manifolds

Rows = NDArray[np.float64]

MADE, HALF, NOISY = "made", "real, other half", f"real with {NOISE:.0%} noise"
MEASURES: Mapping[str, tuple[str, str]] = {
    "frechet": ("FID", "lower"),
    "kernel": ("KID", "lower"),
    "precision": ("Precision", "higher"),
    "recall": ("Recall", "higher"),
    "density": ("Density", "higher"),
    "coverage": ("Coverage", "higher"),
}
"""What is measured: its title, and which way is better."""
PRECISION, DENSITY = 3, 5
"""Neighbours, as published: of precision and recall, of density and coverage."""


@dataclass(frozen=True)
class FeatureScores:
    """How near made images are to real ones in the features of a network.

    Attributes:
        network: its name.
        count: images of each set that are compared at a time.
        rows: by `MADE`, `HALF` and `NOISY`, and by the names of `MEASURES`: the means over the halves; NaN where there
            are too few images.
        whole: all made against all real images that are measured, which no scale stands beside.
    """

    network: str
    count: int
    rows: Mapping[str, Mapping[str, float]]
    whole: Mapping[str, float]

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        rows = {name: dict(row) for name, row in self.rows.items()}
        return {"network": self.network, "compared": self.count, "rows": rows, "all": dict(self.whole)}

    def lines(self) -> list[str]:
        """For a terminal."""
        head = f"in the features of {self.network}, {self.count} images against as many real ones:"
        found = [head]
        for name, row in self.rows.items():
            found.append(f"  {name}: " + ", ".join(f"{MEASURES[key][0]} {value:.3g}" for key, value in row.items()))
        return found


def score_features(
    network: str, real: Rows, made: Rows, noisy: Rows, halves: Sequence[tuple[Places, Places]]
) -> FeatureScores:
    """Scores of features (N, F), (M, F) and, of the real images with noise, (N, F).

    Args:
        halves: places of real images in the one half and in the other, several times.
    """
    count = min(len(made), *(len(half) for pair in halves for half in pair))
    drawn: dict[str, list[dict[str, float]]] = {MADE: [], HALF: [], NOISY: []}
    for number, (one, other) in enumerate(halves):
        against = real[one[:count]]
        some = numpy_generator("made images", number).permutation(len(made))[:count]
        for name, rows in ((MADE, made[some]), (HALF, real[other[:count]]), (NOISY, noisy[other[:count]])):
            drawn[name].append(_measured(against, rows))
    means = {
        name: {key: float(np.mean([row[key] for row in rows])) for key in MEASURES} for name, rows in drawn.items()
    }
    return FeatureScores(network, count, means, _measured(real, made))


def _measured(real: Rows, made: Rows) -> dict[str, float]:
    fewest, nan = min(len(real), len(made)), float("nan")
    two = fewest > 1
    narrow = manifolds(real, made, neighbours=PRECISION) if fewest > PRECISION else None
    wide = manifolds(real, made, neighbours=DENSITY) if fewest > DENSITY else None
    return {
        "frechet": frechet_distance(real, made) if two else nan,
        "kernel": kernel_distance(real, made) if two else nan,
        "precision": narrow.precision if narrow else nan,
        "recall": narrow.recall if narrow else nan,
        "density": wide.density if wide else nan,
        "coverage": wide.coverage if wide else nan,
    }
