"""DKM beside the controls that the paper lacks, and its ablation of the stages that are injected, on one data set.

    python benchmarks/dkm.py --data DATA --out dkm --frames red,blue [--seeds 3] [--labels 20] [--ablation]
        [--arms NAME,NAME] [--preset quick] [--steps N] [--first-steps N] [--longest PIXELS] [--train-only] [--small]

Trains the kinetic module once and, for each seed, the same segmentation module with its features, with those of random
weights of the same network, on the frame before the agent alone, on the one after it, and on both; `--ablation` adds
the other sets of stages that the paper tries. Prints what `compare` finds on the test cases, by subjects, and writes it
to `dkm.json`. What is trained is not trained again, so that the command can be stopped and repeated; `--train-only`
leaves the comparison to a later call. `--small` is a try of moments, whose figures say nothing. No arm reads a channel
that is not named in `--frames`, but `unet`, which sees all of them and is an arm only where `--arms` names it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scantling.core.atomic import write_json
from scantling.core.errors import ScantlingError, SettingsError
from scantling.experiments.compare import compare
from scantling.training import Options, train

ABLATION = ((1,), (2,), (3,), (4,), (2, 3), (2, 4), (2, 3, 4), (1, 2, 3, 4))
"""The stages that the paper's table 2 injects, beside f3 + f4."""
SMALL = {"preset": "tiny", "steps": 4, "first_steps": 4, "seeds": 1}


@dataclass(frozen=True)
class Trial:
    """What is trained, and how."""

    data: Path
    out: Path
    frames: tuple[str, ...]
    seeds: int
    labels: str | None
    ablation: bool
    preset: str
    steps: int | None
    first_steps: int | None
    longest: int | None
    only: tuple[str, ...]

    @property
    def first(self) -> Path:
        """The run of the kinetic module."""
        return self.out / "kinetics"

    def arms(self) -> dict[str, dict[str, Any]]:
        """The settings of each arm, by name; the first is the one that the others are held against."""
        before, after = self.frames[0], self.frames[-1]
        sets = ABLATION if self.ablation else ()
        arms: dict[str, dict[str, Any]] = {
            "nothing": {"frames": (before,), "features": "none"},
            "f3+f4": {"frames": (before,)},
            "random": {"frames": (before,), "features": "random"},
            "after": {"frames": (after,), "features": "none"},
            "both": {"frames": (before, after), "features": "none"},
            **{"+".join(f"f{n}" for n in stages): {"frames": (before,), "stages": stages} for stages in sets},
            "unet": {},
        }
        if unknown := [name for name in self.only if name not in arms]:
            raise SettingsError(f"--arms: found {unknown[0]!r}; there are {', '.join(arms)}")
        wanted = self.only or [name for name in arms if name != "unet"]
        return {name: settings for name, settings in arms.items() if name in wanted}

    def run(self) -> list[Path]:
        """All runs, trained if they are not yet."""
        grid = {} if self.longest is None else {"longest": self.longest}
        common: dict[str, Any] = {"preset": self.preset, "steps": self.steps}
        first = {**common, "steps": self.first_steps or self.steps}
        _timed("dkm-kinetics", self.data, self.first, Options(**first, settings={"frames": self.frames, **grid}))
        runs = []
        for seed in range(self.seeds):
            of: dict[str, Any] = {**common, "seed": seed, "labels": self.labels}
            for name, settings in self.arms().items():
                alone = name == "unet" or settings.get("features") == "none"
                uses = {} if alone else {"encoder": self.first}
                runs.append(self.out / f"{name}-{seed}")
                own, method = settings | (grid if alone else {}), "unet" if name == "unet" else "dkm"
                _timed(method, self.data, runs[-1], Options(**of, uses=uses, settings=own))
        return runs


def _timed(method: str, data: Path, out: Path, options: Options) -> None:
    begun = time.monotonic()
    train(method, [data], out, options)
    sys.stderr.write(f"{out.name}: {time.monotonic() - begun:.0f} s\n")


def trial_of(arguments: argparse.Namespace) -> Trial:
    """The trial that the arguments ask for."""
    small: Mapping[str, Any] = SMALL if arguments.small else {}
    given = {name: small.get(name, getattr(arguments, name, None)) for name in Trial.__dataclass_fields__}
    names = {"frames": tuple(arguments.frames.split(",")), "only": tuple(filter(None, arguments.arms.split(",")))}
    return Trial(**{**given, **names})


def main(words: Sequence[str] | None = None) -> int:
    """Train all and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--frames", required=True, help="the channels that are frames, the one before the agent first")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--labels", help="how many labelled subjects, or a share such as 10%%; all unless said")
    parser.add_argument("--arms", default="", help="the arms to train, divided by commas; all but unet unless said")
    parser.add_argument("--ablation", action="store_true")
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--steps", type=int, help="of each segmentation module")
    parser.add_argument("--first-steps", type=int, help="of the kinetic module; as --steps unless said")
    parser.add_argument("--longest", type=int, help="pixels of the longest side of the images, for all")
    parser.add_argument("--train-only", action="store_true")
    parser.add_argument("--small", action="store_true")
    arguments = parser.parse_args(words)
    trial = trial_of(arguments)
    try:
        runs = trial.run()
        if arguments.train_only:
            return 0
        found = compare(runs, trial.data, baseline="first")
    except ScantlingError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    write_json(trial.out / "dkm.json", {**found.facts(), "made_by": "benchmarks/dkm.py", "arms": list(trial.arms())})
    sys.stdout.write(f"{found.table()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
