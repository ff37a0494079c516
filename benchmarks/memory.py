"""How much memory the commands take on large images, large volumes and many images, each in a process of its own.

.venv/bin/python benchmarks/memory.py            # scaled down, under two minutes
.venv/bin/python benchmarks/memory.py --whole    # 20,000 x 20,000 pixels, 512 x 512 x 600 voxels, 3,000 images
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

SCANTLING = Path(sys.executable).with_name("scantling")
PICTURE, VOLUME = 4.0, 6.0
"""The most that the commands may take, in units of 10^9 bytes."""
GROWTH = 0.1
"""What ten times as many images may add."""
TINY = ("--preset", "quick", "--steps", "3", "--validation", "0")


@dataclass(frozen=True)
class Sizes:
    """How large everything is."""

    side: int
    volume: tuple[int, int, int]
    few: int


SCALED, WHOLE = Sizes(5000, (192, 192, 200), 30), Sizes(20000, (512, 512, 600), 300)


def peak(*command: object) -> tuple[float, float]:
    """Memory (10^9 bytes) and seconds that a command of Scantling takes; an error ends the benchmark."""
    begun = time.perf_counter()
    words = [str(SCANTLING), *map(str, command)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"exit code {process.returncode}: {' '.join(words)}")
    unit = 1 if sys.platform == "darwin" else 1024
    return usage.ru_maxrss * unit / 1e9, time.perf_counter() - begun


def save(path: Path, array: np.ndarray) -> None:
    """Write a picture as PNG, or a volume as NIfTI."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        Image.fromarray(array).save(path, compress_level=1)
    else:
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)


def make(folder: Path, sizes: Sizes) -> None:
    """Small pictures and volumes to train on, and large ones of the same: discs and balls on noise."""
    drawn = np.random.default_rng(0)
    for name, suffix, shape in (("picture", ".png", (200, 200)), ("volume", ".nii.gz", (48, 48, 48))):
        centred = np.stack([axis - length // 2 for axis, length in zip(np.indices(shape), shape, strict=True)])
        mask = np.square(centred).sum(axis=0) < (min(shape) / 4) ** 2
        image = np.clip(80 * mask + drawn.normal(60, 10, shape), 0, 255)
        image = image.astype(np.uint8 if suffix == ".png" else np.int16)
        for number in range(3):
            save(folder / f"{name}s/images/{number}{suffix}", image)
            save(folder / f"{name}s/masks/{number}{suffix}", mask * np.uint8(255))
        large = (sizes.side,) * 2 if suffix == ".png" else sizes.volume
        repeats = [-(-length // short) for length, short in zip(large, shape, strict=True)]
        cut = tuple(map(slice, large))
        tiled, marked = np.tile(image, repeats)[cut], np.tile(mask * np.uint8(255), repeats)[cut]
        save(folder / f"large-{name}/images/a{suffix}", tiled)
        save(folder / f"large-{name}/masks/a{suffix}", marked)
        if suffix == ".png":
            save(folder / "moved/a.png", np.roll(marked, 3, axis=0))
            save(folder / "colour/a.png", np.stack([tiled, tiled // 2, tiled], axis=-1))
    for count in (sizes.few, 10 * sizes.few):
        for number in range(count):
            save(folder / f"{count}/{number:05d}.png", drawn.integers(0, 256, (64, 64), dtype=np.uint8))


def main() -> int:
    """Print the peaks; 1 if one is above its bound."""
    sizes = WHOLE if "--whole" in sys.argv[1:] else SCALED
    missed = False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, sizes)
        narrow = ("--settings.widths", "4,8")
        peak("train", "unet", "--data", folder / "pictures", "--out", folder / "unet", *TINY, *narrow)
        peak("train", "unet", "--data", folder / "volumes", "--out", folder / "unet-3d", *TINY, *narrow)
        peak("train", "fr-unet", "--data", folder / "volumes", "--out", folder / "slices", *TINY)
        picture, volume = f"{sizes.side:,} x {sizes.side:,}", " x ".join(map(str, sizes.volume))
        large, truth = folder / "large-picture", folder / "large-picture/masks"
        fit = ("train", "unet", "--data", large, "--out", folder / "on-large", *TINY, *narrow)
        rows: list[tuple[str, float, tuple[object, ...]]] = [
            (f"check, {picture} with mask", PICTURE, ("check", large)),
            (f"predict, {picture} grey", PICTURE, ("predict", folder / "unet", large / "images")),
            (f"predict, {picture} colour", PICTURE, ("predict", folder / "unet", folder / "colour")),
            (f"evaluate, {picture}, Dice", PICTURE, ("evaluate", folder / "moved", truth, "--metrics", "dice")),
            (f"evaluate, {picture}, HD95", PICTURE, ("evaluate", folder / "moved", truth, "--metrics", "hd95")),
            (f"train, {picture} with mask", VOLUME, fit),
            (f"predict, {volume}", VOLUME, ("predict", folder / "unet-3d", folder / "large-volume/images")),
            (f"predict, {volume}, slices", VOLUME, ("predict", folder / "slices", folder / "large-volume/images")),
        ]
        print(f"{'what':<44} {'peak':>9} {'at most':>9} {'time':>8}")
        for number, (what, most, command) in enumerate(rows):
            out = ("--out", folder / f"out-{number}") if command[0] == "predict" else ()
            taken, seconds = peak(*command, *out)
            missed |= taken > most
            print(f"{what:<44} {taken:>6.2f} GB {most:>6.2f} GB {seconds:>6.0f} s", flush=True)
        few = 0.0
        for count in (sizes.few, 10 * sizes.few):
            taken, seconds = peak("predict", folder / "unet", folder / str(count), "--out", folder / f"of-{count}")
            bound = f"{few + GROWTH:>6.2f} GB" if few else ""
            missed |= bool(few) and taken > few + GROWTH
            few = few or taken
            what = f"predict, {count:,} images of 64 x 64"
            print(f"{what:<44} {taken:>6.2f} GB {bound:>9} {seconds:>6.0f} s", flush=True)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
