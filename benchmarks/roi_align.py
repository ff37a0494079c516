"""RoIAlign with gradients, against PyTorch's `grid_sample` on as many points of the same maps.

    python benchmarks/roi_align.py [--repeats 5] [--proposals 150] [--channels 256] [--side 128]

Both run in one process and in turn, by processor time, forward and backward: 7 x 7 cells of 2 x 2 samples of each box,
on one map, which for `grid_sample` stands as it likes it best. It gives the samples; RoIAlign the means of each cell.
Then the most that RoIAlign holds beside its answer is told for one chunk of boxes and for eight times as many boxes.
Exits with 1 if the means differ, RoIAlign takes more than 1.5 times as long, or its need grows with the boxes.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from scantling.networks.roi_align import RoIAlign

TARGET, OUTPUT, SAMPLING, STRIDE, CHUNK = 1.5, 7, 2, 4, 64


def boxes_of(count: int, side: int) -> Tensor:
    """Boxes (count, 4) of 20 to 100 pixels, in an image of `side` cells."""
    torch.manual_seed(0)
    length = 20 + 80 * torch.rand(count, 2)
    start = torch.rand(count, 2) * (side * STRIDE - length)
    return torch.cat([start, start + length], 1)


def sampled(maps: Tensor, boxes: Tensor) -> Tensor:
    """The samples (n, C, 14, 14) of boxes on maps (1, C, h, w), by `grid_sample`."""
    count = OUTPUT * SAMPLING
    share = (torch.arange(count) + 0.5) / count
    at = boxes[:, :2, None] + share * (boxes[:, 2:] - boxes[:, :2])[..., None]  # (n, 2, 14), pixel edges
    shares = at / STRIDE * 2 / maps.shape[2] - 1
    grid = torch.stack([shares[:, 1, None].expand(-1, count, -1), shares[:, 0, :, None].expand(-1, -1, count)], -1)
    found = F.grid_sample(maps, grid.flatten(0, 1)[None], padding_mode="border", align_corners=False)
    return found[0].unflatten(1, (len(boxes), count)).movedim(0, 1)


def clocked(work: Callable[[], Tensor], maps: Tensor) -> float:
    """Processor seconds of one pass forward and backward."""
    maps.grad = None
    began = time.process_time()
    work().sum().backward()
    return time.process_time() - began


class Largest(TorchDispatchMode):
    """The bytes of the largest tensor that an operation makes, of those that do not hold `width` numbers a row."""

    def __init__(self, width: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.width, self.bytes = width, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        """Run it and look at what it made."""
        found = func(*args, **(kwargs or {}))
        for one in found if isinstance(found, tuple) else (found,):
            if isinstance(one, Tensor) and (one.ndim == 0 or one.shape[-1] != self.width):
                self.bytes = max(self.bytes, one.numel() * one.element_size())
        return found


def need(maps: Tensor, boxes: Tensor) -> int:
    """The bytes of the largest table of places or weights that is made on the way."""
    with torch.no_grad():
        read = RoIAlign([maps], strides=(STRIDE,), chunk=CHUNK)
        with Largest(maps.shape[1]) as seen:
            read(boxes, torch.zeros(len(boxes), dtype=torch.long))
    return seen.bytes


def main() -> int:
    """Time both; 0 if the targets are reached."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("repeats", 5), ("proposals", 150), ("channels", 256), ("side", 128)):
        parser.add_argument(f"--{name}", type=int, default=value)
    asked = parser.parse_args()
    boxes = boxes_of(asked.proposals, asked.side)
    maps = torch.randn(1, asked.channels, asked.side, asked.side, requires_grad=True)
    image = torch.zeros(len(boxes), dtype=torch.long)
    works: dict[str, Callable[[], Tensor]] = {
        "RoIAlign": lambda: RoIAlign([maps], strides=(STRIDE,))(boxes, image),
        "grid_sample": lambda: sampled(maps, boxes),
    }
    with torch.no_grad():
        means = F.avg_pool2d(works["grid_sample"](), SAMPLING).flatten(2).transpose(1, 2)
        apart = float((works["RoIAlign"]() - means).abs().max())
    spent = {name: [clocked(work, maps) for _ in range(asked.repeats)] for name, work in works.items()}
    best = {name: min(times) for name, times in spent.items()}
    ratio = best["RoIAlign"] / best["grid_sample"]
    print(f"{asked.proposals} boxes, {asked.channels} channels, a map of {asked.side} x {asked.side}")
    print(f"RoIAlign {best['RoIAlign']:.3f} s, grid_sample {best['grid_sample']:.3f} s: {ratio:.2f} times as long")
    few, many = (need(maps.detach(), boxes_of(count, asked.side)) for count in (CHUNK, 8 * CHUNK))
    print(f"tables of {CHUNK} boxes {few / 2**20:.1f} MiB, of {8 * CHUNK} {many / 2**20:.1f} MiB; apart {apart:.1e}")
    return 0 if ratio <= TARGET and many <= few and apart < 1e-4 else 1


if __name__ == "__main__":
    sys.exit(main())
