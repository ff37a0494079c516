"""A classifier of noisy images, which also sees the timestep: the downward half of the U-Net of diffusion models."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scantling.core.checks import check_input
from scantling.networks.denoiser import SelfAttention, Step, sinusoid
from scantling.networks.padding import padded
from scantling.networks.residual_blocks import ResidualBlock, norm


class NoisyClassifier(nn.Module):
    """The classifier that guides a diffusion model (Dhariwal and Nichol, 2021, appendix H): half a U-Net, pooled.

    Departures, ours: fewer groups in the norms of narrow networks; no code of the place in the pooling, so that images
    of any size are taken.

    Args:
        in_channels: of the image.
        classes: logits.
        widths: channels of each level, from full resolution down.
        blocks: residual blocks a level.
        attention: the levels with self-attention; there is always one in the middle.
        head_channels: of each head of an attention.

    Example:
        >>> import torch
        >>> from scantling.networks import NoisyClassifier
        >>> NoisyClassifier(1, 2, widths=(8, 16))(torch.zeros(3, 1, 20, 31), torch.tensor([999, 0, 5])).shape
        torch.Size([3, 2])
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        widths: Sequence[int] = (64, 128, 256),
        blocks: int = 2,
        attention: Sequence[int] = (),
        head_channels: int = 64,
    ) -> None:
        super().__init__()
        self.in_channels, self.widths, code = in_channels, tuple(widths), 4 * widths[0]

        def step(inputs: int, width: int, *, attended: bool, halved: bool = False) -> Step:
            block = ResidualBlock(
                inputs, width, code=code, dropout=0.0, scale_shift=True, dimensions=2, change="halved" if halved else ""
            )
            heads = max(1, width // head_channels)
            return Step(block, SelfAttention(width, heads=heads) if attended else nn.Identity())

        self.time = nn.Sequential(nn.Linear(widths[0], code), nn.SiLU(), nn.Linear(code, code))
        self.stem = nn.Conv2d(in_channels, widths[0], 3, padding=1)
        self.down, width = nn.ModuleList(), widths[0]
        for level, wide in enumerate(widths):
            if level:
                self.down.append(step(width, width, attended=False, halved=True))
            for _ in range(blocks):
                self.down.append(step(width, wide, attended=level in attention))
                width = wide
        self.down.extend([step(width, width, attended=True), step(width, width, attended=False)])
        self.norm = norm(width)
        self.pool = AttentionPool(width, classes, heads=max(1, width // head_channels))

    def forward(self, x: Tensor, timestep: Tensor) -> Tensor:
        """Logits (B, classes) of noisy images (B, in_channels, H, W) at timesteps (B,) or (1,).

        Raises:
            ArrayError: the image has other axes or channels.
        """
        check_input(x.shape, channels=self.in_channels, spatial_dims=2, what="the noisy image")
        code = self.time(sinusoid(timestep, self.widths[0]).to(x.dtype))
        h = self.stem(padded(x, (2 ** (len(self.widths) - 1),) * 2))
        for step in self.down:
            h = step(h, code)
        logits: Tensor = self.pool(F.silu(self.norm(h)))
        return logits


class AttentionPool(nn.Module):
    """Maps (B, width, H, W) to (B, outputs): their mean asks all pixels (Radford et al., 2021, after a transformer)."""

    def __init__(self, width: int, outputs: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ask, self.tell, self.out = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        pixels = x.flatten(2).transpose(1, 2)  # (B, N, width)
        mean = pixels.mean(1, keepdim=True)
        tokens = torch.cat([mean, pixels], 1)
        query = self.ask(mean).unflatten(2, (self.heads, -1)).transpose(1, 2)  # (B, heads, 1, width / heads)
        told = self.tell(tokens).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, told[0], told[1])
        answer: Tensor = self.out(seen.transpose(1, 2).flatten(1))
        return answer
