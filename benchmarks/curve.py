"""What `curve` takes beside training: twenty cells in one process, against the steps that they train.

    python benchmarks/curve.py [--data DATA] [--cells 20] [--steps 40] [--ray]

The cells are `tiny` trainings of so few steps that what surrounds them shows: reading and measuring the data, building
and saving the model, learning postprocessing, the answers about the test cases and their scores. The seconds that a
cell takes beside its steps are what a training of any length loses; the table says their share of trainings of ten
seconds, a minute and ten minutes. Beside them stands what a process of its own for each cell would take before it
begins. Without --data, 24 training and 8 test images of vessels of 256 x 256 are made. Seconds are the processor's, so
that a busy machine changes little. `--ray` (an extra) also says, by the wall clock, how long a local Ray takes to
start, to do two jobs of nothing and to stop. Exits with 1 if a training of a minute loses more than 5 %.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from scantling.core.engines import Share, ray_cluster
from scantling.data.dataset import open_dataset
from scantling.experiments.curve import curve
from scantling.phantoms import vessel_images
from scantling.training import Options

TARGET, REALISTIC = 0.05, 60.0


def main() -> int:
    """Print the table; 1 if too much is lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a data set with masks (default: images of vessels are made)")
    parser.add_argument("--cells", type=int, default=20, help="default: 20")
    parser.add_argument("--steps", type=int, default=40, help="of a training (default: 40)")
    parser.add_argument("--ray", action="store_true", help="time a local Ray, too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = arguments.data or _made(Path(folder) / "vessels")
        dataset = open_dataset(data)
        labelled = {case.subject for case in dataset.cases if case.split == "train" and case.masks}
        budgets = sorted({max(2, len(labelled) // 4), max(3, len(labelled) // 2)})
        options = Options(preset="tiny", steps=arguments.steps)
        curve(["unet"], data, Path(folder) / "warm", labels=budgets[:1], options=options)
        clock, begun = Clock(), time.process_time()
        seeds = -(-arguments.cells // (2 * len(budgets)))
        found = curve(
            ["unet", "mean-teacher"], data, Path(folder) / "curve", labels=budgets, label_seeds=seeds, options=options,
            progress=clock,
        )  # fmt: skip
        whole = time.process_time() - begun
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        words = ("train", "unet", "--data", data, "--preset", "tiny", "--plan")
        subprocess.run([sys.executable, "-m", "scantling", *map(str, words)], check=True, capture_output=True)
        alone = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    number = len(found.cells)
    beside = (whole - clock.training) / number
    print(f"{number} cells, {len(dataset.cases)} cases: {whole:.1f} s, of which training {clock.training:.1f} s")
    print(f"beside its training a cell takes {beside:.2f} s; a process of its own would begin after {alone:.1f} s more")
    print(f"{'training':>10}{'lost':>8}")
    for name, length in (("10 s", 10.0), ("1 min", 60.0), ("10 min", 600.0)):
        print(f"{name:>10}{beside / (length + beside):>8.1%}")
    if arguments.ray:
        started = time.monotonic()
        with ray_cluster(Share()) as cluster:
            list(cluster.run(abs, [-1, -2]))
        print(f"a Ray of its own takes {time.monotonic() - started:.1f} s beside its cells")
    lost = beside / (REALISTIC + beside)
    print(f"target: at most {TARGET:.0%} of a training of {REALISTIC:.0f} s")
    return int(lost > TARGET or bool(found.failed))


class Clock:
    """Adds up the seconds of the processor between the first and the last step of each training."""

    def __init__(self) -> None:
        self.training, self.last = 0.0, 0.0

    def __call__(self, done: float, total: int, name: str) -> None:
        """Told after each logged step, and between two trainings, where `done` is whole."""
        now, inside = time.process_time(), done != int(done)
        if inside and self.last:
            self.training += now - self.last
        self.last = now if inside else 0.0


def _made(folder: Path) -> Path:
    for number, (image, mask) in enumerate(vessel_images(32, 256, seed=0)):
        part = folder / ("train" if number < 24 else "test")
        for kind, array in (("images", image), ("masks", mask.astype("uint8") * 255)):
            (part / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(part / kind / f"{number:02d}.png")
    return folder


if __name__ == "__main__":
    sys.exit(main())
