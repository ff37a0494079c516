"""From noisy boxes to objects: heads that each read what lies in the boxes, move them, and say what is there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from scantling.networks.denoiser import sinusoid
from scantling.networks.instance_masks import kernel_length
from scantling.networks.roi_align import CELLS, RoIAlign

WEIGHTS = (2.0, 2.0, 1.0, 1.0)
"""By these the four numbers that move a box are divided (Ren et al., 2015; as Sparse R-CNN has them)."""
LARGEST = math.log(100_000 / 16)
"""No box grows by more than this at a time, in logarithms."""
PRIOR = 0.01
"""How likely an object is at first (Lin et al., 2017, focal loss)."""


@dataclass(frozen=True)
class Found:
    """What a head says of N proposals in each of B images.

    Attributes:
        logits: (B, N, classes).
        boxes: (B, N, 4) top, left, bottom, right in pixels.
        kernels: (B, N, K), see `instance_masks.unpacked`.
    """

    logits: Tensor
    boxes: Tensor
    kernels: Tensor


class DynamicConvolution(nn.Module):
    """What a proposal makes of its cells: two convolutions whose weights it says itself (Sun et al., 2021).

    width → inner → width, each with layer norm and a ReLU, then all cells at once to `width`.
    """

    def __init__(self, width: int, inner: int, cells: int) -> None:
        super().__init__()
        self.inner = inner
        self.weights = nn.Linear(width, 2 * width * inner)
        self.norms = nn.ModuleList([nn.LayerNorm(inner), nn.LayerNorm(width)])
        self.out = nn.Sequential(nn.Linear(width * cells, width), nn.LayerNorm(width), nn.ReLU())

    def forward(self, proposal: Tensor, cells: Tensor) -> Tensor:
        """(n, width) of proposals (n, width) and their cells (n, cells, width)."""
        width = proposal.shape[1]
        first, second = self.weights(proposal).split(width * self.inner, dim=1)
        x = self.norms[0](cells @ first.view(-1, width, self.inner)).relu()
        x = self.norms[1](x @ second.view(-1, self.inner, width)).relu()
        return torch.as_tensor(self.out(x.flatten(1)))


class BoxHead(nn.Module):
    """One of the heads (Chen et al., 2023, DiffusionDet), with a mask network for each proposal (Gu et al., 2022).

    Self-attention among the proposals of an image, a dynamic convolution with what lies in each box, a feed-forward
    network, a scale and a shift by the timestep; then towers for class, box and kernel. With a condition, what the last
    map of the encoder shows in each box joins the cells before all that, and their mean the proposal before the dynamic
    convolution, each through a projection of both (Sun et al., 2023: at the input and at the bottleneck; where, ours).
    """

    def __init__(
        self,
        width: int,
        inner: int,
        hidden: int,
        *,
        heads: int,
        classes: int,
        kernels: int,
        cells: int,
        condition: bool,
    ) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.dynamic = DynamicConvolution(width, inner, cells)
        self.feed = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.timestep = nn.Sequential(nn.SiLU(), nn.Linear(4 * width, 2 * width))
        self.join = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(2)) if condition else None
        self.class_tower, self.box_tower, self.kernel_tower = tower(width, 1), tower(width, 3), tower(width, 1)
        self.classes, self.move = nn.Linear(width, classes), nn.Linear(width, 4)
        self.kernels = nn.Linear(width, kernels)
        nn.init.constant_(self.classes.bias, -math.log((1 - PRIOR) / PRIOR))

    def forward(
        self, boxes: Tensor, proposals: Tensor | None, cells: Tensor, condition: Tensor | None, time: Tensor
    ) -> tuple[Found, Tensor]:
        """What it says of boxes (B, N, 4), and the features (B, N, width) for the next head.

        Args:
            proposals: (B, N, width) of the head before; of the first head None, which takes the mean of the cells.
            cells: (B · N, cells, width).
            condition: the same, of the last map of the encoder.
            time: (B, 4 · width).
        """
        count, number, width = *boxes.shape[:2], cells.shape[2]
        if self.join is not None and condition is not None:
            cells = self.join[0](torch.cat([cells, condition], 2))
        x = cells.mean(1).view(count, number, width) if proposals is None else proposals
        x = self.norms[0](x + self.attention(x, x, x)[0]).flatten(0, 1)
        if self.join is not None and condition is not None:
            x = self.join[1](torch.cat([x, condition.mean(1)], 1))
        x = self.norms[1](x + self.dynamic(x, cells))
        x = self.norms[2](x + self.feed(x)).view(count, number, width)
        scale, shift = self.timestep(time)[:, None].chunk(2, dim=2)
        y = x * (1 + scale) + shift
        found = Found(
            self.classes(self.class_tower(y)), moved(boxes, self.move(self.box_tower(y))),
            self.kernels(self.kernel_tower(y)),
        )  # fmt: skip
        return found, x


class BoxDecoder(nn.Module):
    """Heads one after the other, each with weights of its own; boxes go on without their gradient (DiffusionDet).

    Args:
        last: channels of the last map of the encoder, which conditions it; None for no condition.
        width: of the maps of the pyramid and of the proposals.
        inner: channels between the two dynamic convolutions.
        hidden: of the feed-forward networks.
        count: of the heads.
        heads: of self-attention, a divisor of `width`.
        classes: of objects.
        kernels: numbers of the mask network of each proposal.
        cells: of RoIAlign along each axis.
        canonical: see `RoIAlign`.
    """

    def __init__(
        self,
        *,
        last: int | None,
        width: int = 256,
        inner: int = 64,
        hidden: int = 2048,
        count: int = 6,
        heads: int = 8,
        classes: int = 1,
        kernels: int = kernel_length(),
        cells: int = 7,
        canonical: int = CELLS,
    ) -> None:
        super().__init__()
        self.width, self.cells, self.canonical = width, cells, canonical
        self.time = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, 4 * width))
        self.condition = nn.Conv2d(last, width, 1) if last is not None else None
        self.heads = nn.ModuleList(
            BoxHead(
                width, inner, hidden, heads=heads, classes=classes, kernels=kernels, cells=cells**2,
                condition=last is not None,
            )
            for _ in range(count)
        )  # fmt: skip

    def reading(self, maps: Sequence[Tensor], last: Tensor, strides: Sequence[int]) -> tuple[RoIAlign, RoIAlign | None]:
        """What reads boxes from the maps of the pyramid, and from the last one of the encoder: once for an image."""
        pyramid = RoIAlign(maps, strides=strides, output=self.cells, canonical=self.canonical)
        if self.condition is None:
            return pyramid, None
        return pyramid, RoIAlign([self.condition(last)], strides=strides[-1:], output=self.cells)

    def forward(self, boxes: Tensor, timestep: Tensor, reading: tuple[RoIAlign, RoIAlign | None]) -> list[Found]:
        """What each head says of boxes (B, N, 4) in pixels, noised to timesteps (B,)."""
        dtype = next(self.time.parameters()).dtype
        time = self.time(sinusoid(timestep, self.width).to(dtype))
        image = torch.arange(len(boxes), device=boxes.device).repeat_interleave(boxes.shape[1])
        found, proposals = list[Found](), None
        for head in self.heads:
            flat = boxes.flatten(0, 1)
            cells, condition = (None if read is None else read(flat, image).to(dtype) for read in reading)
            one, proposals = head(boxes, proposals, cells, condition, time)
            found.append(one)
            boxes = one.boxes.detach()
        return found


def moved(boxes: Tensor, offsets: Tensor) -> Tensor:
    """Boxes (..., 4) moved by offsets (..., 4): centres by shares of the lengths, lengths by their logarithms."""
    offsets = offsets.to(boxes.dtype) / offsets.new_tensor(WEIGHTS)
    length = boxes[..., 2:] - boxes[..., :2]
    centre = boxes[..., :2] + length / 2 + offsets[..., :2] * length
    half = length * offsets[..., 2:].clamp(max=LARGEST).exp() / 2
    return torch.cat([centre - half, centre + half], -1)


def tower(width: int, depth: int) -> nn.Sequential:
    """Linear layers without bias, each with layer norm and a ReLU."""
    layers = [(nn.Linear(a, b, bias=False), nn.LayerNorm(b), nn.ReLU()) for a, b in pairwise([width] * (depth + 1))]
    return nn.Sequential(*(layer for each in layers for layer in each))
