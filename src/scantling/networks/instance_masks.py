"""Masks of objects by networks of their own: three 1 x 1 convolutions each, whose weights another network says."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scantling.core.errors import ArrayError
from scantling.networks.box_pyramid import groups


class MaskBranch(nn.Module):
    """The map that all instances share, (B, outputs, h, w) on the grid of the finest of several maps.

    Each map is projected, brought onto the finest grid (`aligned_bilinear`) and added; four convolutions follow and a
    last one of a single pixel (Gu et al., 2022, DiffusionInst; Tian et al., 2020, CondInst). Group norm in place of
    batch norm (ours).

    Args:
        inputs: the channels of the maps, the finest first, each half as large as the one before.
        width: of the projections and convolutions.
        outputs: channels of the answer.
    """

    def __init__(self, inputs: Sequence[int], *, width: int = 128, outputs: int = 8) -> None:
        super().__init__()
        self.project = nn.ModuleList(convolved(channels, width) for channels in inputs)
        self.mix = nn.Sequential(*(convolved(width, width) for _ in range(4)), nn.Conv2d(width, outputs, 1))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """See the class."""
        layers = [project(each) for project, each in zip(self.project, maps, strict=True)]
        summed = layers[0]
        for level, layer in enumerate(layers[1:], start=1):
            summed = summed + aligned_bilinear(layer, 2**level)
        return torch.as_tensor(self.mix(summed))


def convolved(inputs: int, outputs: int) -> nn.Sequential:
    """A 3 x 3 convolution, group norm and a ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.GroupNorm(groups(outputs), outputs), nn.ReLU()
    )


def aligned_bilinear(x: Tensor, factor: int) -> Tensor:
    """(B, C, h · factor, w · factor), in which pixel k of x lies on pixel k · factor + factor // 2 (CondInst).

    That is where the centre of a cell of a strided map lies. What is beyond the outermost centres repeats them.
    """
    if factor == 1:
        return x
    size = [n * factor for n in x.shape[2:]]
    grown = F.pad(x, (0, 1, 0, 1), mode="replicate")
    fine = F.interpolate(grown, [n + 1 for n in size], mode="bilinear", align_corners=True)
    before = factor // 2
    return F.pad(fine, (before, 0, before, 0), mode="replicate")[..., : size[0], : size[1]]


def kernel_sizes(inputs: int = 8, width: int = 8) -> tuple[tuple[int, int], ...]:
    """The outputs and inputs of the three convolutions: (8 · 8 + 8) + (8 · 8 + 8) + (8 · 1 + 1) = 153 numbers."""
    return ((width, inputs), (width, width), (1, width))


def kernel_length(inputs: int = 8, width: int = 8) -> int:
    """How many numbers describe the mask network of an instance.

    Example:
        >>> from scantling.networks.instance_masks import kernel_length
        >>> kernel_length()
        153
    """
    return sum(rows * columns + rows for rows, columns in kernel_sizes(inputs, width))


def unpacked(kernels: Tensor, inputs: int = 8, width: int = 8) -> list[tuple[Tensor, Tensor]]:
    """The weights (n, outputs, inputs) and biases (n, outputs) of each convolution, of vectors (n, 153).

    Raises:
        ArrayError: the vectors have another length.
    """
    sizes = kernel_sizes(inputs, width)
    parts = [n for rows, columns in sizes for n in (rows * columns, rows)]
    if kernels.ndim != 2 or kernels.shape[1] != sum(parts):
        raise ArrayError(f"kernels: found the shape {tuple(kernels.shape)}; expected (n, {sum(parts)})")
    each = kernels.split(parts, dim=1)
    return [(each[2 * i].view(-1, rows, columns), each[2 * i + 1]) for i, (rows, columns) in enumerate(sizes)]


def packed(layers: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """The vectors (n, 153) of weights and biases: the inverse of `unpacked`."""
    return torch.cat([part.flatten(1) for layer in layers for part in layer], 1)


def instance_logits(features: Tensor, kernels: Tensor, width: int = 8) -> Tensor:
    """The logits (n, h, w) of the masks of n instances over the whole map.

    The three convolutions of every instance, with a ReLU between them: what a grouped convolution with a group for each
    instance gives.

    Args:
        features: (n, C, h, w), what each instance sees, or (1, C, h, w) if all see the same.
        kernels: (n, 153), see `unpacked`.
    """
    x = features.flatten(2)
    layers = unpacked(kernels, features.shape[1], width)
    for place, (weight, bias) in enumerate(layers):
        x = weight @ x + bias[:, :, None]
        x = x.relu() if place < len(layers) - 1 else x
    return x[:, 0].unflatten(1, features.shape[2:])
