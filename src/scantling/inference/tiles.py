"""A network over a canvas of any size within a memory bound: whole where it fits, else in blended tiles."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from scantling.contract.results import Objects
from scantling.contract.step import Finder, Network
from scantling.core.machine import memory_free
from scantling.inference.objects import gather

STEP = 16
"""Tiles are multiples of this many pixels along each axis."""
ENOUGH = 1 << 30
"""Bytes of main memory that a forward pass takes at most unless it is told: larger tiles are no faster there."""
TRIALS = (64, 128)
"""Sides of the pieces of a canvas on which memory is measured."""


class Tiler:
    """Applies the networks of one method to canvases (B, C, *S) -> (B, K, *S).

    Args:
        memory: bytes that a forward pass may take; None takes half of what is free on a canvas's device at the first
            one, so that all steps of a chain are tiled alike, and of main memory at most `ENOUGH`; tiles take half.
        overlap: the share of a tile that it has in common with its neighbour along each axis.
    """

    def __init__(self, *, memory: int | None = None, overlap: float = 0.5) -> None:
        self.memory, self.overlap = memory, overlap
        self._bounds: dict[torch.device, int] = {}
        self._measured: dict[int, tuple[int, int]] = {}  # by the side of the trial: pixels, bytes

    def __call__(self, network: Network, canvas: Tensor) -> Tensor:
        """The network's answer for the whole canvas."""
        pixels = self._affordable(network, canvas)
        shape = tuple(canvas.shape[2:])
        if math.prod(shape) * len(canvas) <= pixels:
            return network(canvas)
        if math.prod(shape) <= pixels:
            return torch.cat([network(canvas[row : row + 1]) for row in range(len(canvas))])
        tile = tile_shape(shape, pixels / 2 if self.memory is None else pixels)  # the sum of the tiles lies beside them
        return torch.cat([self._tiled(network, canvas[row : row + 1], tile) for row in range(len(canvas))])

    def find(self, finder: Finder, canvas: Tensor) -> Objects:
        """The objects in one image (1, C, *S), gathered from overlapping windows where it does not fit as a whole."""

        def network(piece: Tensor) -> Tensor:
            finder(piece)
            return piece

        shape = tuple(canvas.shape[2:])
        pixels = self._affordable(network, canvas)
        if math.prod(shape) <= pixels:
            return finder(canvas)
        tile = tile_shape(shape, pixels)
        windows = []
        for place in places(shape, tile, self.overlap):
            cut: tuple[Any, ...] = (..., *(slice(s, s + n) for s, n in zip(place, tile, strict=True)))
            windows.append((place, tile, finder(canvas[cut])))
        return gather(windows, shape)

    def _tiled(self, network: Network, canvas: Tensor, tile: tuple[int, ...]) -> Tensor:
        weight = bell(tile).to(canvas.device)
        total: Tensor | None = None
        seen = torch.zeros(canvas.shape[2:], device=canvas.device)
        for place in places(tuple(canvas.shape[2:]), tile, self.overlap):
            window: tuple[Any, ...] = (
                ...,
                *(slice(start, start + length) for start, length in zip(place, tile, strict=True)),
            )
            out = network(canvas[window]).float()
            if total is None:
                total = torch.zeros((1, out.shape[1], *canvas.shape[2:]), device=canvas.device)
            total[window] += out * weight
            seen[window[1:]] += weight
        if total is None:
            raise ValueError("an empty canvas has no tiles")
        return total / seen

    def _affordable(self, network: Network, canvas: Tensor) -> float:
        """Pixels that go through the network together, by two trials at most.

        The second one is spared where the canvas fits even if all memory grew with the square of the pixels, and where
        the piece itself may not fit.
        """
        bound, shape = self._bound(canvas.device), canvas.shape[2:]
        self._try(network, canvas, TRIALS[0])
        tried, taken = self._measured[TRIALS[0]]
        more = math.prod(min(n, TRIALS[1]) for n in shape)
        if more >= 2 * tried and 2 * taken * more / tried <= bound < taken * (math.prod(shape) / tried) ** 2:
            self._try(network, canvas, TRIALS[1])
        return max(affordable(list(self._measured.values()), bound), float(STEP**2))

    def _try(self, network: Network, canvas: Tensor, side: int) -> None:
        trial = canvas[(slice(0, 1), slice(None), *(slice(0, side) for _ in canvas.shape[2:]))]
        pixels = math.prod(trial.shape[2:])
        if pixels > self._measured.get(side, (0, 0))[0]:  # of a tiny canvas most may be padding
            self._measured[side] = pixels, peak_bytes(network, trial)

    def _bound(self, device: torch.device) -> int:
        if self.memory is not None:
            return self.memory
        if device not in self._bounds:
            self._bounds[device] = _free(device) // 2
        return self._bounds[device]


def affordable(measured: Sequence[tuple[int, int]], bound: int) -> float:
    """The pixels p at which a p + b p² bytes reach the bound, where b, of attention, is not below 0.

    Args:
        measured: pixels and bytes of one trial, or of two that rise.
        bound: bytes.
    """
    pixels, taken = measured[-1]
    square = 0.0
    if len(measured) > 1 and pixels > measured[0][0]:
        fewer, less = measured[0]
        square = max(0.0, (taken / pixels - less / fewer) / (pixels - fewer))
    linear = max(0.0, taken / pixels - square * pixels)
    return bound / linear if square == 0 else (math.sqrt(linear**2 + 4 * square * bound) - linear) / (2 * square)


def _free(device: torch.device) -> int:
    """Bytes that can be had on `device`, what torch holds of a GPU without using it included."""
    if device.type != "cuda":
        return min(memory_free(), 2 * ENOUGH)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


def tile_shape(shape: tuple[int, ...], pixels: float) -> tuple[int, ...]:
    """The largest tile of at most `pixels` pixels: the longest axes are cut first, to multiples of `STEP`."""
    tile = list(shape)
    while math.prod(tile) > pixels and max(tile) > STEP:
        axis = tile.index(max(tile))
        tile[axis] = max(STEP, (tile[axis] - 1) // STEP * STEP)
    return tuple(tile)


def places(shape: tuple[int, ...], tile: tuple[int, ...], overlap: float) -> Iterator[tuple[int, ...]]:
    """Where tiles start: evenly spread, at least `overlap` in common, the last one flush with the border."""
    starts = []
    for n, t in zip(shape, tile, strict=True):
        count = 1 if t >= n else math.ceil((n - t) / max(t * (1 - overlap), 1)) + 1
        starts.append([round(i * (n - t) / max(count - 1, 1)) for i in range(count)])
    return product(*starts)


def bell(tile: tuple[int, ...]) -> Tensor:
    """A Gaussian weight (*tile), an eighth of the tile as deviation, nowhere below 1e-3."""
    weight = torch.ones(())
    for length in tile:
        axis = torch.arange(length) - (length - 1) / 2
        weight = weight[..., None] * torch.exp(-0.5 * (axis / (length / 8)).square())
    return weight.clamp(min=1e-3)


class _Live(TorchDispatchMode):
    """Adds up the memory of the tensors that are alive, and remembers the most there was."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = 0
        self.most = 0
        self._seen: set[int] = set()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: skipping would import torch's compiler, which takes more than a second."""
        return False

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, list | tuple) else (out,):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                pointer = storage._cdata
                if pointer not in self._seen:
                    self._seen.add(pointer)
                    size = storage.nbytes()
                    self.live += size
                    self.most = max(self.most, self.live)
                    weakref.finalize(storage, self._gone, pointer, size)
        return out

    def _gone(self, pointer: int, size: int) -> None:
        self._seen.discard(pointer)
        self.live -= size


def peak_bytes(network: Network, canvas: Tensor) -> int:
    """The most memory that the tensors of a forward pass take together, the canvas and the answer included.

    The pass leaves torch's random numbers as they were: it may be the first of many, and one with dropout.
    """
    devices = [canvas.device] if canvas.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.no_grad(), _Live() as live:
        answer = network(canvas)
    return max(live.most, answer.nbytes) + canvas.nbytes
