"""Mending against the ways to write it in plain PyTorch, and the two thresholds against iterated max-pooling.

    python benchmarks/mending.py [--repeats 15]

All in one process, on one thread each and in turns, so that a busy machine slows all alike; each time is the smallest
of all turns. On a 512 x 512 map of made vessels with faint stretches: one RK4 step of the compiled sweep (timed over 20
steps, what goes in and comes out included) against separable convolutions, against tensor slices and against our own
torch path; hysteresis against the published iteration. All must give the same result. The last line is a whole map:
its directions, 100 steps and the threshold; its target is a time, and wants a machine that is not busy.
Exits with 1 if a result differs or a target is missed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from scantling.core.randomness import numpy_generator
from scantling.mending.anisotropic import Diffusion, diffuse, diffuse_tensors
from scantling.mending.hysteresis import hysteresis
from scantling.mending.mend import Mending, mend
from scantling.mending.orientation import structure_orientation
from scantling.mending.stencil import WEIGHTS

SIZE, STEP, STEPS = 512, 0.1, 20
OVER_CONVOLUTIONS, OVER_SLICES, OVER_POOLING = 20, 5, 10
SECONDS = 0.1
STENCIL = torch.tensor([*(-weight for weight in WEIGHTS[::-1]), 0, *WEIGHTS])


def vessels() -> NDArray[np.float32]:
    """A probability map of winding vessels with faint stretches."""
    draw = numpy_generator("mending benchmark")
    rows = np.arange(SIZE)[:, None]
    level = np.full((SIZE, SIZE), 0.02)
    for number in range(16):
        centre = (number + 0.5) * SIZE / 16 + 8 * np.sin(np.arange(SIZE) / draw.uniform(12, 40) + draw.uniform(0, 6))
        brightness = np.full(SIZE, 0.9)
        for begin in draw.integers(0, SIZE, 12):
            brightness[begin : begin + int(draw.integers(2, 40))] = draw.uniform(0.25, 0.45)
        level = np.where(np.abs(rows - centre) <= 1.5, brightness, level)
    return np.clip(ndimage.gaussian_filter(level, 0.7) + 0.01 * draw.standard_normal(level.shape), 0, 1).astype(
        np.float32
    )


def convolved(x: Tensor, dim: int) -> Tensor:
    """The derivative as a padded convolution with nine taps."""
    along = dim == -1
    kernel = STENCIL.view(1, 1, 1, 9) if along else STENCIL.view(1, 1, 9, 1)
    return F.conv2d(F.pad(x, (4, 4, 0, 0) if along else (0, 0, 4, 4), mode="replicate"), kernel)


def sliced(x: Tensor, dim: int) -> Tensor:
    """The derivative as a weighted sum of slices."""
    count = x.shape[dim]
    padded = F.pad(x, (4, 4, 0, 0) if dim == -1 else (0, 0, 4, 4), mode="replicate")
    at = [padded.narrow(dim, offset, count) for offset in range(9)]
    return sum(weight * (at[4 + k] - at[4 - k]) for k, weight in enumerate(WEIGHTS, 1))


def rk4_step(u: Tensor, v: Tensor, derivative: Callable[[Tensor, int], Tensor]) -> Tensor:
    """One step as it stands in the slides."""

    def change(x: Tensor) -> Tensor:
        along = v[:, :1] * derivative(x, -2) + v[:, 1:] * derivative(x, -1)
        return (derivative(v[:, :1] * along, -2) + derivative(v[:, 1:] * along, -1)).relu()

    k1 = change(u)
    k2 = change(u + STEP / 2 * k1)
    k3 = change(u + STEP / 2 * k2)
    k4 = change(u + STEP * k3)
    return (u + STEP / 6 * (k1 + 2 * k2 + 2 * k3 + k4)).clamp(0, 1)


def pooled(u: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The dual-threshold iteration: grow by max-pooling inside what is possible until nothing changes."""
    possible, kept = torch.from_numpy(u > 0.3)[None, None], torch.from_numpy(u > 0.5)[None, None].float()
    while True:
        grown = F.max_pool2d(kept, 3, 1, 1) * possible
        if torch.equal(grown, kept):
            return kept[0, 0].numpy() > 0
        kept = grown


def in_turns(work: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """The fewest seconds that each took, all in turns."""
    fewest = dict.fromkeys(work, float("inf"))
    for _ in range(repeats):
        for name, function in work.items():
            begin = time.perf_counter()
            function()
            fewest[name] = min(fewest[name], time.perf_counter() - begin)
    return fewest


def main() -> int:
    """Print the table; 1 if a result differs or a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15, help="turns (default 15)")
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    u = vessels()
    v = structure_orientation(u).direction
    u_, v_ = torch.from_numpy(u)[None, None], torch.from_numpy(v)[None]
    once, often = Diffusion(iterations=1, step=STEP), Diffusion(iterations=STEPS, step=STEP)

    begin = time.perf_counter()
    ours = diffuse(u, v, settings=once)
    print(f"compiled in {time.perf_counter() - begin:.1f} s, once a process")
    others = {
        "separable convolutions": lambda: rk4_step(u_, v_, convolved),
        "tensor slices": lambda: rk4_step(u_, v_, sliced),
        "our torch path": lambda: diffuse_tensors(u_, v_, settings=once),
    }
    differences = {name: float(np.abs(step()[0, 0].numpy() - ours).max()) for name, step in others.items()}
    same = np.array_equal(pooled(u), hysteresis(u))
    whole = Mending(iterations=100, step=STEP)
    seconds = in_turns(
        {
            **others,
            "compiled sweep": lambda: diffuse(u, v, settings=often),
            "iterated max-pooling": lambda: pooled(u),
            "hysteresis": lambda: hysteresis(u),
            "whole": lambda: mend(u[None], whole),
        },
        repeats,
    )
    seconds["compiled sweep"] /= STEPS
    reached = same

    print(f"{'':<26}{'ms':>10}{'ratio':>8}{'target':>8}  equal")
    for name, fast, target in (
        ("compiled sweep", "", 0),
        ("separable convolutions", "compiled sweep", OVER_CONVOLUTIONS),
        ("tensor slices", "compiled sweep", OVER_SLICES),
        ("our torch path", "compiled sweep", 0),
        ("hysteresis", "", 0),
        ("iterated max-pooling", "hysteresis", OVER_POOLING),
    ):
        row = f"{name:<26}{seconds[name] * 1e3:>10.2f}"
        if fast:
            ratio = seconds[name] / seconds[fast]
            equal = differences[name] < 1e-5 if name in differences else same
            reached &= ratio >= target and equal
            row += f"{ratio:>8.1f}{target or '':>8}  {'yes' if equal else 'NO'}"
        print(row, flush=True)
    reached &= seconds["whole"] < SECONDS
    print(f"a whole map, N = 100: {seconds['whole'] * 1e3:.0f} ms (target {SECONDS * 1e3:.0f})")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
