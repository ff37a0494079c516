"""Run every benchmark of this folder and say which targets were missed; `make bench`."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
APART = {
    "ablations.py",
    "run.py",
    "cdm_sweep.py",
    "centre_line.py",
    "corrections.py",
    "dkm.py",
    "eighteen.py",
    "evidence.py",
    "feature_map.py",
    "glas_ranks.py",
    "nuclei_shares.py",
    "nuclei_subset.py",
    "fuzz.py",
    "few_label_registration.py",
    "made_volumes.py",
    "nnunet.py",
    "objects.py",
    "regret.py",
    "painting.py",
    "scale.py",
    "trivial.py",
    "tubes.py",
}


def main() -> int:
    """Run the scripts one after another; 1 if any missed its target or failed."""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "numba"))
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {libraries}")
    missed = []
    for script in sorted(HERE.glob("*.py")):
        if script.name in APART:
            continue
        print(f"\n== {script.stem}", flush=True)
        if subprocess.run([sys.executable, str(script)], check=False).returncode:
            missed.append(script.stem)
    print(f"\nmissed: {', '.join(missed)}" if missed else "\nall targets reached")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
