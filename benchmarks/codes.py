"""Nearest codes of a large codebook, beside all distances at once: how long, and how much memory.

.venv/bin/python benchmarks/codes.py
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from scantling.networks.codebook import nearest_codes

VECTORS, CODES, WIDTH = 16_384, 16_384, 8
TARGET = 2.0
"""How many times as fast it is to be."""
MOST = 0.1
"""Memory that it may add, in units of 10^9 bytes; all distances are 1.07."""


def naive(vectors: Tensor, codes: Tensor) -> Tensor:
    """The least of all distances, (N, K) at once."""
    squares = vectors.square().sum(1, keepdim=True) - 2 * vectors @ codes.t() + codes.square().sum(1)
    return squares.argmin(1)


def measured(search: Callable[[Tensor, Tensor], Tensor], vectors: Tensor, codes: Tensor) -> tuple[float, Tensor]:
    """The shortest of three, in seconds, and what was found."""
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        found = search(vectors, codes)
        times.append(time.perf_counter() - begun)
    return min(times), found


def peak() -> float:
    """The most memory so far, in units of 10^9 bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def main() -> int:
    """Print both; 1 if the target is missed."""
    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    generator = torch.Generator().manual_seed(0)
    vectors, codes = (torch.randn(n, WIDTH, generator=generator) for n in (VECTORS, CODES))
    nearest_codes(vectors[:64], codes)
    before = peak()
    seconds, found = measured(nearest_codes, vectors, codes)
    added = peak() - before
    of_all, expected = measured(naive, vectors, codes)
    same = float((found == expected).float().mean())
    print(f"{VECTORS:,} vectors, {CODES:,} codes of {WIDTH}: {seconds:.2f} s, {added:.2f} GB more")
    print(f"all distances at once: {of_all:.2f} s ({of_all / seconds:.1f} x), {peak() - before:.2f} GB more")
    print(f"the same code for {same:.4%}")
    return int(of_all < TARGET * seconds or added > MOST or same < 0.999)


if __name__ == "__main__":
    sys.exit(main())
