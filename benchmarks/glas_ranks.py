"""The rank sum of the GlaS contest: object F1, object Dice and object Hausdorff distance, each on test A and test B.

    python benchmarks/glas_ranks.py FOUND FOUND... --data data/glas [--parts testA testB] [--pixel 2]

FOUND is a folder that `scantling predict` wrote, or one of masks or instance maps by any tool. The parts are told by
how the ids of cases begin. A score is that of all objects of a part together, as in the contest (Sirinukunwattana et
al., 2017); of each of the six the best is rank 1, ties share the mean of their ranks, and the least sum of ranks wins.
`--pixel` says how many pixels of the published images a pixel is across, by which distances are multiplied. Where masks
tell no objects apart their connected components stand for objects. Ranks are among the folders that are named: they
cannot be held against those of the contest.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scantling.core.errors import DataError, ScantlingError
from scantling.core.text import aligned
from scantling.evaluation import evaluate
from scantling.evaluation.object_totals import pooled
from scantling.experiments.statistics import mean_ranks
from scantling.metrics.catalogue import METRICS

SCORES = ("object_f1", "object_dice", "object_hausdorff")


def scores_of(found: Path, data: Path, parts: Sequence[str], *, pixel: float) -> list[float]:
    """The scores of a folder, each of the three part by part.

    Raises:
        ScantlingError: it cannot be evaluated, or only without some of the cases; or a part has no case.
    """
    result = evaluate(found, data, split="test", metrics=SCORES)
    if result.failed:
        first = result.failed[0]
        raise DataError(f"{found}: test cases without a score: {len(result.failed)}; {first.id}: {first.error}")
    sums = []
    for part in parts:
        cases = [(case.scores.objects, case.unit) for case in result.cases if case.id.startswith(part)]
        if not cases:
            raise DataError(f"{data}: found no test case whose id begins with {part}; name others with --parts")
        sums.append(next(iter(pooled(cases, unit=result.unit).values())))
    return [getattr(each, name) * (pixel if METRICS[name].is_length else 1) for name in SCORES for each in sums]


def rank_sums(rows: Sequence[Sequence[float]], parts: int) -> list[float]:
    """The sum of the ranks of each row of scores (`scores_of`)."""
    directions = [METRICS[name].direction == "higher" for name in SCORES for _ in range(parts)]
    columns = zip(np.array(rows).T, directions, strict=True)
    ranks = [mean_ranks(column[:, None], higher=higher) for column, higher in columns]
    return [float(total) for total in np.sum(ranks, axis=0)]


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("found", type=Path, nargs="+")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--parts", nargs="+", default=["testA", "testB"])
    parser.add_argument("--pixel", type=float, default=1.0)
    of = parser.parse_args()
    try:
        rows = [scores_of(each, of.data, of.parts, pixel=of.pixel) for each in of.found]
    except ScantlingError as error:
        print(error, file=sys.stderr)
        return 1
    titles = [f"{METRICS[name].title.removesuffix(' (GlaS)')}, {part}" for name in SCORES for part in of.parts]
    lines = [["", *titles, "Rank sum"]]
    for path, row, total in zip(of.found, rows, rank_sums(rows, len(of.parts)), strict=True):
        lines.append([path.name, *(f"{value:.4g}" for value in row), f"{total:g}"])
    print("\n".join(aligned(lines)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
