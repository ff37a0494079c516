"""How long a user waits for `scantling --help`: the whole process, against a Python that does nothing."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

TARGET = 0.5
"""Seconds."""
REPEATS = 5


def seconds(command: list[str]) -> float:
    """The time of one run of `command`, start and end of the process included."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> int:
    """Print the medians; 1 if `--help` takes longer than the target."""
    scantling = str(Path(sys.executable).with_name("scantling"))
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "scantling --help": [scantling, "--help"],
        "scantling methods": [scantling, "methods"],
    }
    for command in commands.values():
        seconds(command)  # once for the caches
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(REPEATS):
        for name, command in commands.items():
            taken[name].append(seconds(command))
    medians = {name: statistics.median(times) for name, times in taken.items()}
    print(f"{'command':<20} {'median of ' + str(REPEATS):>12} {'ratio':>8} {'target':>8}")
    bare = medians["python -c pass"]
    for name, median in medians.items():
        target = f"{TARGET:.1f} s" if name == "scantling --help" else ""
        print(f"{name:<20} {median:>10.3f} s {median / bare:>7.1f}x {target:>8}")
    return 0 if medians["scantling --help"] <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
