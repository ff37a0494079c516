"""A sketch steers a denoiser that stays as it is: a copy of its encoder sees both, and adds to what it hands on."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from scantling.core.checks import check_input
from scantling.networks.denoiser import Denoiser
from scantling.networks.padding import padded
from scantling.networks.residual_blocks import zeroed
from scantling.networks.unet import CONV


class ControlNet(nn.Module):
    r"""The control of Zhang, Rao and Agrawala (2023, "Adding conditional control to text-to-image diffusion models").

    .. math:: y_i = F_i(x; \Theta) + Z(F_i(x + Z(c); \Theta_c))

    F_i are the features of the denoiser's encoder and of its middle, Θ_c a trainable copy of Θ, and Z convolutions
    that start at zero, so that at first the denoiser says what it said without a control. As in the authors' code the
    condition c is added after the first convolution. Departure: c has the denoiser's own resolution, which takes three
    convolutions and no strides.

    Args:
        denoiser: whose encoder is copied; it is not kept, and a later change of it does not change the copy.
        hints: channels of the condition.
    """

    def __init__(self, denoiser: Denoiser, *, hints: int) -> None:
        super().__init__()
        self.hints = hints
        width, conv = denoiser.widths[0], CONV[len(denoiser.divisor)]
        self.copy = deepcopy(denoiser)
        del self.copy.up, self.copy.finer, self.copy.head
        self.hint = nn.Sequential(
            conv(hints, width, 3, padding=1),
            nn.SiLU(),
            conv(width, width, 3, padding=1),
            nn.SiLU(),
            zeroed(conv(width, width, 3, padding=1)),
        )
        middle = denoiser.skips[-1]
        self.out = nn.ModuleList(zeroed(conv(channels, channels, 1)) for channels in (*denoiser.skips, middle))

    def forward(self, x: Tensor, timestep: Tensor, hint: Tensor) -> Sequence[Tensor]:
        """What `Denoiser` takes as `added`, for a noisy x (B, C, *S), timesteps (B,) and a hint (B, hints, *S)."""
        check_input(
            hint.shape, channels=self.hints, spatial_dims=len(self.copy.divisor), what="the hint", argument="hints"
        )
        seen = self.hint(padded(hint, self.copy.divisor))
        skips, middle = self.copy.encode(x, self.copy.code_of(timestep), hint=seen)
        return [out(h) for out, h in zip(self.out, (*skips, middle), strict=True)]

    @torch.no_grad()
    def imitate(self, denoiser: Denoiser) -> None:
        """Begin from the denoiser's weights as they are now."""
        own = self.copy.state_dict()
        self.copy.load_state_dict({name: tensor for name, tensor in denoiser.state_dict().items() if name in own})
