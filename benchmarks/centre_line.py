"""One noisy centre line as the label, against one full mask and no label at all, on vessels.

    python benchmarks/centre_line.py --data data/drive --out centre-line [--seeds 0 1 2] [--lines-only]
    python benchmarks/centre_line.py --out small --small

First it draws the centre lines of the training masks as a hand that is not steady would (`synthesize centre-lines
--settings.noise 1`), widens them, and prints how like the masks they become, beside lines of the one constant width
that fits the masks best; `--lines-only` stops there. Then for each seed `vessels` learns from the lines of one image
and the background that `centre-lines` draws beside them (`--settings.with_centre_lines true --labels 1`), `unet` from
the mask of the same image (`--labels 1`), and `vessels` from no label. Test cases are scored when all are trained. The
same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

from scantling.core.errors import ScantlingError
from scantling.core.fields import IGNORE
from scantling.data.dataset import open_dataset
from scantling.data.loading import load
from scantling.evaluation import evaluate
from scantling.evaluation.summary import summarise
from scantling.experiments.statistics import paired
from scantling.inference import predict, synthesize
from scantling.inference.conditions import Conditions
from scantling.mending.widening import widened
from scantling.phantoms.tubes import tubes
from scantling.training import Options, train

NOISE = 1.0
LINE, MASK, NONE = "vessels, one image of noisy lines", "unet, one mask", "vessels, no label"
RADII = (0.0, 1.0, 1.5, 2.0, 3.0, 4.0)
"""Of lines of constant width, in pixels."""


def lines_against_masks(lines: Path, data: Path) -> None:
    """Print the mean Dice of the training masks with widened lines, and with lines of the best constant width."""
    masked, drawn = open_dataset(data), open_dataset(lines)
    masks = {case.id: case for case in masked.split("train") if case.masks}
    rows = []
    for case in drawn.split("train"):
        sample = load(case, labels=drawn.labels, reads=("image", "scribbles", "region"))
        truth = load(masks[case.id], labels=masked.labels, reads=("image", "mask")).masks[0][0] == 1
        inside = np.ones(truth.shape, np.bool_) if sample.region is None else np.asarray(sample.region)
        scribbles = sample.scribbles
        if scribbles is None:
            continue
        line, light = (scribbles[0] > 0) & (scribbles[0] != IGNORE), sample.image[min(1, len(sample.image) - 1)]
        found, distance = widened(line, light, inside), ndimage.distance_transform_edt(~line)
        rows.append([dice(found == 1, truth), *(dice(distance <= radius, truth) for radius in RADII)])
    own, *constant = np.mean(rows, axis=0)
    best, tried = int(np.argmax(constant)), ", ".join(f"{each:g}" for each in RADII)
    print(f"Dice with the masks of {len(rows)} training images, mean: {own:.4f} of widened lines,")
    print(f"{constant[best]:.4f} of lines {RADII[best]:g} pixels wide to each side (the best of {tried})", flush=True)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """2 |A ∩ B| / (|A| + |B|)."""
    return float(2 * np.count_nonzero(one & other) / max(np.count_nonzero(one) + np.count_nonzero(other), 1))


def trained(name: str, data: Path, lines: Path, run: Path, options: dict[str, Any]) -> None:
    """Train one of the three."""
    lined = {**options, "settings": {**options["settings"], "with_centre_lines": True}}
    if name == LINE:
        train("vessels", [lines], run, Options(**lined, labels=1))
    elif name == MASK:
        plain = {key: value for key, value in options["settings"].items() if key != "kind"}
        train("unet", [data], run, Options(**{**options, "settings": plain}, labels=1))
    else:
        train("vessels", [data], run, Options(**options))


def table(data: Path, out: Path, seeds: Sequence[int]) -> None:
    """Score the test cases, and print means over them with 95 % intervals, seeds averaged; then the differences."""
    values, subjects = dict[str, np.ndarray](), list[str]()
    for name in (LINE, MASK, NONE):
        rows = []
        for seed in seeds:
            place = out / place_of(name, seed)
            predict(place / "run", data, out=place / "masks", split="test")
            cases = evaluate(place / "masks", data, split="test", metrics=("dice",)).cases
            rows.append([case.scores.mean["dice"] for case in cases])
            subjects = [case.subject for case in cases]
        values[name] = np.mean(rows, axis=0)
    print("\n| Learns from | Dice | 95 % interval |\n| --- | --- | --- |")
    for name, each in values.items():
        scores = [{"dice": float(value)} for value in each]
        low, high = summarise(scores, subjects, ranges={"dice": (0.0, 1.0)}).interval["dice"]
        print(f"| {name} | {each.mean():.4f} | {low:.4f} to {high:.4f} |")
    for other in (MASK, NONE):
        found = paired(values[LINE], values[other], subjects, most=1.0)
        low, high = found.interval
        print(f"{LINE}, minus {other}: {found.difference:+.4f} ({low:+.4f} to {high:+.4f})")


def place_of(name: str, seed: int) -> str:
    """The folder of a training."""
    return f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"


def made(folder: Path) -> Path:
    """Four training and two test images of dark tubes."""
    for number in range(6):
        phantom = tubes((72, 72), generator=np.random.default_rng(number), dark=True)
        arrays = {"images": np.round(255 * phantom.image[0]), "masks": 255 * phantom.mask}
        for kind, array in arrays.items():
            path = folder / ("train" if number < 4 else "test") / kind / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array.astype(np.uint8)).save(path)
    return folder


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what is left to do, and print the table; 1 if it cannot be done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a data set of vessels; needed without --small")
    parser.add_argument("--out", type=Path, required=True, help="a folder for lines, runs and masks")
    parser.add_argument("--preset", choices=("quick", "paper", "tiny"), default="quick")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of trainings, and of whose label is kept")
    parser.add_argument("--threads", type=int, help="processor threads of a training")
    parser.add_argument("--lines-only", action="store_true", help="train nothing")
    parser.add_argument("--small", action="store_true", help="six made images and a few steps of `tiny`")
    of = parser.parse_args(arguments)
    if of.data is None and not of.small:
        parser.error("--data: expected a data set of vessels, or --small")
    options: dict[str, Any] = {"preset": of.preset, "validation": 0.0, "threads": of.threads, "settings": {}}
    if of.small:
        options |= {"preset": "tiny", "steps": 6, "settings": {"kind": "dark tubes"}}
    try:
        data, lines = of.data or made(of.out / "data"), of.out / "lines"
        conditions = Conditions(data=data, split="train")
        synthesize("centre-lines", out=lines, settings={"noise": NOISE}, conditions=conditions)
        lines_against_masks(lines, data)
        if of.lines_only:
            return 0
        for seed in of.seeds:
            for name in (LINE, MASK, NONE):
                run = of.out / place_of(name, seed) / "run"
                trained(name, data, lines, run, options | {"seed": seed, "label_seed": seed})
        table(data, of.out, of.seeds)
    except ScantlingError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
