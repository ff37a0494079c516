"""What the answers that look at no image score: nothing anywhere, and the mean mask of the training cases.

python benchmarks/trivial.py data/isic-2017
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
import torch

from scantling.core.case import Case, Labels
from scantling.data.dataset import open_dataset
from scantling.data.division import divide
from scantling.data.interpolation import resample
from scantling.data.loading import load
from scantling.metrics.overlap import confusion

SIDE = 256
"""Masks are averaged on a square of this side."""


def masks(cases: Sequence[Case], labels: Labels) -> list[np.ndarray]:
    """The first annotator's mask (H, W) of the first class of each case that has one."""
    read = [load(case, labels=labels, reads=("mask",)).masks[0][0] == 1 for case in cases if case.masks]
    return [mask for mask in read if mask.ndim == 2]


def main(path: str) -> None:
    """Print the mean Dice of both on the test cases."""
    data = divide(open_dataset(path), validation=0.0)
    if data.labels is None:
        raise SystemExit(f"{path}: found no masks")
    seen = [
        resample(torch.from_numpy(mask[None].astype(np.float32)), (SIDE, SIDE), linear=True)
        for mask in masks(data.split("train"), data.labels)
    ]
    mean = torch.stack(seen).mean(0)
    scores: dict[str, list[float]] = {"nothing anywhere": [], "the mean mask of the training cases": []}
    for truth in masks(data.split("test"), data.labels):
        typical = resample(mean, truth.shape, linear=True)[0].numpy() > 0.5
        for name, answer in zip(scores, (np.zeros_like(truth), typical), strict=True):
            scores[name].append(confusion(answer, truth, region=None).dice)
    for name, values in scores.items():
        print(f"{name}: Dice {np.mean(values):.4f} on {len(values)} test cases")


if __name__ == "__main__":
    main(sys.argv[1])
