"""What the `paper` presets cost on this GPU: some steps of each, half a minute a method, in a process of its own.

    scripts/gpu_check.sh [--data DATA] [--steps 40] [--seconds 30] [--count] [METHOD ...]

A line for each method: seconds a step, peak memory, the loss at the first and the last of these steps, and how long
the steps of the whole recipe would take at this pace. Of a method with several stages the first one is timed and the
pace taken for all of them (marked +). Without --data it trains on twelve made retinas of 512 x 512 pixels, so that
methods that need volumes, classes or several frames are named with what they lack. So few steps say nothing of quality.

Without a GPU, or with --count, one step of each stage is counted and not timed (`step_count`): weights, and of
the largest the operations and the memory that it keeps in float32 (+ where a stage could not be counted).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

COLUMNS = (16, 9, 10, 20, 10)
HEAD = ("Method", "s a step", "peak GB", "loss", "recipe h")
COUNTED = ("Method", "weights", "GFLOP", "GB, one step", "steps")


def one(name: str, data: Path, out: Path, *, preset: str, device: str, steps: int, seconds: float) -> dict[str, Any]:
    """The row of one method, with `steps` of its training in at most so many seconds."""
    import torch
    from rich.console import Console

    from scantling.core.errors import ScantlingError
    from scantling.training import Options, train
    from scantling.training.callbacks import LoggedStep, StopTraining
    from scantling.training.training import preview

    quiet, noted = Console(quiet=True), list[LoggedStep]()

    def note(step: LoggedStep) -> None:
        noted.append(step)
        if step.stage != noted[0].stage or step.seconds - noted[0].seconds > seconds:
            raise StopTraining

    try:
        options = Options(preset=preset, device=device, validation=0.0)
        stages = [stage.steps for stage in preview(name, [data], options, console=quiet).method.stages()]
        if device.startswith("cuda"):
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        short = Options(preset=preset, device=device, validation=0.0, steps=steps)
        train(name, [data], out, short, console=quiet, callbacks=(note,))
    except ScantlingError as error:
        if not noted:
            return {"method": name, "error": str(error)}
    except RuntimeError as error:
        if "out of memory" not in str(error):
            raise
        return {"method": name, "error": "out of memory"}
    if not noted:
        return {"method": name, "error": "has no steps to time"}
    own = [step for step in noted if step.stage == noted[0].stage]
    # not every step is logged, and the first ones load kernels
    paces = [(after.seconds - before.seconds) / (after.step - before.step) for before, after in pairwise(own)]
    pace = median(paces[len(paces) // 2 :]) if paces else own[0].seconds / own[0].step
    return {
        "method": name,
        "seconds": pace,
        "steps": own[-1].step,
        "memory": torch.cuda.max_memory_allocated() / 2**30 if device.startswith("cuda") else None,
        "losses": [sum(own[0].losses.values()), sum(own[-1].losses.values())],
        "recipe_steps": stages,
        "recipe_hours": pace * sum(stages) / 3600,
    }


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    if "error" in row:
        return f"{row['method']:<{COLUMNS[0]}}  {row['error']}"
    if "operations" in row:
        several = "+" if row["counted"] < row["stages"] else ""
        cells = (
            f"{row['parameters'] / 1e6:.1f}M", f"{row['operations'] / 1e9:.0f}{several}",
            f"{row['bytes'] / 2**30:.2f}{several}", f"{row['steps']}",
        )  # fmt: skip
        return f"{row['method']:<{COLUMNS[0]}}" + "".join(
            f"{cell:>{width}}" for cell, width in zip(cells, COLUMNS[1:], strict=True)
        )
    several = "+" if len(row["recipe_steps"]) > 1 else ""
    memory = "-" if row["memory"] is None else f"{row['memory']:.1f}"
    first, last = row["losses"]
    cells = (f"{row['seconds']:.3f}", memory, f"{first:.4g} to {last:.4g}", f"{row['recipe_hours']:.1f}{several}")
    return f"{row['method']:<{COLUMNS[0]}}" + "".join(
        f"{cell:>{width}}" for cell, width in zip(cells, COLUMNS[1:], strict=True)
    )


def measured(name: str, data: Path, of: argparse.Namespace) -> dict[str, Any]:
    """The row of one method, from a process of its own, so that no other holds memory."""
    words = [sys.executable, __file__, name, "--child", "--data", str(data), "--preset", of.preset]
    words += ["--device", of.device, "--steps", str(of.steps), "--seconds", str(of.seconds)]
    words += ["--count"] if of.count else []
    limit = 4 * of.seconds + (600 if of.count else 60)
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"method": name, "error": f"no step within {limit:.0f} s"}
    if done.returncode:
        return {"method": name, "error": (done.stderr.strip().splitlines() or ["ended without a word"])[-1]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", metavar="METHOD", help="(default all that are trained)")
    parser.add_argument("--data", type=Path, help="a data set (default made retinas)")
    parser.add_argument("--steps", type=int, default=40, help="of each method (default 40)")
    parser.add_argument("--seconds", type=float, default=30.0, help="at most, of each method (default 30)")
    parser.add_argument("--preset", choices=("paper", "quick", "tiny"), default="paper")
    parser.add_argument("--device", default="cuda", help="(default cuda)")
    parser.add_argument("--count", action="store_true", help="count one step in place of timing some")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    of = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        if of.child and of.count:
            from step_count import counted

            print(json.dumps(counted(of.methods[0], of.data, preset=of.preset)))
            return 0
        if of.child:
            row = one(
                of.methods[0], of.data, Path(folder) / "run", preset=of.preset, device=of.device, steps=of.steps,
                seconds=of.seconds,
            )  # fmt: skip
            print(json.dumps(row))
            return 0
        import torch

        from scantling.methods.catalogue import cards

        if of.device.startswith("cuda") and not torch.cuda.is_available() and not of.count:
            print("found no GPU that torch can use; one step of each is counted, not timed", file=sys.stderr)
            of.count = True
        names = [name for name, card in cards().items() if card.fits and card.needs and not (card.extra or card.uses)]
        if unknown := [name for name in of.methods if name not in cards()]:
            print(f"gpu_check: no method is called {unknown[0]!r}; see `scantling methods`", file=sys.stderr)
            return 2
        data = of.data
        if data is None:
            import scantling

            data = Path(folder) / "retinas"
            scantling.synthesize("retina-phantoms", out=data, count=12, size=512)
        if of.device.startswith("cuda") and not of.count:
            print(torch.cuda.get_device_name(of.device), f"torch {torch.__version__}", sep=", ")
        head = COUNTED if of.count else HEAD
        print(f"{head[0]:<{COLUMNS[0]}}" + "".join(f"{h:>{w}}" for h, w in zip(head[1:], COLUMNS[1:], strict=True)))
        for name in of.methods or names:
            print(line(measured(name, data, of)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
