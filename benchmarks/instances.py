"""Metrics of a thousand objects from one joint histogram, against a loop over all pairs, as public code has it.

    python benchmarks/instances.py [--repeats 3] [--side 1000] [--objects 1000]

Both run in one process and in turn, by processor time, on the same two maps: discs on a jittered lattice, some of them
touching, and the same moved by up to two pixels, with one object in ten left out and pairs of neighbours merged. Ours
is AJI, AJI+, PQ, F1 at ten thresholds, the score of the Data Science Bowl, the three of GlaS, the count and COCO's
average precision. The loop makes a mask of every object and intersects each pair that shares pixels, which gives the
table of intersections and unions; then takes SciPy's directed Hausdorff distance of each object and the partner that
shares most pixels with it. What it leaves out is generous to it: the sums, and the objects without a partner, whose
distance to all others the definition asks for. Exits with 1 if the tables differ, ours takes a second or more, or
either ratio is under 10.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
from scipy import ndimage
from scipy.spatial.distance import directed_hausdorff

from scantling.core.randomness import numpy_generator
from scantling.metrics.instance_overlaps import overlaps
from scantling.metrics.instances import instances

TARGET, LIMIT = 10, 1.0


def discs(side: int, objects: int) -> tuple[np.ndarray, np.ndarray]:
    """A true and a predicted instance map (side, side) of so many objects."""
    draw = numpy_generator("instances", side, objects)
    cells = int(np.ceil(np.sqrt(objects)))
    step = side / cells
    truth, found = (np.zeros((side, side), np.int32) for _ in range(2))
    for number in range(1, objects + 1):
        centre = (np.array(divmod(number - 1, cells)) + draw.uniform(0.35, 0.65, 2)) * step
        radius = step * draw.uniform(0.3, 0.55)
        draws = ((truth, centre, radius), (found, centre + draw.uniform(-2, 2, 2), radius * draw.uniform(0.9, 1.1)))
        for labels, (row, column), size in draws:
            low, high = int(max(0, row - size)), int(min(side, row + size + 2))
            left, right = int(max(0, column - size)), int(min(side, column + size + 2))
            rows, columns = np.ogrid[low:high, left:right]
            inside = (rows - row) ** 2 + (columns - column) ** 2 <= size**2
            labels[low:high, left:right][inside] = number
    kept = np.arange(objects + 1)
    kept[draw.choice(objects, objects // 10, replace=False) + 1] = 0
    merged = draw.choice(objects - 1, objects // 20, replace=False) + 1
    kept[merged] = kept[merged + 1]
    return truth, kept[found]


def by_loops(found: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(M, N) pixels that each pair of objects shares, and that either has: a mask for each object, pair by pair."""
    theirs, ours = (np.unique(labels)[1:] for labels in (truth, found))
    masks = [found == number for number in ours]
    sizes = [np.count_nonzero(mask) for mask in masks]
    shared, either = (np.zeros((len(theirs), len(ours)), np.int64) for _ in range(2))
    places = {number: place for place, number in enumerate(ours.tolist())}
    for row, number in enumerate(theirs):
        true = truth == number
        for other in np.unique(found[true]).tolist():
            if other:
                column = places[other]
                shared[row, column] = np.count_nonzero(true & masks[column])
                either[row, column] = np.count_nonzero(true) + sizes[column] - shared[row, column]
    return shared, either


def distances_by_loops(found: np.ndarray, truth: np.ndarray, shared: np.ndarray) -> float:
    """The sum of the Hausdorff distances of all objects that have a partner, pair by pair."""
    theirs, ours = (np.unique(labels)[1:] for labels in (truth, found))
    rows, columns = shared.argmax(1), shared.argmax(0)
    pairs = [(row, column) for row, column in enumerate(rows) if shared[row, column]]
    pairs += [(row, column) for column, row in enumerate(columns) if shared[row, column]]
    total = 0.0
    for row, column in pairs:
        one, other = np.argwhere(truth == theirs[row]), np.argwhere(found == ours[column])
        total += max(directed_hausdorff(one, other)[0], directed_hausdorff(other, one)[0])
    return total


def main() -> int:
    """Time both; 0 if the targets are reached."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--side", type=int, default=1000)
    parser.add_argument("--objects", type=int, default=1000)
    asked = parser.parse_args()
    truth, found = discs(asked.side, asked.objects)
    scores = numpy_generator("scores").random(asked.objects + 1)
    true = ndimage.label(truth > 0)[1]
    print(f"{asked.side} x {asked.side} pixels, {asked.objects} true objects in {true} pieces of the mask")
    spent: dict[str, list[float]] = {"ours": [], "our table": [], "loop": [], "table by loop": []}

    def clocked(what: str, began: float) -> None:
        spent[what].append(time.process_time() - began)

    for _ in range(asked.repeats):
        began = time.process_time()
        measured = instances(found, truth, scores=scores)
        values = measured.aji, measured.aji_plus, measured.pq, measured.dsb_ap, measured.object_hausdorff
        values += measured.object_f1, measured.object_dice, measured.mask_ap, measured.f1_75, measured.count_error
        clocked("ours", began)
        began = time.process_time()
        table = overlaps(found, truth)
        clocked("our table", began)
        began = time.process_time()
        shared, either = by_loops(found, truth)
        clocked("table by loop", began)
        distances_by_loops(found, truth, shared)
        clocked("loop", began)
    same = sorted(zip(table.shared, table.united, strict=True)) == sorted(
        (shared[pair], either[pair]) for pair in zip(*np.nonzero(shared), strict=True)
    )
    best = {what: min(times) for what, times in spent.items()}
    ratios = best["table by loop"] / best["our table"], best["loop"] / best["ours"]
    print(f"the table {best['our table']:.3f} s, by loops {best['table by loop']:.2f} s: {ratios[0]:.0f} times as fast")
    print(f"all metrics {best['ours']:.3f} s, by loops {best['loop']:.2f} s: {ratios[1]:.0f} times as fast")
    print(", ".join(f"{value:.3f}" for value in values))
    if not same:
        print("the tables differ")
    return 0 if same and best["ours"] < LIMIT and min(ratios) >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
