"""Losses for thin tubes (Dice, with soft clDice, with Skeleton Recall), each with and without mending, on vessels.

    python benchmarks/tubes.py --data data/drive data/stare --out tubes [--small]
    python benchmarks/tubes.py --data data/drive data/stare --out tubes --split test

All losses have the same steps, seeds and images. Three tenths of the training subjects are held out, and the table is
of them; what is chosen by it may be looked at on the test cases once, with the same runs. A loss helps if clDice rises
on every seed and by more than its 95 % interval over all images, and Dice does not fall by more than its own. The same
command goes on where it stopped: a training, an answer and a score is done once.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from scantling.core.atomic import write_json
from scantling.core.errors import RunError, ScantlingError
from scantling.data.dataset import open_dataset
from scantling.data.division import divide
from scantling.evaluation import evaluate
from scantling.experiments.statistics import Paired, paired
from scantling.inference import mend_folder, predict
from scantling.training import Options, train

LOSSES: Mapping[str, Mapping[str, float]] = {
    "Dice": {"cldice": 0.0, "skeleton_recall": 0.0},
    "+ clDice": {"cldice": 0.5, "skeleton_recall": 0.0},
    "+ Skeleton Recall": {"cldice": 0.0, "skeleton_recall": 1.0},
}
"""Beside cross-entropy and Dice with the weights of the preset: soft clDice as much as Dice, Skeleton Recall with the
weight of its paper."""
MENDING = {"rule": "anisotropic", "iterations": 100}
"""The default of `scantling mend`."""
METRICS = ("dice", "cldice", "vca", "log_vca")
HELD_OUT = 0.3
STEPS, SEEDS, SMALL = 2000, (0, 1, 2), (800, (0,))


@dataclass(frozen=True)
class Cell:
    """One training and its two scores; everything that they are a function of but the files themselves."""

    data: str
    method: str
    loss: str
    seed: int
    steps: int
    preset: str
    split: str


def scores_of(cell: Cell, out: Path, threads: int | None) -> dict[str, Any]:
    """The scores by mending ("none", "mended"), case and metric, and the subject of each case; done once.

    Raises:
        RunError: `out` holds another cell of this name, or a case could not be scored.
    """
    words = (Path(cell.data).name, cell.method, cell.loss.strip("+ ").lower().replace(" ", "-"), cell.seed)
    place = out / "-".join(map(str, words))
    kept = place / f"{cell.split}.json"
    if kept.is_file():
        found = json.loads(kept.read_text(encoding="utf-8"))
        if found["cell"] != asdict(cell):
            raise RunError(f"{kept}: holds {found['cell']}, expected {asdict(cell)}; choose another --out")
        return found
    options = Options(
        preset=cell.preset, steps=cell.steps, seed=cell.seed, settings=LOSSES[cell.loss], validation=HELD_OUT,
        threads=threads,
    )  # fmt: skip
    train(cell.method, [cell.data], place / "run", options)
    masks, mended = place / cell.split / "masks", place / cell.split / "mended"
    predict(place / "run", cell.data, out=masks, split=cell.split, probabilities=True)
    mend_folder(masks / "probabilities", mended, MENDING)
    truth = divide(open_dataset(cell.data), validation=HELD_OUT)
    scores, subjects = dict[str, Any](), dict[str, str]()
    for name, folder in (("none", masks), ("mended", mended)):
        done = evaluate(folder, truth, split=cell.split, metrics=METRICS)
        if done.failed:
            raise RunError(f"{folder}: {done.failed[0].id} was not scored: {done.failed[0].error}")
        scores[name] = {case.id: {metric: case.scores.mean[metric] for metric in METRICS} for case in done.cases}
        subjects |= {case.id: case.subject for case in done.cases}
    found = {"cell": asdict(cell), "scores": scores, "subjects": subjects}
    write_json(kept, found)
    return found


class Table:
    """The scores of all cells: for each row (loss, mending) and metric an array (seeds, images)."""

    def __init__(self, cells: Iterable[tuple[Cell, Mapping[str, Any]]]) -> None:
        self.values: dict[tuple[str, str, str], dict[int, dict[tuple[str, str], float]]] = {}
        self.subjects: dict[tuple[str, str], str] = {}
        for cell, found in cells:
            for mending, cases in found["scores"].items():
                for id, metrics in cases.items():
                    image = (cell.data, id)
                    self.subjects[image] = f"{cell.data} {found['subjects'][id]}"
                    for metric, value in metrics.items():
                        seeds = self.values.setdefault((cell.loss, mending, metric), {})
                        seeds.setdefault(cell.seed, {})[image] = np.nan if value is None else value

    def of(self, loss: str, mending: str, metric: str, *, data: str | None = None) -> np.ndarray:
        """(seeds, images), of one data set or of all."""
        images = [image for image in sorted(self.subjects) if data in (None, image[0])]
        seeds = self.values[loss, mending, metric]
        return np.array([[seeds[seed][image] for image in images] for seed in sorted(seeds)])

    def difference(self, loss: str, mending: str, metric: str) -> tuple[Paired, list[float]]:
        """A row minus plain Dice over the images of all data sets, the mean of the seeds; and seed by seed."""
        one, other = self.of(loss, mending, metric), self.of("Dice", "none", metric)
        subjects = [self.subjects[image] for image in sorted(self.subjects)]
        return paired(one.mean(0), other.mean(0), subjects), list(np.nanmean(one - other, axis=1))

    def write(self, names: Sequence[str]) -> None:
        """Print the means of every row, then its differences to Dice without mending, and who helps."""
        print("\n| Data | Loss | Mended | Dice | clDice | VCA | \\|log VCA\\| |")
        print("| --- " * 7 + "|")
        for data, loss, mending in product(names, LOSSES, ("none", "mended")):
            means = {m: np.nanmean(self.of(loss, mending, m, data=data)) for m in METRICS}
            scores = f"{means['dice']:.4f} | {means['cldice']:.4f} | {means['vca']:.2f} | {means['log_vca']:.2f}"
            print(f"| {Path(data).name} | {loss} | {'yes' if mending == 'mended' else 'no'} | {scores} |")
        print(f"\nDifferences to Dice without mending over {len(self.subjects)} images, 95 % intervals, each seed:\n")
        for loss, mending in product(LOSSES, ("none", "mended")):
            if (loss, mending) == ("Dice", "none"):
                continue
            row = loss + ", mended" * (mending == "mended")
            found = {metric: self.difference(loss, mending, metric) for metric in ("dice", "cldice", "log_vca")}
            for metric, (pair, seeds) in found.items():
                low, high = pair.interval
                each = " ".join(f"{value:+.4f}" for value in seeds)
                print(f"  {row + ': ' + metric:<38}{pair.difference:+.4f} [{low:+.4f}, {high:+.4f}]   {each}")
            (dice, _), (lines, seeds) = found["dice"], found["cldice"]
            print(f"  {row} {'helps' if helps(lines, seeds, dice) else 'was not shown to help'}")


def helps(lines: Paired, seeds: Sequence[float], dice: Paired) -> bool:
    """Whether clDice is beyond noise above that of plain Dice, on every seed too, and Dice not beyond noise below."""
    return lines.interval[0] > 0 and min(seeds) > 0 and not dice.interval[1] < 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what is left to do, and print the table; 1 if it cannot be done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", required=True, help="data sets of vessels")
    parser.add_argument("--out", type=Path, required=True, help="a folder for runs, masks and scores")
    parser.add_argument("--method", choices=("unet", "fr-unet"), default="unet")
    parser.add_argument("--preset", choices=("quick", "paper", "tiny"), default="quick")
    parser.add_argument("--steps", type=int, help=f"of each training (default {STEPS})")
    parser.add_argument("--seeds", type=int, nargs="+", help=f"(default {' '.join(map(str, SEEDS))})")
    parser.add_argument("--split", choices=("validation", "test"), default="validation")
    parser.add_argument("--threads", type=int, help="processor threads of a training")
    parser.add_argument("--small", action="store_true", help=f"{SMALL[0]} steps and one seed, unless said")
    of = parser.parse_args(arguments)
    steps, seeds = SMALL if of.small else (STEPS, SEEDS)
    steps, seeds, names = of.steps or steps, of.seeds or seeds, [str(Path(name).resolve()) for name in of.data]
    cells = [
        Cell(data, of.method, loss, seed, steps, of.preset, of.split)
        for data, seed, loss in product(names, seeds, LOSSES)
    ]
    try:
        Table([(cell, scores_of(cell, of.out, of.threads)) for cell in cells]).write(names)
    except ScantlingError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
