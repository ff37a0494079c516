"""Networks that look at frequencies: a learned filter, a filter that a network decides, attention between spectra."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from scantling.networks.denoiser import sinusoid
from scantling.networks.residual_blocks import norm, zeroed

Filter = Literal["band-pass", "sine"]
"""What is done to an affinity among the frequencies: the text of MedSegDiff-V2 has a filter, its figure a sine."""


class FFParser(nn.Module):
    r"""A learned filter, one complex weight for each channel and frequency (Wu et al., 2023, MedSegDiff).

    .. math:: m' = F^{-1}(A \otimes F(m))

    A starts at 1, so that nothing is filtered. Departures from the authors' code, ours: images of any size, since A
    is interpolated between the frequencies of `size`; and that code starts near A = 0, which closes the path.

    Args:
        channels: C.
        size: (H, W) at which A has a weight of its own for each frequency.
    """

    def __init__(self, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size
        one = torch.ones(channels, size[0], size[1] // 2 + 1)
        self.weight = nn.Parameter(torch.stack([one, torch.zeros_like(one)]))  # real and imaginary part

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) filtered, real."""
        height, width = x.shape[2:]
        spectrum = torch.fft.rfft2(_exact(x), norm="ortho")  # (B, C, H, W/2 + 1)
        filtered: Tensor = torch.fft.irfft2(spectrum * self.at(height, width), s=(height, width), norm="ortho")
        return filtered.to(x.dtype)

    def at(self, height: int, width: int) -> Tensor:
        """A for images of this size: (C, H, W/2 + 1) complex, linear between the frequencies in cycles per pixel."""
        weight: Tensor = self.weight
        if (height, width) != self.size:
            rows = torch.fft.fftfreq(height, dtype=torch.float64) % 1 * self.size[0]  # a spectrum is periodic
            columns = (torch.fft.rfftfreq(width, dtype=torch.float64) * self.size[1]).clamp(max=weight.shape[3] - 1)
            weight = _between(_between(weight, 2, rows), 3, columns)
        return torch.complex(weight[0], weight[1])


class BandPass(nn.Module):
    r"""A filter that a network decides from what it filters and from the timestep (Wu et al., 2024, MedSegDiff-V2).

    .. math:: M' = M \otimes \sigma(f(M, t))

    f is a row of 3 x 3 convolutions, each with layer norm, a scale and a shift that the timestep says, and SiLU; a
    1 x 1 convolution ends it. Real and imaginary part of M are channels; M' keeps the phase of M.

    Args:
        heads: channels of M.
        layers: of f.
        width: channels of f.
        code: numbers that stand for the timestep.
    """

    def __init__(self, heads: int, *, layers: int, width: int, code: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(2 * heads if n == 0 else width, width, 3, padding=1) for n in range(layers)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(1, width, affine=False) for _ in range(layers))
        self.codes = nn.ModuleList(nn.Linear(code, 2 * width) for _ in range(layers))
        self.last = nn.Conv2d(width, heads, 1)

    def forward(self, affinity: Tensor, code: Tensor) -> Tensor:
        """M' (B, heads, N, M) complex of M (B, heads, N, M) complex and the code (B, code) of the timestep."""
        return affinity * self.passed(affinity, code)

    def passed(self, affinity: Tensor, code: Tensor) -> Tensor:
        """The share of each frequency that is kept, (B, heads, N, M) in (0, 1)."""
        h = torch.cat([affinity.real, affinity.imag], 1)
        for conv, layer_norm, modulation in zip(self.convs, self.norms, self.codes, strict=True):
            scale, shift = modulation(code)[:, :, None, None].chunk(2, 1)
            h = nn.functional.silu(layer_norm(conv(h)) * (1 + scale) + shift)
        return _exact(self.last(h)).sigmoid()


class Sine(nn.Module):
    """The periodic activation that the figure of MedSegDiff-V2 draws; on real and imaginary part each, which is ours.

    The spectrum of something real stays one.
    """

    def forward(self, affinity: Tensor, code: Tensor) -> Tensor:
        """M' (B, heads, N, M) complex of M (B, heads, N, M) complex, at any timestep."""
        del code
        return torch.complex(affinity.real.sin(), affinity.imag.sin())


class SpectralAttention(nn.Module):
    r"""One map asks another; who listens to whom is filtered among the frequencies (Wu et al., 2024, MedSegDiff-V2).

    .. math:: M = \hat q^T \hat k / \sqrt d, \quad \hat q = A_q \otimes F(x W_q), \; \hat k = A_k \otimes F(y W_k),
              \quad \text{message} = F^{-1}(M') \, y W_v

    with M' of `BandPass` or `Sine`, and no softmax. F acts on the grid of tokens (the paper does not say which axes it
    takes): M holds, for each frequency of the queries, each frequency of the keys, and its inverse over both is real,
    since only half of M is kept. With M' = M this is the plain product of queries and keys in space.

    The timestep scales and shifts the message, then a small network follows, both added to the queries' map. Ours:
    these sums, and group norm where an instance norm would take away what all tokens have in common.

    Args:
        width: channels C of both maps.
        size: (H, W) of the grid at which A_q and A_k are stored.
        heads: they share the channels.
        layers: of the filter.
        hidden: channels of the filter.
        code: numbers that stand for the timestep.
        kind: of filter.
    """

    def __init__(
        self,
        width: int,
        size: tuple[int, int],
        *,
        heads: int,
        layers: int,
        hidden: int,
        code: int,
        kind: Filter = "band-pass",
    ) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(norm(width) for _ in range(2))
        self.query, self.key = (
            nn.Sequential(nn.Conv2d(width, width, 1, bias=False), FFParser(width, size)) for _ in range(2)
        )
        self.value = nn.Conv2d(width, width, 1, bias=False)
        self.filter = BandPass(heads, layers=layers, width=hidden, code=code) if kind == "band-pass" else Sine()
        self.modulation, self.norm = nn.Linear(code, 2 * width), norm(width)
        self.out = zeroed(nn.Conv2d(width, width, 1))
        self.refine = nn.Sequential(
            norm(width), nn.Conv2d(width, 4 * width, 1), nn.GELU(), zeroed(nn.Conv2d(4 * width, width, 1))
        )

    def forward(self, x: Tensor, y: Tensor, code: Tensor) -> Tensor:
        """x (B, C, H, W), with what it hears of y (B, C, H, W) at the timestep that the code (B, code) stands for."""
        scale, shift = self.modulation(code)[:, :, None, None].chunk(2, 1)
        x = x + self.out(self.norm(self.message(x, y, code)) * (1 + scale) + shift)
        refined: Tensor = x + self.refine(x)
        return refined

    def message(self, x: Tensor, y: Tensor, code: Tensor) -> Tensor:
        """What y tells x, (B, C, H, W)."""
        size = tuple(x.shape[2:])
        x, y = self.norms[0](x), self.norms[1](y)
        q, k, v = (of.unflatten(1, (self.heads, -1)) for of in (self.query(x), self.key(y), self.value(y)))
        # 1. to frequencies, all of the queries' and half of the keys'
        of_q = torch.fft.fft2(_exact(q), norm="ortho").flatten(3)  # (B, heads, d, N)
        of_k = torch.fft.rfft2(_exact(k), norm="ortho")  # (B, heads, d, H, W/2 + 1)
        half = tuple(of_k.shape[3:])
        affinity = of_q.transpose(2, 3) @ of_k.flatten(3) / math.sqrt(q.shape[2])  # (B, heads, N, N/2 + ...)
        # 2. filter, and back
        kept = self.filter(affinity, code).unflatten(3, half).unflatten(2, size)
        weights = torch.fft.irfftn(kept, s=(*size, *size), dim=(2, 3, 4, 5), norm="ortho").flatten(4).flatten(2, 3)
        # 3. each token gathers what the others say
        v = v.flatten(3).transpose(2, 3)  # (B, heads, N, d)
        attended: Tensor = weights.to(v.dtype) @ v
        return attended.transpose(2, 3).reshape(x.shape)


class SSFormer(nn.Module):
    """The spectrum-space transformer of Wu et al. (2024, MedSegDiff-V2): noise and image ask one another in turn.

    In each block the embedding of the noisy mask asks that of the image, and what comes of it asks the embedding of
    the noisy mask; the next block takes the answer for the image's. See `SpectralAttention` for the arguments.
    """

    def __init__(
        self,
        width: int,
        size: tuple[int, int],
        *,
        blocks: int = 4,
        heads: int = 8,
        layers: int = 6,
        hidden: int = 64,
        kind: Filter = "band-pass",
    ) -> None:
        super().__init__()
        self.width = width
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())

        def row() -> nn.ModuleList:
            return nn.ModuleList(
                SpectralAttention(width, size, heads=heads, layers=layers, hidden=hidden, code=width, kind=kind)
                for _ in range(blocks)
            )

        self.of_noise, self.of_image = row(), row()

    def forward(self, noisy: Tensor, seen: Tensor, timestep: Tensor) -> Tensor:
        """What goes on to the decoder (B, C, H, W).

        Args:
            noisy: e (B, C, H, W), the deepest embedding of the noisy mask.
            seen: c⁰ (B, C, H, W), the deepest embedding of the image.
            timestep: (B,).
        """
        code = self.time(sinusoid(timestep, self.width).to(next(self.parameters()).dtype))
        for of_noise, of_image in zip(self.of_noise, self.of_image, strict=True):
            mixed = of_noise(noisy, seen, code)  # c̃
            seen = of_image(mixed, noisy, code)  # c¹, c², ...
        return seen


def _between(values: Tensor, axis: int, positions: Tensor) -> Tensor:
    """`values` at fractional positions along an axis, which is periodic."""
    low, n = positions.floor().long(), values.shape[axis]
    share = (positions - low).to(values.dtype).view(-1, *[1] * (values.ndim - 1 - axis)).to(values.device)
    first, second = (values.index_select(axis, (at % n).to(values.device)) for at in (low, low + 1))
    return first.lerp(second, share.expand_as(first))


def _exact(x: Tensor) -> Tensor:
    """In float32, or float64 if it is: there is no transform in less."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
