"""Reading frozen features against the forward passes that it makes, five heads on twenty images, and memory.

    python benchmarks/features.py [--rounds 5]

Features: of all blocks, 100 images of 128 x 128 at two timesteps by `diffusion-pretrain` of the preset `quick`, read
in half precision as a training prepares them, against passes of the same network on images that are already there; they
take turns, and the ratio is the median over the turns. Heads: `fedd --preset quick` on 20 images that are made here,
from the command to the trained model. Memory: the peak of such a command whose training takes one step, with 40 images
and with 160. Exits with 1 if reading takes more than 1.1 times as long as the passes, or the training a minute.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image

from scantling.contract.method import build
from scantling.core.machine import steady
from scantling.core.samples import Batch, Intensity, Traits
from scantling.methods.features.pretrain import DiffusionPretrain
from scantling.methods.features.reader import FeatureReader, encoder_read
from scantling.phantoms import vessel_images

IMAGES, SIZE, BATCH, TIMESTEPS = 100, 128, 10, (50, 100)
TARGET, MINUTE = 1.1, 60.0
PEAK = """
import resource, sys
from scantling.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert not end.code, end.code
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
"""Runs a command and prints its greatest memory, in KiB on Linux."""


def main() -> int:
    """Print the three figures; 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="turns of reading and bare passes")
    ratio = reading(parser.parse_args().rounds)
    with tempfile.TemporaryDirectory() as folder:
        return int(training(Path(folder)) > MINUTE or ratio > TARGET)


@torch.no_grad()
def reading(rounds: int) -> float:
    """How many times longer reading takes than the passes of the network that it makes."""
    steady(threads=torch.get_num_threads())
    channel = Intensity(mean=0, std=1, low=-1, high=1, minimum=-1, maximum=1)
    traits = Traits(
        dimensions=2, channels=("red", "green", "blue"), labels=None, spacing=(1.0, 1.0), shape=(SIZE, SIZE),
        smallest=(SIZE, SIZE), intensity=(channel,) * 3,
    )  # fmt: skip
    settings = DiffusionPretrain.Settings.preset("quick").resolve(traits)
    encoder = build(DiffusionPretrain, settings, traits).eval()
    reader = FeatureReader(encoder_read(encoder, {"timesteps": TIMESTEPS}), channels=3, network=encoder)
    none = torch.zeros(BATCH, dtype=torch.int64)
    generator = torch.Generator().manual_seed(0)
    batches = [
        Batch(none, none, {"image": torch.randn((BATCH, 3, SIZE, SIZE), generator=generator)})
        for _ in range(IMAGES // BATCH)
    ]

    def read() -> None:
        for batch in batches:
            reader(batch)

    def passes() -> None:
        for batch in batches:
            for timestep in TIMESTEPS:
                encoder.network(batch.image, torch.full((BATCH,), timestep))

    for warm in (read, passes):
        warm()
    pairs = [(seconds(read), seconds(passes)) for _ in range(rounds)]
    ratio = statistics.median(a / b for a, b in pairs)
    ours, bare = (statistics.median(side) for side in zip(*pairs, strict=True))
    sys.stdout.write(
        f"features of {IMAGES} images of {SIZE} x {SIZE} at {len(TIMESTEPS)} timesteps: {ours:.2f} s   bare forward "
        f"passes {bare:.2f} s   ratio {ratio:.3f} (target at most {TARGET})\n"
    )
    return ratio


def training(folder: Path) -> float:
    """Seconds of `fedd` on 20 images; prints them, and the memory of two sizes of data sets."""
    made(folder / "images", 160)
    encoder = folder / "encoder"
    common = ["--preset", "quick", "--threads", "1"]
    command("train", "diffusion-pretrain", "--data", folder / "images", "--out", encoder, "--steps", "1", *common)
    uses = ["--use", f"encoder={encoder}", "--validation", "0"]
    took, peaks = 0.0, dict[int, float]()
    for count in (20, 40, 160):
        data = folder / f"{count}"
        made(data, count)
        steps = [] if count == 20 else ["--steps", "1"]
        begun = time.perf_counter()
        peaks[count] = command("train", "fedd", "--data", data, "--out", folder / f"run{count}", *uses, *steps, *common)
        if count == 20:
            took = time.perf_counter() - begun
    sys.stdout.write(
        f"five heads on 20 images, features and all: {took:.0f} s (target at most {MINUTE:.0f})\n"
        f"peak memory of one step with 40 images: {peaks[40]:.2f} GB, with 160: {peaks[160]:.2f} GB\n"
    )
    return took


def made(folder: Path, count: int) -> None:
    """A folder of made retinas with masks, none of them for tests."""
    for name in ("images/train", "masks/train"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number, (image, mask) in enumerate(vessel_images(count, SIZE, seed=0)):
        Image.fromarray(image).save(folder / f"images/train/{number:03d}.png")
        Image.fromarray(mask).save(folder / f"masks/train/{number:03d}.png")


def command(*words: str | Path) -> float:
    """Run `scantling` with these words; the greatest memory in GB."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, *map(str, words)], check=True, capture_output=True, text=True, encoding="utf-8"
    )
    return float(done.stdout.split("peak ")[-1]) * 1024 / 1e9


def seconds(run: Callable[[], None]) -> float:
    """Of one call."""
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


if __name__ == "__main__":
    sys.exit(main())
