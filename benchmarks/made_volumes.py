"""Do made volumes without labels help? U-Net and DeepAtlas with few labels, alone, with made and with real volumes.

    python benchmarks/made_volumes.py --data DATA --out made-volumes [--labels 5] [--count 200] [--seeds 3]
        [--minutes 2] [--generator medical-diffusion] [--generator-minutes 18] [--preset quick] [--threads N] [--small]

The labelled volumes are those of `--labels`; what is beside them has no mask:

- `alone`: nothing;
- `made`: `--count` volumes of a generator that has seen the labelled volumes only;
- `made-all`: the same, but the generator has seen all training volumes;
- `real`: the training volumes that are left.

`deep-atlas` learns from labelled and unlabelled volumes together. A supervised `unet` can use unlabelled ones only by
pre-training: half of its minutes are `masked-pretrain` on all of them, half the training that begins with its weights;
alone it has all minutes for itself. Each training has the same minutes, no subject is held out, and the test masks are
read when all trainings have ended. What is trained is not trained again, so that the command can be stopped and
repeated. Prints the Dice of every structure, and the difference that each source of volumes and each method makes;
writes `made-volumes.json`. `--small` is a try of moments, whose figures say nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import scantling
from scantling.core.atomic import write_json
from scantling.core.errors import ScantlingError
from scantling.core.machine import Compute
from scantling.data.dataset import Dataset, open_dataset
from scantling.data.division import divide
from scantling.data.label_budget import few_labelled
from scantling.data.manifest_file import write_manifest
from scantling.experiments.kept_scores import scores_once, subjects_of, values_of
from scantling.experiments.resampling import Draws, estimate
from scantling.records.evaluation import EvaluationRecord
from scantling.records.record import read_record
from scantling.training import Options, train

ROWS, BESIDE = ("unet", "deep-atlas"), ("alone", "made", "made-all", "real")
SMALL: Mapping[str, Any] = {"preset": "tiny", "count": 4, "seeds": 2, "minutes": None, "generator_minutes": None}


@dataclass(frozen=True)
class Trial:
    """What is trained, and how; minutes of None are the steps of the preset."""

    data: Path
    out: Path
    labels: int
    label_seed: int
    count: int
    seeds: int
    minutes: float | None
    generator: str
    generator_minutes: float | None
    preset: str
    threads: int | None

    def options(self, minutes: float | None, seed: int = 0, **more: Any) -> Options:
        """Of a training: no subject is held out, since so few labels choose no weights."""
        return Options(
            preset=self.preset, minutes=minutes, seed=seed, validation=0.0, threads=self.threads, **more
        )  # fmt: skip

    def manifests(self) -> tuple[Path, Path]:
        """Manifests of the labelled volumes alone, and of all with the masks of the labelled ones; with the test."""
        drawn = f"{self.labels}-{self.label_seed}.toml"
        paths = self.out / f"labelled-{drawn}", self.out / f"all-{drawn}"
        if not all(path.is_file() for path in paths):
            whole = open_dataset(self.data)
            budget = few_labelled(divide(whole, validation=0.0), self.labels, seed=self.label_seed)
            for path, some in zip(paths, budget, strict=True):
                path.unlink(missing_ok=True)
                write_manifest(some, path, whole.labels)
        return paths

    def made(self, name: str, seen: Path) -> Path:
        """Made volumes, of a generator that has seen those of a manifest."""
        run, out = self.out / f"generator-{name}", self.out / name
        train(self.generator, [seen], run, self.options(self.generator_minutes))
        scantling.synthesize(run, count=self.count, out=out)
        return out

    def beside(self) -> dict[str, list[Path]]:
        """The data of each column."""
        labelled, everything = self.manifests()
        return {
            "alone": [labelled],
            "made": [labelled, self.made("made", labelled)],
            "made-all": [labelled, self.made("made-all", everything)],
            "real": [everything],
        }

    def run(self) -> dict[tuple[str, str], list[Path]]:
        """The scores of all trainings, by row and column."""
        columns = self.beside()
        runs = {
            (row, name): [self.trained(row, name, columns, seed) for seed in range(self.seeds)]
            for name in BESIDE
            for row in ROWS
        }
        whole = open_dataset(self.data)
        return {cell: [self.scored(run, whole) for run in several] for cell, several in runs.items()}

    def trained(self, row: str, name: str, columns: Mapping[str, list[Path]], seed: int) -> Path:
        """One training; a U-Net with other volumes beside it is two, each of half the minutes."""
        run, options = self.out / f"{row}-{name}-{seed}", self.options(self.minutes, seed)
        if row == "unet":
            options = replace(options, augment="strong")
        if row != "unet" or name == "alone":
            train(row, columns[name], run, options)
            return run
        half = None if self.minutes is None else self.minutes / 2
        first = self.out / f"restored-{name}-{seed}"
        train("masked-pretrain", columns[name], first, self.options(half, seed))
        train(row, columns["alone"], run, replace(options, minutes=half, base=first))
        return run

    def scored(self, run: Path, whole: Dataset) -> Path:
        """The scores of a training on the test volumes."""
        scores, compute = run / "test.json", Compute(threads=self.threads)
        scores_once([run], whole, scores, split="test", metrics=["dice", "hd95"], compute=compute)
        return scores


def by_structure(scores: Mapping[tuple[str, str], Sequence[Path]]) -> dict[tuple[str, str], dict[str, float]]:
    """The Dice of each structure and of all of them, the mean over the seeds, by row and column."""
    found = dict[tuple[str, str], dict[str, float]]()
    for cell, several in scores.items():
        records = [read_record(EvaluationRecord, path) for path in several]
        names = records[0].classes_mean
        found[cell] = {
            **{name: mean(float(one.classes_mean[name]["dice"] or 0.0) for one in records) for name in names},
            "all": mean(float(one.mean["dice"] or 0.0) for one in records),
        }
    return found


def verdicts(scores: Mapping[tuple[str, str], Sequence[Path]]) -> dict[str, dict[str, Any]]:
    """What each source of volumes adds to the labelled ones alone, and DeepAtlas to the U-Net.

    The intervals draw test subjects and trainings anew.
    """
    pairs = {
        f"{row} with {name} volumes against alone": ((row, name), (row, "alone")) for row in ROWS for name in BESIDE[1:]
    }
    pairs |= {f"{ROWS[1]} against {ROWS[0]}, {name}": ((ROWS[1], name), (ROWS[0], name)) for name in BESIDE}
    records = {cell: [read_record(EvaluationRecord, path) for path in several] for cell, several in scores.items()}
    found = dict[str, dict[str, Any]]()
    for words, (one, other) in pairs.items():
        subjects = np.unique(subjects_of(records[one][0]), return_inverse=True)[1]
        draws = Draws.of(subjects=len({*subjects.tolist()}), label_seeds=1, seeds=len(records[one]))
        apart = values_of(records[one], "dice") - values_of(records[other], "dice")
        of = estimate(apart[None], [int(number) for number in subjects], draws)
        found[words] = {"difference": of.value, "interval": of.interval(low=-1.0, high=1.0)}
    return found


def in_words(words: str, facts: Mapping[str, Any]) -> str:
    """A verdict as a sentence."""
    low, high = facts["interval"]
    shown = "no difference could be shown" if low <= 0 <= high else "better" if low > 0 else "worse"
    return f"{words}: {shown}, Dice {facts['difference']:+.3f} ({low:+.3f} to {high:+.3f})"


def table_of(found: Mapping[tuple[str, str], Mapping[str, float]], seeds: int) -> Table:
    """Dice by row and column, of each structure."""
    table = Table(title=f"Dice on the test volumes, mean of {seeds} seed{'s'[: seeds != 1]}")
    for heading in ("method", "structure", *BESIDE):
        table.add_column(heading)
    for row in ROWS:
        for structure in found[row, "alone"]:
            table.add_row(row, structure, *(f"{found[row, name][structure]:.3f}" for name in BESIDE))
    return table


def main(words: Sequence[str] | None = None) -> int:
    """Train all and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--labels", type=int, default=5)
    parser.add_argument("--label-seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=200, help="made volumes")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=2.0, help="of each training")
    parser.add_argument("--generator", default="medical-diffusion")
    parser.add_argument("--generator-minutes", type=float, default=18.0)
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--small", action="store_true")
    arguments = vars(parser.parse_args(words))
    trial = Trial(**(arguments | (SMALL if arguments.pop("small") else {})))
    trial.out.mkdir(parents=True, exist_ok=True)
    try:
        scores = trial.run()
        found, held = by_structure(scores), verdicts(scores)
    except ScantlingError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    dice = {f"{row}, {name}": value for (row, name), value in found.items()}
    write_json(
        trial.out / "made-volumes.json", {"made_by": "benchmarks/made_volumes.py", "dice": dice, "verdicts": held}
    )
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table_of(found, trial.seeds))
    for words_, facts in held.items():
        console.print(in_words(words_, facts), highlight=False)
    console.print(
        "Intervals of 95 % draw subjects and trainings anew, and are not corrected for the number of comparisons.",
        highlight=False,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
