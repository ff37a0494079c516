"""A denoiser of volumes that works within slices and looks along the depth by attention alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scantling.core.checks import check_input
from scantling.core.errors import ArrayError
from scantling.networks.denoiser import sinusoid
from scantling.networks.padding import cropped, padded
from scantling.networks.residual_blocks import zeroed

FARTHEST = 32
"""Slices farther apart than this have the position of this distance (ours)."""


class FactorisedUNet(nn.Module):
    """The 3-D U-Net of Medical Diffusion (Khader et al., 2023), after that of video diffusion (Ho et al., 2022).

    Convolutions are 1 x 3 x 3 and the stem 1 x 7 x 7, so that only the attention along the depth joins slices: each
    pixel looks at the pixels above and below it, with rotary and relative positions. Each level has two residual
    blocks, attention over the slice that is linear in its pixels, and attention along the depth; the middle has full
    attention over the slice. Only the plane is halved: the depth may be any number, and stays. Departure: the norms
    see one slice at a time, so that without attention along the depth slices know nothing of each other.

    Args:
        channels: of what comes in and goes out.
        width: channels at full resolution.
        multipliers: of `width`, for each level.
        heads, head_channels: of each attention.
        classes: image classes that it may be told; 0 for none.

    Example:
        >>> import torch
        >>> from scantling.networks import FactorisedUNet
        >>> network = FactorisedUNet(4, width=8, multipliers=(1, 2), heads=2, head_channels=4)
        >>> network(torch.zeros(1, 4, 5, 9, 8), torch.tensor([3])).shape
        torch.Size([1, 4, 5, 9, 8])
    """

    def __init__(
        self,
        channels: int,
        *,
        width: int = 32,
        multipliers: Sequence[int] = (1, 2, 4, 8),
        heads: int = 8,
        head_channels: int = 32,
        classes: int = 0,
    ) -> None:
        super().__init__()
        self.channels, self.classes = channels, classes
        code, widths = 4 * width, [width * times for times in multipliers]
        self.divisor = (1, *(2 ** (len(widths) - 1),) * 2)
        self.time = nn.Sequential(nn.Linear(width, code), nn.GELU(), nn.Linear(code, code))
        self.kinds = nn.Embedding(classes, code) if classes else None
        self.stem = nn.Conv2d(channels, width, 7, padding=3)

        def level(inputs: int, outputs: int, *, linear: bool = True) -> _Level:
            return _Level(inputs, outputs, code=code, heads=heads, head_channels=head_channels, linear=linear)

        self.width = width
        self.down = nn.ModuleList(level(a, b) for a, b in pairwise([width, *widths]))
        self.coarser = nn.ModuleList(nn.Conv2d(w, w, 4, stride=2, padding=1) for w in widths[:-1])
        self.middle = level(widths[-1], widths[-1], linear=False)
        self.up = nn.ModuleList(level(2 * b, a) for a, b in reversed([*pairwise([width, *widths])]))
        self.finer = nn.ModuleList(nn.ConvTranspose2d(w, w, 4, stride=2, padding=1) for w in reversed(widths[:-1]))
        self.last = _Block(2 * width, width, code=code)
        self.head = nn.Conv2d(width, channels, 1)

    def forward(self, x: Tensor, timestep: Tensor, kind: Tensor | None = None) -> Tensor:
        """The noise (B, channels, D, H, W) in a noisy x of that shape at timesteps (B,).

        Args:
            kind: (B,) int64, the number of the image class of each; where classes were named.

        Raises:
            ArrayError: x has other axes or channels than the network was made for, or there is not one timestep each,
                or not one class.
        """
        check_input(x.shape, channels=self.channels, spatial_dims=3, what="the noisy tensor")
        if len(timestep) not in (1, len(x)):
            raise ArrayError(f"found {len(timestep)} timesteps for {len(x)} samples; expected (B,), one for each")
        if (self.kinds is None) != (kind is None):
            raise ArrayError("an image class is named exactly where the network was made for some (classes)")
        size, depth = x.shape[2:], x.shape[2]
        code = self.time(sinusoid(timestep, self.width).to(self.stem.weight.dtype))
        if self.kinds is not None and kind is not None:
            code = code + self.kinds(kind)
        code = code.expand(len(x), -1).repeat_interleave(depth, 0)  # (B D, code)
        # 1. slices side by side
        h = self.stem(padded(x, self.divisor).transpose(1, 2).flatten(0, 1))  # (B D, width, H, W)
        first, skips = h, []
        # 2. encode, and the middle
        for number, level in enumerate(self.down):
            h = level(h, code, depth)
            skips.append(h)
            if number < len(self.coarser):
                h = self.coarser[number](h)
        h = self.middle(h, code, depth)
        # 3. decode
        for number, level in enumerate(self.up):
            h = level(torch.cat([h, skips.pop()], 1), code, depth)
            if number < len(self.finer):
                h = self.finer[number](h)
        out = self.head(self.last(torch.cat([h, first], 1), code))
        return cropped(out.unflatten(0, (-1, depth)).transpose(1, 2), size)


class _Level(nn.Module):
    """Two residual blocks, attention over the slice, and attention along the depth."""

    def __init__(self, inputs: int, outputs: int, *, code: int, heads: int, head_channels: int, linear: bool) -> None:
        super().__init__()
        self.first, self.second = _Block(inputs, outputs, code=code), _Block(outputs, outputs, code=code)
        kind = LinearAttention if linear else PlaneAttention
        self.plane = kind(outputs, heads=heads, head_channels=head_channels)
        self.depth = DepthAttention(outputs, heads=heads, head_channels=head_channels)

    def forward(self, x: Tensor, code: Tensor, depth: int) -> Tensor:
        """(B D, outputs, H, W) of x (B D, inputs, H, W), the code (B D, code) of each slice and D."""
        h = self.plane(self.second(self.first(x, code), code))
        out: Tensor = self.depth(h, depth)
        return out


class _Block(nn.Module):
    """Two 3 x 3 convolutions, each before a norm and SiLU; the timestep scales and shifts the first norm."""

    def __init__(self, inputs: int, outputs: int, *, code: int) -> None:
        super().__init__()
        groups = math.gcd(8, max(outputs // 2, 1))
        self.code = nn.Sequential(nn.SiLU(), nn.Linear(code, 2 * outputs))
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.norms = nn.ModuleList(nn.GroupNorm(groups, outputs) for _ in range(2))
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """(N, outputs, H, W) of x (N, inputs, H, W) and the code (N, code) of the timestep."""
        scale, shift = self.code(code)[..., None, None].chunk(2, 1)
        h = F.silu(self.norms[0](self.first(x)) * (1 + scale) + shift)
        h = F.silu(self.norms[1](self.second(h)))
        out: Tensor = h + self.skip(x)
        return out


class LinearAttention(nn.Module):
    """Attention over the pixels of a slice at a cost that is linear in them (Shen et al., 2021), added to what came.

    softmax(Q) over the channels of a head times the sum, over pixels, of softmax(K) over pixels times V.
    """

    def __init__(self, width: int, *, heads: int, head_channels: int) -> None:
        super().__init__()
        self.heads, hidden = heads, heads * head_channels
        self.norm = nn.GroupNorm(1, width)
        self.tell = nn.Conv2d(width, 3 * hidden, 1, bias=False)
        self.out = nn.Conv2d(hidden, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) as it came."""
        told = self.tell(self.norm(x)).flatten(2).unflatten(1, (3, self.heads, -1))  # (N, 3, heads, c, H W)
        q, k, v = told.unbind(1)
        q = q.softmax(2) * q.shape[2] ** -0.5
        context = torch.einsum("nhcp,nhdp->nhcd", k.softmax(3), v)
        seen = torch.einsum("nhcd,nhcp->nhdp", context, q)
        attended: Tensor = self.out(seen.flatten(1, 2).view(len(x), -1, *x.shape[2:]))
        return x + attended


class PlaneAttention(nn.Module):
    """Every pixel of a slice looks at every other (Vaswani et al., 2017), added to what it was."""

    def __init__(self, width: int, *, heads: int, head_channels: int) -> None:
        super().__init__()
        self.heads, hidden = heads, heads * head_channels
        self.norm = nn.GroupNorm(1, width)
        self.tell = nn.Linear(width, 3 * hidden, bias=False)
        self.out = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) as it came."""
        tokens = self.norm(x).flatten(2).transpose(1, 2)  # (N, H W, C)
        q, k, v = self.tell(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return x + self.out(seen).transpose(1, 2).reshape(x.shape)


class DepthAttention(nn.Module):
    """Each pixel looks along the depth at those above and below it, added to what it was.

    Positions are told twice, as in the authors' network: queries and keys are rotated by the number of their slice (Su
    et al., 2021), and every head has a bias for each distance with its sign (Shaw et al., 2018). The last layer begins
    at zero (ours), so that slices begin apart.
    """

    def __init__(self, width: int, *, heads: int, head_channels: int) -> None:
        super().__init__()
        self.heads, hidden = heads, heads * head_channels
        self.norm = nn.GroupNorm(1, width)
        self.tell = nn.Linear(width, 3 * hidden, bias=False)
        self.bias = nn.Parameter(torch.zeros(heads, 2 * FARTHEST + 1))
        self.out = zeroed(nn.Linear(hidden, width, bias=False))

    def forward(self, x: Tensor, depth: int) -> Tensor:
        """(B D, C, H, W) as it came, of D slices a volume."""
        # each pixel of the plane is a row of D tokens
        tokens = self.norm(x).unflatten(0, (-1, depth)).permute(0, 3, 4, 1, 2)  # (B, H, W, D, C)
        shape = tokens.shape[:3]
        q, k, v = self.tell(tokens.flatten(0, 2)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        places = torch.arange(depth, device=x.device)
        far = (places[None] - places[:, None]).clamp(-FARTHEST, FARTHEST) + FARTHEST
        seen = F.scaled_dot_product_attention(rotated(q), rotated(k), v, attn_mask=self.bias[:, far][None].to(q.dtype))
        out = self.out(seen.transpose(1, 2).flatten(2)).unflatten(0, shape)  # (B, H, W, D, C)
        return x + out.permute(0, 3, 4, 1, 2).flatten(0, 1)


def rotated(x: Tensor) -> Tensor:
    """Vectors (..., D, C), each pair of numbers turned by an angle that grows with its place in D (Su et al., 2021)."""
    places, half = x.shape[-2], x.shape[-1] // 2
    if not half:
        return x
    frequencies = 10_000.0 ** (-torch.arange(half, device=x.device, dtype=torch.float32) / half)
    angle = torch.arange(places, device=x.device, dtype=torch.float32)[:, None] * frequencies
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return torch.cat([a * cos - b * sin, a * sin + b * cos, rest], -1)
