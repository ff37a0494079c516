"""Pictures at another scale than the training: as they are, as `predict` answers them, and resized by hand.

    python benchmarks/scale.py RUN DATA [--split train] [--factors 0.5 1 2] [--count 20] [--threads 2]

The pictures of a split, their masks and their regions are resized on purpose, `--factors` times, and answered with the
model of a run: at their own scale (`--scale 1`), by the evidence that `predict` finds itself, and with the factor given
(`--scale F`); beside them stands the Dice of the pictures before they were resized. The split is that of the training
unless said: what is chosen is never chosen on test images. Intervals (95 %) are over subjects.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from skimage.transform import rescale, resize

import scantling
from scantling.core.errors import ScantlingError
from scantling.data.dataset import Dataset, open_dataset
from scantling.data.division import divide
from scantling.experiments.resampling import Draws, estimate
from scantling.metrics.overlap import confusion

AS_IT_IS, BY_EVIDENCE, GIVEN, BEFORE = "as it is", "by evidence", "given", "not resized"


def resized(array: np.ndarray, factor: float) -> np.ndarray:
    """(H, W) or (H, W, C), its values as they were; a mask's to 0 and 1."""
    if array.dtype == bool:
        shape = [max(1, round(n * factor)) for n in array.shape]
        return np.asarray(resize(array.astype(np.float32), shape, order=1, anti_aliasing=factor < 1) > 0.5)
    axis = 2 if array.ndim == 3 else None
    found = rescale(array.astype(np.float32), factor, order=1, anti_aliasing=factor < 1, channel_axis=axis)
    return np.asarray(found.round().astype(array.dtype) if array.dtype.kind in "iu" else found)


def measured(
    run: Path, dataset: Dataset, *, split: str, factors: list[float], most: int, threads: int | None
) -> tuple[list[str], dict[tuple[float, str], list[float]], dict[float, int]]:
    """The subjects, their Dice by factor and way, and how many pictures the evidence has brought to another scale."""
    model = scantling.load_model(run, threads=threads)
    cases = sorted((case for case in dataset.cases if case.split == split and case.masks), key=lambda case: case.id)
    if not cases:
        raise SystemExit(f"{dataset.root}: the split {split!r} has no case with a mask; choose another --split")
    found: dict[tuple[float, str], list[float]] = {}
    brought = dict.fromkeys(factors, 0)
    for case in cases[:most]:
        sample = dataset[case.id].load(reads=("image", "mask", "region"))
        if sample.mask is None or sample.image.ndim != 3:
            raise SystemExit(f"{case.id}: is no picture with a mask; expected images with two axes")
        image = sample.image[0] if len(sample.image) == 1 else np.moveaxis(sample.image, 0, -1)
        truth = sample.mask[0] > 0
        for factor in factors:
            other, wanted = resized(image, factor), resized(truth, factor)
            region = None if sample.region is None else resized(sample.region, factor)
            for way, scale in ((AS_IT_IS, 1.0), (BY_EVIDENCE, None), (GIVEN, factor), (BEFORE, 1.0)):
                before = way == BEFORE
                answer = model.predict(
                    image if before else other, region=sample.region if before else region, id=case.id, scale=scale
                )
                score = confusion(np.asarray(answer.mask) > 0, truth if before else wanted).dice_or_empty
                found.setdefault((factor, way), []).append(float(score))
                brought[factor] += way == BY_EVIDENCE and any("--scale 1" in note for note in answer.notes)
        print(f"{case.id}: done", file=sys.stderr, flush=True)
    return [case.subject for case in cases[:most]], found, brought


def main(words: list[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", choices=("train", "validation", "test"), default="train")
    parser.add_argument("--factors", type=float, nargs="+", default=[0.5, 1.0, 2.0])
    parser.add_argument("--count", type=int, default=20, help="pictures at most")
    parser.add_argument("--threads", type=int)
    of = parser.parse_args(words)
    try:
        subjects, found, brought = measured(
            of.run, divide(open_dataset(of.data)), split=of.split, factors=of.factors, most=of.count, threads=of.threads
        )
    except ScantlingError as error:
        print(error, file=sys.stderr)
        return 2
    which = np.unique(subjects, return_inverse=True)[1]
    draws = Draws.of(subjects=len({*which}), label_seeds=1, seeds=1)

    def written(values: list[float], low: float = 0.0, sign: str = "") -> str:
        of_values = estimate(np.array(values)[None, None], [int(number) for number in which], draws)
        ends = of_values.interval(low=low, high=1.0)
        return f"{of_values.value:{sign}.3f} [{ends[0]:{sign}.3f}, {ends[1]:{sign}.3f}]"

    print(f"| Resized | Brought to the scale | {AS_IT_IS} | {BY_EVIDENCE} | {GIVEN} | {BEFORE} | Gained |")
    print("| --- " * 7 + "|")
    for factor in of.factors:
        rows = {way: found[factor, way] for way in (AS_IT_IS, BY_EVIDENCE, GIVEN, BEFORE)}
        gained = [one - other for one, other in zip(rows[BY_EVIDENCE], rows[AS_IT_IS], strict=True)]
        cells = [f"{factor:g} times", f"{brought[factor]} of {len(subjects)}", *map(written, rows.values())]
        print(f"| {' | '.join([*cells, written(gained, -1.0, '+')])} |")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
