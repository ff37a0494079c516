"""Few labelled volumes: what registration adds to a U-Net, and what few labels add to a registration.

    python benchmarks/few_label_registration.py --data DATA --out few-labels [--labels 1,5,all] [--seeds 1]
        [--minutes 2] [--registration-minutes 8] [--preset quick] [--pairs next] [--threads N] [--small]

At each number of labelled subjects, on the same images:

- `unet`: the masks alone;
- `atlas`: `atlas-propagation`, the labels of one labelled image warped by `registration`; no network learns from them;
- `atlases`: the same of up to five, fused by STAPLE;
- `demons`: the same by SimpleITK, without any network;
- `warped`: `registration-augmentation`, a U-Net that learns from labelled images warped onto others;
- `deep-atlas`: segmenter and registrar teach each other;
- `mean-teacher`: of the semi-supervised methods the one that did best on other sets (`docs/results.md`).

`registration` is trained on all training images, once for all arms, and sees no mask. A network that learns from masks
has `--minutes`, no subject is held out, and test masks are read when all trainings have ended. The Dice of masks that
`deep-atlas` and `registration` warp is measured too, on pairs of test images (`--pairs next`: each with the next one;
`all`: every ordered pair). What is trained is not trained again. Prints the tables and what `compare` says of each
method against `unet`; writes `few-labels.json`. `--small` is a try of moments, whose figures say nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from scantling.core.atomic import write_json
from scantling.core.errors import ScantlingError
from scantling.core.machine import Compute
from scantling.evaluation.registrations import evaluate_registrations
from scantling.experiments.compare import compare
from scantling.inference.registration import register
from scantling.training import Options, train

ARMS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "unet": ("unet", {}),
    "atlas": ("atlas-propagation", {"atlases": 1}),
    "atlases": ("atlas-propagation", {"atlases": 5}),
    "demons": ("atlas-propagation", {"atlases": 5}),
    "warped": ("registration-augmentation", {}),
    "deep-atlas": ("deep-atlas", {}),
    "mean-teacher": ("mean-teacher", {}),
}
"""The method of each arm and its settings."""
REGISTERED = ("atlas", "atlases", "warped")
"""The arms that `registration` serves."""
SMALL: Mapping[str, Any] = {"preset": "tiny", "labels": "2", "seeds": 1, "minutes": None, "registration_minutes": None}


@dataclass(frozen=True)
class Trial:
    """What is trained, and how; minutes of None are the steps of the preset."""

    data: Path
    out: Path
    labels: tuple[str, ...]
    label_seed: int
    seeds: int
    minutes: float | None
    registration_minutes: float | None
    preset: str
    pairs: str
    threads: int | None
    only: tuple[str, ...]

    @property
    def registration(self) -> Path:
        """The run that registers, for all arms alike."""
        return self.out / "registration"

    def options(self, minutes: float | None, **more: Any) -> Options:
        """Of a training: no subject is held out, since so few labels choose no weights."""
        return Options(preset=self.preset, minutes=minutes, validation=0.0, threads=self.threads, **more)

    def run(self) -> dict[str, dict[str, list[Path]]]:
        """The runs by number of labels and arm, trained if they are not yet."""
        train("registration", [self.data], self.registration, self.options(self.registration_minutes))
        return {
            labels: {arm: [self.trained(arm, labels, seed) for seed in range(self.seeds)] for arm in self.only}
            for labels in self.labels
        }

    def trained(self, arm: str, labels: str, seed: int) -> Path:
        """One training. A method that learns nothing has one seed's answer, whatever the seed."""
        method, settings = ARMS[arm]
        learns = method != "atlas-propagation"
        minutes, drawn = (self.minutes, seed) if learns else (None, 0)
        run = self.out / f"{arm}-{labels}-{drawn}"
        uses = {"registration": self.registration} if arm in REGISTERED else {}
        budget = {} if labels == "all" else {"labels": labels, "label_seed": self.label_seed}
        augment = {"augment": "strong"} if arm == "unet" else {}
        options = self.options(minutes, seed=drawn, uses=uses, settings=settings, **budget, **augment)
        train(method, [self.data], run, options)
        return run

    def warped(self, run: Path) -> dict[str, float | None]:
        """The Dice of masks that a run has warped onto other test images, before and after, and what folds."""
        out = run / "warped"
        pairs = "" if self.pairs == "next" else self.pairs
        register(run, self.data, out=out, split="test", pairs=pairs, compute=Compute(threads=self.threads))
        found = evaluate_registrations(out, self.data).facts()["mean"]
        return {name: found.get(name) for name in ("dice_before", "dice", "folded")}


def scored(trial: Trial, runs: Mapping[str, Mapping[str, Sequence[Path]]]) -> dict[str, Any]:
    """What `compare` finds at each number of labels, and the overlap of warped masks, which is read last."""
    compared, overlap = dict[str, Any](), dict[str, Any]()
    for labels, arms in runs.items():
        several = list(dict.fromkeys(run for arm in arms.values() for run in arm))
        compared[labels] = compare(several, trial.data, baseline="first")
    overlap["registration"] = trial.warped(trial.registration)
    for arms in runs.values():
        for run in arms.get("deep-atlas", ()):
            overlap[run.name] = trial.warped(run)
    return {"compared": compared, "warped": overlap}


def table_of(overlap: Mapping[str, Mapping[str, float | None]]) -> Table:
    """Dice of warped masks by run."""
    table = Table(title="Masks of one test image warped onto another: Dice before and after, share of folded pixels")
    for heading in ("run", "before", "after", "folded"):
        table.add_column(heading)
    for name, values in overlap.items():
        table.add_row(name, *("–" if value is None else f"{value:.4f}" for value in values.values()))
    return table


def trial_of(words: Sequence[str] | None) -> Trial:
    """The trial that the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--labels", default="1,5,all", help="numbers of labelled subjects, divided by commas")
    parser.add_argument("--label-seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=2.0, help="of each training on masks")
    parser.add_argument("--registration-minutes", type=float, default=8.0)
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--pairs", default="next", choices=("next", "all"))
    parser.add_argument("--threads", type=int)
    parser.add_argument("--arms", default=",".join(ARMS), help="the arms, the first of which the others are held to")
    parser.add_argument("--small", action="store_true")
    given = vars(parser.parse_args(words))
    given |= SMALL if given.pop("small") else {}
    arms = tuple(given.pop("arms").split(","))
    if unknown := [arm for arm in arms if arm not in ARMS]:
        parser.error(f"--arms: found {unknown[0]!r}; there are {', '.join(ARMS)}")
    return Trial(**{**given, "labels": tuple(given["labels"].split(",")), "only": arms})


def main(words: Sequence[str] | None = None) -> int:
    """Train all and compare."""
    trial = trial_of(words)
    try:
        found = scored(trial, trial.run())
    except ScantlingError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    facts = {labels: one.facts() for labels, one in found["compared"].items()}
    write_json(
        trial.out / "few-labels.json",
        {"made_by": "benchmarks/few_label_registration.py", "compared": facts, "warped": found["warped"]},
    )
    for labels, one in found["compared"].items():
        sys.stdout.write(f"\n{labels} labelled\n{one.table()}\n")
    Console(width=None if sys.stdout.isatty() else 100).print(table_of(found["warped"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
