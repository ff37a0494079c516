"""What made nuclei are worth at 10, 20, 50 and 100 % of the labels: `nuclei-diffusion` at each, and `worth` over all.

    python benchmarks/nuclei_shares.py --data data/dsb2018-nuclei --out nuclei-shares --minutes 25 --steps 2000
        [--method hover-net] [--shares 10% 20% 50% all] [--seeds 3] [--preset quick] [--threads 2] [--small]

At each share of the labelled subjects a generator learns from these alone, for `--minutes`, and makes as many images as
there are real ones; then the method is trained on the real images alone and on both, for `--steps` and with the same
augmentation, and scored by AJI on the test images. What is done is not done again. Shares are of subjects; those of the
paper, of nuclei in patches near the centres of clusters, are data sets that `nuclei_subset.py` writes: each is a
`--data` with an `--out` of its own and `--shares all`. `--small` is a try of moments, whose figures say nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from scantling.core.errors import ScantlingError
from scantling.experiments.worth import worth
from scantling.experiments.worth_result import WorthResult
from scantling.training import Options, train
from scantling.training.callbacks import StoppedError

ARMS = ("real", "real+100%")


def by_share(
    data: Path, out: Path, *, method: str, shares: Sequence[str], seeds: int, generator: Options, options: Options
) -> WorthResult:
    """Train a generator for each share, and the method with and without what it makes.

    Raises:
        StoppedError: a signal has stopped a training, which is saved.
        ScantlingError: a training cannot be started.
    """
    console, runs = Console(stderr=True), list[str | Path]()
    for share in shares:
        run = out / f"generator-{share.removesuffix('%')}"
        labels = None if share == "all" else share
        train("nuclei-diffusion", [data], run, replace(generator, labels=labels), console=console)
        runs.append(f"nuclei@{share}={run}")
    return worth(
        method, data, runs, out / "worth", arms=ARMS, labels=shares, seeds=seeds, options=options, console=console
    )


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=25.0)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--method", default="hover-net")
    parser.add_argument("--shares", nargs="+", default=["10%", "20%", "50%", "all"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--small", action="store_true")
    of = parser.parse_args()
    options = Options(preset="tiny" if of.small else of.preset, threads=of.threads)
    taken = {"steps": 4} if of.small else {"minutes": of.minutes}
    try:
        found = by_share(
            of.data, of.out, method=of.method, shares=of.shares, seeds=of.seeds, generator=replace(options, **taken),
            options=replace(options, steps=4 if of.small else of.steps),
        )  # fmt: skip
    except (ScantlingError, StoppedError) as error:
        print(error, file=sys.stderr)
        return 1
    print(found.table())
    return 1 if found.failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
