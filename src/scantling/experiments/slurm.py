"""An array job for Slurm: each of its tasks does one training of an experiment by the plain command, with `--shard`.

The script is ours and not that of a library: it is a few lines that anybody can read and change, and its tasks need
nothing but the command (`submitit` would submit pickled functions).
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from scantling.core.atomic import write_text
from scantling.core.engines import Share
from scantling.core.errors import RunError, SettingsError
from scantling.experiments.cells import scores_of
from scantling.experiments.curve import Ready

LOGS = "slurm"
"""In the folder of the experiment, beside the script NAME.sbatch: a folder for what its tasks say."""
WARNING = 120
"""Seconds before its time ends in which a task saves; it goes on when the script is submitted again."""


def write_script(ready: Ready, words: Sequence[str], share: Share) -> Path | None:
    """Write the script of the cells that are not yet done; None where all are.

    Args:
        words: the command of a task, without its shard; the script is called after its first.
        share: what a task asks for: cores, and whole GPUs.

    Raises:
        SettingsError: GPUs are no whole number, which Slurm does not divide.
    """
    recipe, number = ready.recipe, len(ready.cells)
    if share.gpus is not None and share.gpus != int(share.gpus):
        raise SettingsError(f"--gpus-per-cell {share.gpus:g}: Slurm gives whole GPUs; ask for 1, or use --engine ray")
    todo = [place for place, cell in enumerate(ready.cells, start=1) if scores_of(recipe, cell) is None]
    if not todo:
        return None
    out = recipe.out.absolute()
    (out / LOGS).mkdir(parents=True, exist_ok=True)
    wanted = [
        f"--job-name=scantling-{words[0]}",
        f"--array={_ranges(todo)}",
        f"--output={str(out / LOGS).replace('%', '%%')}/%a.log",
        "--open-mode=append",
        "--ntasks=1",
        *([f"--cpus-per-task={share.cpus}"] if share.cpus is not None else []),
        *([f"--gpus-per-task={int(share.gpus)}"] if share.gpus else []),
        f"--signal=B:TERM@{WARNING}",
        "--requeue",
    ]
    threads = ["--threads", str(share.cpus)] if share.cpus is not None and "--threads" not in words else []
    command = shlex.join([sys.executable, "-m", "scantling", *words, *threads])
    lines = ["#!/bin/bash", *(f"#SBATCH {word}" for word in wanted), f"cd {shlex.quote(str(Path.cwd()))} || exit"]
    # the shell gives way to the command, so that the command hears the signal
    lines.append(f'exec {command} --shard "$SLURM_ARRAY_TASK_ID/{number}"')
    path = out / f"{words[0]}.sbatch"
    write_text(path, "\n".join(lines) + "\n")
    return path


def submitted(script: Path) -> str:
    """Submit a script; what `sbatch` says.

    Raises:
        RunError: there is no Slurm here, or it refuses the script.
    """
    try:
        done = subprocess.run(["sbatch", str(script)], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise RunError(f"--submit: found no `sbatch` on this machine; submit {script} where Slurm is") from None
    if done.returncode:
        raise RunError(f"--submit: sbatch refuses {script}: {' '.join(done.stderr.split())}")
    return " ".join(done.stdout.split())


def _ranges(numbers: Sequence[int]) -> str:
    """ "1-3,5,8-9" """
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][-1] + 1:
            found[-1] = [found[-1][0], number]
        else:
            found.append([number])
    return ",".join("-".join(map(str, dict.fromkeys(part))) for part in found)
