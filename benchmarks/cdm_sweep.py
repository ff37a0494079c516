"""What `cdm` marks at each Q, R, τ and s, and beside it the maps of a classifier that see image classes alone, too.

    python benchmarks/cdm_sweep.py --data data/lgg-mri --out cdm              the sweep, on validation slices
    python benchmarks/cdm_sweep.py --data data/lgg-mri --out cdm --test       the comparison, on test slices
        [--preset quick] [--steps N] [--classifier-steps N] [--seeds 1] [--cases 40] [--chosen] [--full] [--small]

Trains `cdm` and `classifier` for each seed, if they are not yet trained, from classes of images; where the data have
none, they are derived from the masks of the training split and kept in OUT/classes.toml. The sweep changes one value
at a time around the settings of the run and reads the masks of `--cases` validation slices with the object, evenly
spread. The comparison answers all test slices with the settings of the runs or, with `--chosen`, with the best values
of the sweep for every method (so that validation masks have chosen). `--full` adds a U-Net that learns from masks.
What is done is kept in OUT/scores.json, and the command can be stopped and repeated. `--small` is a try of moments.

Dice and IoU are means over slices with the object, 0 where nothing is marked; intervals have patients as the units of
chance. Slices without the object have no Dice: what is marked there is told as a share of the image, and in how many
of them anything is marked. Seconds are those of an answer on this machine, one slice at a time.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scantling.contract.capabilities import Segmenter
from scantling.core.atomic import write_json
from scantling.core.case import IGNORE, Case
from scantling.core.errors import DataError, ScantlingError
from scantling.data.dataset import Dataset, open_dataset
from scantling.data.loading import load
from scantling.data.manifest_file import write_manifest
from scantling.data.mask_classes import classes_of_masks
from scantling.evaluation.summary import summarise
from scantling.experiments.statistics import paired
from scantling.inference.answering import decide, segment
from scantling.inference.tiles import Tiler
from scantling.metrics.overlap import confusion
from scantling.records.run import run_facts
from scantling.records.run_folder import load_model
from scantling.training import Options, train

SWEEP: Mapping[str, tuple[Any, ...]] = {
    "noise_level": (50, 100, 200, 400, 700),
    "steps": (1, 5, 10, 20, 50, 100),
    "tau": (0.0, 0.3, 0.5, 0.8, 0.9, 0.95, 0.99),
    "guidance": (0.0, 1.0, 10.0, 50.0, 100.0, 200.0),
}
"""Of Q, R, τ and s, near those of the paper's figure 3; s is that of "cg-cdm"."""
NAMES = {"noise_level": "Q", "steps": "R", "tau": "τ", "guidance": "s", "level": "level"}
KINDS = ("grad-cam", "grad-cam++", "score-cam", "layer-cam")
LEVELS = (0, 1, 2)
HALVINGS = 3
"""Of the classifier with the preset `quick`, whose last map then has 12 pixels a side; with five it has three."""
OURS = ("cdm", "cg-cdm")
SMALL = {"preset": "tiny", "steps": 4, "classifier_steps": 4, "cases": 2}
SMALL_SWEEP = {"noise_level": (4, 8), "steps": (1, 2), "tau": (0.5, 0.95), "guidance": (0.0, 10.0)}


@dataclass(frozen=True)
class Arm:
    """A method with the options of its answers."""

    method: str
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """Of the method that a reader knows: the kind of a map, the variant of a model."""
        of = dict(self.options)
        return str(of.get("kind") or of.get("variant") or self.method)

    def key(self, seed: int, split: str) -> str:
        """Under which its scores are kept."""
        return json.dumps([split, seed, self.method, dict(self.options)], sort_keys=True)

    def having(self, **values: Any) -> Arm:
        """The arm with other values."""
        return Arm(self.method, tuple({**dict(self.options), **values}.items()))


@dataclass
class Trial:
    """The runs and the scores of one folder."""

    data: Path
    out: Path
    preset: str
    steps: int | None
    classifier_steps: int | None
    seeds: int
    cases: int
    full: bool
    small: bool

    def __post_init__(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        self.dataset = self._classed()
        self.kept = self.out / "scores.json"
        self.scores: dict[str, dict[str, dict[str, Any]]] = (
            json.loads(self.kept.read_text(encoding="utf-8")) if self.kept.is_file() else {}
        )
        self._models: dict[tuple[str, int], Segmenter] = {}
        self._runs: dict[Path, float] = {}
        self._held_out: dict[int, list[Case]] = {}

    def _classed(self) -> Dataset:
        """The data with image classes, derived from masks where there are none."""
        manifest = self.out / "classes.toml"
        if manifest.is_file():
            return open_dataset(manifest)
        dataset = open_dataset(self.data)
        if any(case.image_class for case in dataset.cases):
            return dataset
        derived = classes_of_masks(dataset, dataset.labels)
        write_manifest(derived, manifest, dataset.labels, derived=True)
        return open_dataset(manifest)

    def run(self, method: str, seed: int) -> Path:
        """The run of a method, trained if it is not yet."""
        out = self.out / f"{method}-{seed}"
        if out in self._runs:
            return out
        steps = {"cdm": self.steps, "classifier": self.classifier_steps}.get(method)
        uses = {"classifier": self.run("classifier", seed)} if method == "cam" else {}
        settings: dict[str, Any] = {"shown": tuple(self._shown())} if method in ("cdm", "cam") else {}
        if method == "classifier" and self.preset == "quick":
            settings["halvings"] = HALVINGS
        options = Options(preset=self.preset, steps=steps, seed=seed, uses=uses, settings=settings)
        begun = time.monotonic()
        train(method, [self.dataset], out, options)
        self._runs[out] = time.monotonic() - begun
        say(f"{out.name}: {self._runs[out]:.0f} s")
        return out

    def _shown(self) -> list[str]:
        """The classes with the object, where they were derived here; else the method decides."""
        names = {case.image_class for case in self.dataset.cases if case.image_class}
        return sorted(name for name in names if f"no {name}" in names)

    def model(self, method: str, seed: int) -> Segmenter:
        """A trained model, from memory where it is kept."""
        if (method, seed) not in self._models:
            found = load_model(self.run(method, seed)).eval()
            if not isinstance(found, Segmenter):
                raise DataError(f"{method} does not segment")
            self._models[method, seed] = found
        return self._models[method, seed]

    def held_out(self, seed: int) -> list[Case]:
        """Validation slices with the object, evenly spread.

        Raises:
            DataError: there is none.
        """
        if seed not in self._held_out:
            ids = {*run_facts(self.run("cdm", seed))["split"]["validation"]}
            masked = [case for case in self.dataset.cases if case.id in ids and self._marked(case)]
            if not masked:
                raise DataError(f"{self.data}: no validation slice shows the object; expected some, with masks")
            step = max(1, len(masked) / self.cases)
            self._held_out[seed] = [masked[int(number * step)] for number in range(min(self.cases, len(masked)))]
        return self._held_out[seed]

    def _marked(self, case: Case) -> bool:
        mask = load(case, labels=self.dataset.labels, reads=("mask",)).mask if case.masks else None
        return mask is not None and bool(((mask > 0) & (mask != IGNORE)).any())

    def scores_of(self, arm: Arm, seed: int, cases: Sequence[Case], split: str) -> dict[str, dict[str, Any]]:
        """What an arm marks in each of these slices, by id; asked once."""
        kept = self.scores.setdefault(arm.key(seed, split), {})
        left = [case for case in cases if case.id not in kept]
        if left:
            method = self.model(arm.method, seed)
            options, tiler = method.segment_with.of(dict(arm.options)), Tiler()
            for number, case in enumerate(left):
                if not number:
                    self._answer(method, case, options, tiler)  # what is made once is not timed
                kept[case.id] = self._answer(method, case, options, tiler)
            write_json(self.kept, self.scores)
            say(f"{split} {seed} {arm.name} {dict(arm.options)}: {mean(kept[case.id]['dice'] for case in cases):.3f}")
        return {case.id: kept[case.id] for case in cases}

    def _answer(self, method: Segmenter, case: Case, options: Any, tiler: Tiler) -> dict[str, Any]:
        sample = load(case, labels=self.dataset.labels, channels=method.channels, reads=("image", "mask", "region"))
        begun = time.perf_counter()
        answer = segment(method, sample, device=torch.device("cpu"), tiler=tiler, options=options)
        seconds = time.perf_counter() - begun
        found = decide(answer.probabilities, exclusive=True) == 1
        truth = sample.masks[0][0]
        counts = confusion(found, truth == 1, region=truth != IGNORE)
        return {
            "subject": case.subject,
            "dice": none_of(counts.dice),
            "iou": none_of(counts.iou),
            "marked": float(found.mean()),
            "seconds": seconds,
        }

    def sweep(self) -> None:
        """One value at a time around the settings, on validation slices."""
        rows = []
        for arm in swept(self.small):
            seeds = [self.scores_of(arm, seed, self.held_out(seed), "validation") for seed in range(self.seeds)]
            dice = [mean(one["dice"] for one in found.values()) for found in seeds]
            seconds = mean(one["seconds"] for found in seeds for one in found.values())
            rows.append([arm.name, asked(arm), f"{mean(dice):.3f}", f"{seconds:.2f}"])
        count = len(self.held_out(0))
        print(table(("Method", "Value", f"Dice of {count} validation slices with the object", "s an image"), rows))

    def compare(self, *, chosen: bool) -> None:
        """All arms on the test slices, then what ours gain over each map of the classifier."""
        cases = [case for case in self.dataset.split("test") if case.masks]
        if not cases:
            raise DataError(f"{self.data}: there is no test slice with a mask; expected a split 'test'")
        arms = [self._best(arm) if chosen else arm for arm in compared(self.full)]
        values: dict[str, dict[str, np.ndarray]] = {}
        for arm in arms:
            found = [self.scores_of(arm, seed, cases, "test") for seed in range(self.seeds)]
            values[arm.name] = {
                name: np.array([[number_of(one[case.id][name]) for case in cases] for one in found]).mean(0)
                for name in ("dice", "iou", "marked", "seconds")
            }
            values[arm.name]["any"] = np.array([[one[case.id]["marked"] > 0 for case in cases] for one in found]).mean(
                0
            )
        subjects = [case.subject for case in cases]
        empty = np.isnan(values[arms[0].name]["dice"])
        rows = [[arm.name, asked(arm), *row(values[arm.name], empty, subjects)] for arm in arms]
        print(
            f"{int((~empty).sum())} test slices with the object and {int(empty.sum())} without, of "
            f"{len({*subjects})} patients; {self.seeds} seed{'s' * (self.seeds > 1)}"
            f"{'; values chosen on validation masks' * chosen}\n"
        )
        head = ("Method", "Values", "Dice [95 %]", "IoU", "Without the object: marked, % of the image",
                "something marked, % of slices", "s an image")  # fmt: skip
        print(table(head, rows))
        print("\nDifferences of Dice, 95 % intervals with patients as the units of chance:")
        for ours in OURS:
            for other in (*KINDS, "cg-diff"):
                pair = paired(values[ours]["dice"], values[other]["dice"], subjects)
                low, high = pair.interval
                print(f"  {ours} - {other:<11}{pair.difference:+.3f} [{low:+.3f}, {high:+.3f}]")
        if self.seeds < 3:
            print("Fewer than three seeds: not judged yet.")

    def _best(self, arm: Arm) -> Arm:
        """The arm with the values of the sweep whose Dice on validation is greatest, each by itself."""
        if arm.method == "unet":
            return arm
        base, values = mean_of(self.scores, arm), dict[str, Any]()
        if math.isnan(base):
            raise DataError(
                f"--chosen: found no sweep of {arm.name} in {self.out}; run the command without --test first"
            )
        tried: dict[str, list[tuple[float, Any]]] = {}
        for other in swept(self.small):
            if other.name == arm.name and (changed := {*other.options} - {*arm.options}):
                ((name, value),) = changed
                tried.setdefault(name, []).append((mean_of(self.scores, other), value))
        for name, found in tried.items():
            score, value = max(found, key=lambda pair: -math.inf if math.isnan(pair[0]) else pair[0])
            if score > base:
                values[name] = value
        return arm.having(**values)


def swept(small: bool) -> Iterator[Arm]:
    """Each arm of the sweep: the settings themselves, then one value at a time."""
    grid = SMALL_SWEEP if small else SWEEP
    for variant in OURS:
        arm = Arm("cdm", (("variant", variant),))
        yield arm
        for name, values in grid.items():
            if variant == "cg-cdm" or name != "guidance":
                yield from (arm.having(**{name: value}) for value in values)
    diff = Arm("cdm", (("variant", "cg-diff"),))
    yield diff
    yield from (diff.having(guidance=value) for value in grid["guidance"])
    for kind in KINDS:
        arm = Arm("cam", (("kind", kind),))
        yield arm
        yield from (arm.having(level=level) for level in LEVELS[1 : 2 if small else None])


def compared(full: bool) -> list[Arm]:
    """The arms of the comparison."""
    arms = [Arm("cam", (("kind", kind),)) for kind in KINDS]
    arms += [Arm("cdm", (("variant", variant),)) for variant in ("cg-diff", *OURS)]
    return arms + [Arm("unet")] * full


def row(values: Mapping[str, np.ndarray], empty: np.ndarray, subjects: Sequence[str]) -> list[str]:
    """The cells of an arm."""
    summary = summarise([{"dice": float(value)} for value in values["dice"]], subjects)
    low, high = summary.interval.get("dice", (math.nan, math.nan))
    without = [f"{100 * values[name][empty].mean():.1f}" if empty.any() else "" for name in ("marked", "any")]
    return [
        f"{np.nanmean(values['dice']):.3f} [{low:.3f}, {high:.3f}]",
        f"{np.nanmean(values['iou']):.3f}",
        *without,
        f"{values['seconds'].mean():.2f}",
    ]


def mean_of(scores: Mapping[str, Any], arm: Arm) -> float:
    """The mean Dice of an arm on validation over all seeds that were scored; NaN of none."""
    found = [
        one["dice"]
        for key, cases in scores.items()
        if json.loads(key)[0] == "validation" and json.loads(key)[2:] == [arm.method, dict(arm.options)]
        for one in cases.values()
    ]
    return mean(found) if found else math.nan


def asked(arm: Arm) -> str:
    """What an arm asks for beside its settings."""
    return ", ".join(f"{NAMES[name]} {value:g}" for name, value in arm.options if name in NAMES) or "as set"


def mean(values: Any) -> float:
    """The mean of what is defined."""
    found = [value for value in values if value is not None and not math.isnan(value)]
    return sum(found) / len(found) if found else math.nan


def none_of(value: float) -> float | None:
    """None in place of NaN, which JSON does not have."""
    return None if math.isnan(value) else value


def number_of(value: float | None) -> float:
    """The way back."""
    return math.nan if value is None else float(value)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows as Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def say(sentence: str) -> None:
    """On the side."""
    sys.stderr.write(f"{sentence}\n")


def main(words: Sequence[str] | None = None) -> int:
    """Do what is left to do, and print the table; 2 if it cannot be done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--steps", type=int, help="of cdm")
    parser.add_argument("--classifier-steps", type=int)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--cases", type=int, default=40, help="validation slices of the sweep")
    parser.add_argument("--test", action="store_true", help="compare on the test split instead of the sweep")
    parser.add_argument("--chosen", action="store_true", help="with the best values of the sweep")
    parser.add_argument("--full", action="store_true", help="and a U-Net that learns from masks")
    parser.add_argument("--small", action="store_true")
    given = parser.parse_args(words)
    small: Mapping[str, Any] = SMALL if given.small else {}
    names = ("data", "out", "preset", "steps", "classifier_steps", "seeds", "cases", "full", "small")
    try:
        trial = Trial(**{name: small.get(name, getattr(given, name)) for name in names})
        if given.test:
            trial.compare(chosen=given.chosen)
        else:
            trial.sweep()
    except ScantlingError as error:
        say(str(error))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
