"""The diffusion transformer U-Net: tokens of a noisy mask look at the image, then at each other in several windows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scantling.core.checks import check_input
from scantling.networks.denoiser import sinusoid
from scantling.networks.padding import cropped, padded
from scantling.networks.pyramid import Residual
from scantling.networks.residual_blocks import zeroed
from scantling.networks.windows import PatchExpanding, PatchMerging, WindowAttention, spread

PLACE = 4.0
"""How much louder than the content a token of the cross-attention says where it is, at the start; ours."""
SHARPNESS = 3.0
"""How much larger queries and keys of the cross-attention start than tokens; ours."""


class DiffusionTransformerUNet(nn.Module):
    """Cross-attention, then a U-Net of multi-size window transformers (Chowdary and Yin, 2023, figures 1 to 3).

    The paper leaves open, and ours is: the encoders, a convolution that takes every `stride`-th pixel and residual
    blocks; the timestep, which every multi-size block finds added to its tokens; positions as sines and cosines, so
    that any size will do; how the last patch expanding comes to full resolution. The paper's fourth patch merging is
    left out, as in Swin-Unet: no block would stand below it.

    Args:
        in_channels: of the image.
        mask_channels: of the noisy mask.
        out_channels: of the answer.
        widths: channels of each level.
        heads: of the attention of the first level, doubled from level to level.
        windows: the side of the windows of each of the K branches, in tokens.
        blocks: multi-size blocks a level, in the encoder and in the decoder.
        features: channels c1 of the image's encoder and c2 of the mask's.
        depths: residual blocks of the two encoders.
        stride: of the two encoders.
        token: the side of the patches that the cross-attention makes tokens of, in pixels of the features.
        partition: the side of the patches that enter the U-Net, in pixels of the features.
        cross_attention: whether the mask looks at the image by `CrossAttention`, or `Beside` stacks their features.
        scaled: whether each branch carries 1 / K of what comes in, so that K of them add up to it.
        dropout: probability, inside the MLPs.

    The defaults are the paper's, as far as it says them.

    Example:
        >>> import torch
        >>> from scantling.networks import DiffusionTransformerUNet
        >>> network = DiffusionTransformerUNet(3, widths=(16, 32), heads=2, features=(8, 8), depths=(1, 1))
        >>> image, noisy = torch.zeros(1, 3, 40, 50), torch.randn(1, 1, 40, 50)
        >>> network(noisy, network.see(image), torch.tensor([10])).shape
        torch.Size([1, 1, 40, 50])
    """

    def __init__(
        self,
        in_channels: int,
        mask_channels: int = 1,
        out_channels: int = 1,
        *,
        widths: Sequence[int] = (96, 192, 384, 768),
        heads: int = 3,
        windows: Sequence[int] = (4, 8),
        blocks: int = 1,
        features: tuple[int, int] = (96, 96),
        depths: tuple[int, int] = (2, 2),
        stride: int = 2,
        token: int = 4,
        partition: int = 2,
        cross_attention: bool = True,
        scaled: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.in_channels, self.mask_channels = in_channels, mask_channels
        self.divisor = (stride * math.lcm(token, partition * 2 ** (len(widths) - 1)),) * 2
        of_image, of_mask = features
        first, code = widths[0], 4 * widths[0]
        self.image_encoder = encoder(in_channels, of_image, stride=stride, depth=depths[0])
        self.mask_encoder = encoder(mask_channels, of_mask, stride=stride, depth=depths[1])
        self.cross: CrossAttention | Beside = (
            CrossAttention(of_mask, of_image, width=first, side=token, heads=heads, dropout=dropout)
            if cross_attention
            else Beside(of_mask, of_image)
        )
        self.time = nn.Sequential(nn.Linear(first, code), nn.SiLU(), nn.Linear(code, code), nn.SiLU())
        self.embed = nn.Conv2d(of_mask, first, partition, stride=partition)

        def level(number: int) -> Level:
            block = [
                MultiSizeBlock(widths[number], windows=windows, heads=heads * 2**number, scaled=scaled, dropout=dropout)
                for _ in range(blocks)
            ]
            return Level(block, code=code)

        self.down = nn.ModuleList(level(number) for number in range(len(widths)))
        self.up = nn.ModuleList(level(number) for number in reversed(range(len(widths))))
        self.merge = nn.ModuleList(PatchMerging(above, below) for above, below in pairwise(widths))
        self.expand = nn.ModuleList(PatchExpanding(below, above, 2) for below, above in pairwise(reversed(widths)))
        self.last = PatchExpanding(first, of_mask, stride * partition)
        self.head = zeroed(nn.Linear(of_mask, out_channels))

    def see(self, image: Tensor) -> Tensor:
        """The tokens Z_I (B, N, widths[0]) of images (B, in_channels, H, W), all that is ever read of them.

        Without cross-attention they are features (B, c1, h, w).
        """
        check_input(image.shape, channels=self.in_channels, spatial_dims=2)
        tokens: Tensor = self.cross.image_tokens(self.image_encoder(padded(image, self.divisor)))
        return tokens

    def forward(self, noisy: Tensor, seen: Tensor, timestep: Tensor) -> Tensor:
        """The answer (B, out_channels, H, W).

        Args:
            noisy: masks (B, mask_channels, H, W).
            seen: `see(image)`.
            timestep: (B,).

        Raises:
            ArrayError: the masks have other axes or channels than the network was made for.
        """
        check_input(
            noisy.shape, channels=self.mask_channels, spatial_dims=2, what="the noisy mask", argument="mask_channels"
        )
        size = tuple(noisy.shape[2:])
        code = self.time(sinusoid(timestep, self.embed.out_channels).to(noisy.dtype))  # (B, code)
        # 1. the mask looks at the image
        features = self.mask_encoder(padded(noisy, self.divisor))  # (B, c2, h, w)
        x = self.embed(self.cross(features, seen)).movedim(1, -1)  # (B, h / p, w / p, widths[0])
        x = x + positions(x)
        # 2. encode
        skips = []
        for number, level in enumerate(self.down):
            x = level(x if number == 0 else self.merge[number - 1](x), code)
            skips.append(x)
        # 3. decode; skips are added
        x = self.up[0](skips.pop(), code)
        for level, expand in zip(self.up[1:], self.expand, strict=True):
            x = level(expand(x) + skips.pop(), code)
        return cropped(self.head(self.last(x)).movedim(-1, 1), size)


class CrossAttention(nn.Module):
    r"""Each token of the mask asks all tokens of the mask and of the image (Chowdary and Yin, 2023, section 2.2).

    .. math:: A = \mathrm{softmax}\left(\frac{(Z_M W_Q) ([Z_M, Z_I] W_K)^T}{\sqrt{d}}\right) [Z_M, Z_I] W_V, \quad
              A + \mathrm{MLP}(\mathrm{LN}(A))

    No residual goes around the attention, as drawn, so that the image is seen through it or not at all. Ours, at the
    start only: both streams project tokens alike, say above all where they are, and W_K is W_Q, orthogonal and large.
    A token then looks first at its own place, at itself and at the image there; from the usual start it sees one mean
    of everything, and in 1,500 steps the network does not learn that there is an image.

    Args:
        of_mask: channels c2 of the mask's features, and of the answer.
        of_image: channels c1 of the image's features.
        width: of the tokens.
        side: of the patches that become tokens.
        heads: of the attention; the paper does not say.
        dropout: probability, inside the MLP.
    """

    def __init__(self, of_mask: int, of_image: int, *, width: int, side: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.side = heads, side
        self.mask_tokens, self.image_tokens = Tokens(of_mask, width, side), Tokens(of_image, width, side)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        nn.init.orthogonal_(self.query.weight, gain=SHARPNESS)
        nn.init.zeros_(self.query.bias)
        self.key.load_state_dict(self.query.state_dict())
        self.image_tokens.project.load_state_dict(self.mask_tokens.project.state_dict())
        self.mlp = mlp(width, dropout=dropout)
        self.project = nn.Linear(width, side**2 * of_mask)

    def forward(self, features: Tensor, seen: Tensor) -> Tensor:
        """(B, c2, h, w) of the features of the mask (B, c2, h, w) and Z_I (B, N', width)."""
        mask = self.mask_tokens(features)  # Z_M (B, N, width)
        attended = self.attend(mask, torch.cat([mask, seen], 1))
        merged = attended + self.mlp(attended)
        grid = self.project(merged).unflatten(1, (features.shape[2] // self.side, -1))  # (B, h / s, w / s, s² c2)
        return spread(grid, self.side).movedim(-1, 1)

    def attend(self, asking: Tensor, asked: Tensor) -> Tensor:
        """A (B, N, width) of tokens (B, N, width) that ask tokens (B, N', width)."""
        query, key, value = (
            layer(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, N, width / heads)
            for layer, tokens in ((self.query, asking), (self.key, asked), (self.value, asked))
        )
        return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


class Beside(nn.Module):
    """Features of mask and image, stacked and mixed pixel by pixel: what is left without `CrossAttention`. Ours."""

    def __init__(self, of_mask: int, of_image: int) -> None:
        super().__init__()
        self.image_tokens = nn.Identity()
        self.mix = nn.Conv2d(of_mask + of_image, of_mask, 1)

    def forward(self, features: Tensor, seen: Tensor) -> Tensor:
        """(B, c2, h, w) of the features of the mask (B, c2, h, w) and of the image (B, c1, h, w)."""
        out: Tensor = self.mix(torch.cat([features, seen], 1))
        return out


class Tokens(nn.Module):
    """Patches as tokens: encoded, told where they are, projected and normalised."""

    def __init__(self, inputs: int, width: int, side: int) -> None:
        super().__init__()
        self.encode = nn.Conv2d(inputs, width, side, stride=side)
        self.project = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width))

    def forward(self, features: Tensor) -> Tensor:
        """(B, N, width) of (B, C, h, w), row by row."""
        patches = self.encode(features).movedim(1, -1)
        tokens: Tensor = self.project(patches + PLACE * positions(patches))
        return tokens.flatten(1, 2)


class Level(nn.Module):
    """Multi-size blocks at one resolution; each finds the timestep added to its tokens."""

    def __init__(self, blocks: Sequence[MultiSizeBlock], *, code: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.tell = nn.ModuleList(nn.Linear(code, block.width) for block in blocks)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """(B, H, W, C) as it came, of the code (B, code) of the timestep."""
        for block, tell in zip(self.blocks, self.tell, strict=True):
            x = block(x + tell(code)[:, None, None])
        return x


class MultiSizeBlock(nn.Module):
    r"""Windows of K sizes side by side, summed, then shifted windows (Chowdary and Yin, 2023, figure 3).

    .. math:: B_k = X + \text{W-MSA}_k(\mathrm{LN}\, X), \quad
              S = \sum_k B_k + \mathrm{MLP}_k(\mathrm{LN}\, B_k), \\
              S \leftarrow S + \text{SW-MSA}(\mathrm{LN}\, S), \quad S \leftarrow S + \mathrm{MLP}(\mathrm{LN}\, S)

    The sum holds X K times over; `scaled` takes X / K in each branch instead. The shifted windows are the smallest
    ones (ours; the paper does not say).
    """

    def __init__(self, width: int, *, windows: Sequence[int], heads: int, scaled: bool, dropout: float) -> None:
        super().__init__()
        self.width = width
        self.share = 1 / len(windows) if scaled else 1.0
        self.attend = nn.ModuleList(WindowAttention(width, window=window, heads=heads) for window in windows)
        self.change = nn.ModuleList(mlp(width, dropout=dropout) for _ in windows)
        self.shifted = WindowAttention(width, window=min(windows), heads=heads, shifted=True)
        self.mlp = mlp(width, dropout=dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) as it came."""
        s = torch.zeros_like(x)
        for attend, change in zip(self.attend, self.change, strict=True):
            branch = self.share * x + attend(x)
            s = s + branch + change(branch)
        s = s + self.shifted(s)
        out: Tensor = s + self.mlp(s)
        return out


def encoder(inputs: int, width: int, *, stride: int, depth: int) -> nn.Sequential:
    """E: (B, inputs, H, W) to (B, width, H / stride, W / stride), for sides that the stride divides."""
    return nn.Sequential(
        nn.Conv2d(inputs, width, stride + 2, stride=stride, padding=1), *(Residual(width) for _ in range(depth))
    )


def mlp(width: int, *, dropout: float) -> nn.Sequential:
    """MLP(LN(·)), four times as wide inside."""
    return nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * width, width)
    )


def positions(tokens: Tensor) -> Tensor:
    """Where tokens (B, H, W, C) are: (H, W, C), half of the channels for the row and half for the column.

    Cosines and sines of wavelengths from 2 tokens to twice the side, so that neighbours differ and, from 8 channels on,
    no two places of a grid are alike.
    """
    height, width, channels = tokens.shape[1:]

    def along(count: int, channels: int) -> Tensor:
        half = channels // 2
        slower = torch.arange(half, device=tokens.device) / max(half - 1, 1)  # 0 ... 1
        angle = torch.arange(count, device=tokens.device)[:, None] * math.pi * max(count, 2) ** -slower
        return F.pad(torch.cat([angle.cos(), angle.sin()], 1), (0, channels % 2))

    rows, columns = along(height, channels - channels // 2), along(width, channels // 2)
    both = torch.cat([rows[:, None].expand(-1, width, -1), columns.expand(height, -1, -1)], -1)
    return both.to(tokens.dtype)
