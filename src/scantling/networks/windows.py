"""Tokens on a grid, after the Swin transformer: attention inside windows, and grids that grow coarser and finer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class WindowAttention(nn.Module):
    """A norm, then attention inside windows, with a learned bias for each relative position (Liu et al., 2021, Swin).

    A window is never larger than the map. A map that windows do not divide is padded, and nobody sees the padding;
    shifted windows that reach around the border fall into parts that do not see each other.

    Args:
        width: channels of a token.
        window: the side of a window.
        heads: of the attention.
        shifted: by half a window, along the axes that a window does not fill.
    """

    def __init__(self, width: int, *, window: int, heads: int, shifted: bool = False) -> None:
        super().__init__()
        self.window, self.heads, self.shifted = window, heads, shifted
        self.norm = nn.LayerNorm(width)
        self.tell, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.bias = nn.Parameter(0.02 * torch.randn(2 * window - 1, 2 * window - 1, heads))

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) as it came."""
        size = x.shape[1:3]
        side = tuple(min(self.window, n) for n in size)
        shift = tuple(s // 2 if self.shifted and s < n else 0 for s, n in zip(side, size, strict=True))
        pads = tuple(-n % s for s, n in zip(side, size, strict=True))
        # 1. cut into windows
        h = F.pad(self.norm(x), (0, 0, 0, pads[1], 0, pads[0])).roll((-shift[0], -shift[1]), (1, 2))
        rows, columns = h.shape[1] // side[0], h.shape[2] // side[1]
        h = h.unflatten(2, (columns, side[1])).unflatten(1, (rows, side[0])).transpose(2, 3)  # (B, r, c, s, s, C)
        # 2. attend; windows and heads stand on one axis, M = rows * columns * heads
        three = self.tell(h.flatten(3, 4).flatten(1, 2)).unflatten(-1, (3, self.heads, -1))  # (B, r c, T, 3, heads, d)
        query, key, value = three.permute(3, 0, 1, 4, 2, 5).flatten(2, 3)  # (B, M, T, d) each
        mask = self.biases(side).expand(rows * columns, -1, -1, -1)  # (r c, heads, T, T)
        if any(shift) or any(pads):
            mask = mask.masked_fill(~together(size, side, shift, pads, x.device)[:, None], -torch.inf)
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=mask.flatten(0, 1)[None].to(query.dtype))
        # 3. and put them back
        h = self.out(seen.unflatten(1, (rows * columns, self.heads)).transpose(2, 3).flatten(3))  # (B, r c, T, C)
        h = h.unflatten(2, side).unflatten(1, (rows, columns)).transpose(2, 3).flatten(3, 4).flatten(1, 2)
        return h.roll(shift, (1, 2))[:, : size[0], : size[1]]

    def biases(self, side: tuple[int, ...]) -> Tensor:
        """(heads, T, T) for a window of `side`, T tokens."""
        rows, columns = (
            torch.arange(n, device=self.bias.device)[:, None] - torch.arange(n, device=self.bias.device) for n in side
        )
        at = self.window - 1
        table = self.bias[rows[:, None, :, None] + at, columns[None, :, None, :] + at]  # (s, s, s, s, heads)
        return table.flatten(2, 3).flatten(0, 1).movedim(-1, 0)


def together(
    size: Sequence[int], side: Sequence[int], shift: Sequence[int], pads: Sequence[int], device: torch.device
) -> Tensor:
    """Which tokens of each window see each other (windows, T, T), in a map of `size` after padding and rolling."""
    parts = []
    for n, s, moved, pad in zip(size, side, shift, pads, strict=True):
        place = torch.arange(n + pad, device=device)
        wrapped = (place >= n + pad - moved).long()
        padding = (place + moved) % (n + pad) >= n
        parts.append(torch.where(padding, 2, wrapped).view(-1, s))  # (windows along the axis, s)
    part = (3 * parts[0][:, None, :, None] + parts[1][None, :, None, :]).flatten(2, 3).flatten(0, 1)  # (windows, T)
    return part[:, :, None] == part[:, None, :]


class PatchMerging(nn.Module):
    """Four neighbours become one token (Liu et al., 2021, Swin)."""

    def __init__(self, width: int, below: int) -> None:
        super().__init__()
        self.norm, self.reduce = nn.LayerNorm(4 * width), nn.Linear(4 * width, below, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H / 2, W / 2, below) of (B, H, W, C)."""
        four = x.unflatten(2, (-1, 2)).unflatten(1, (-1, 2)).transpose(2, 3)  # (B, H / 2, W / 2, 2, 2, C)
        out: Tensor = self.reduce(self.norm(four.flatten(3)))
        return out


class PatchExpanding(nn.Module):
    """A token becomes factor² neighbours (Cao et al., 2022, Swin-Unet)."""

    def __init__(self, width: int, above: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.expand, self.norm = nn.Linear(width, factor**2 * above, bias=False), nn.LayerNorm(above)

    def forward(self, x: Tensor) -> Tensor:
        """(B, factor H, factor W, above) of (B, H, W, C)."""
        out: Tensor = self.norm(spread(self.expand(x), self.factor))
        return out


def spread(x: Tensor, factor: int) -> Tensor:
    """(B, factor H, factor W, C) of (B, H, W, factor² C)."""
    many = x.unflatten(-1, (factor, factor, -1))  # (B, H, W, f, f, C)
    return many.transpose(2, 3).flatten(3, 4).flatten(1, 2)
