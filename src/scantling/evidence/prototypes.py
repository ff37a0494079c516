"""The evidential layer: features near a prototype are evidence for its classes, features far from all are ignorance."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scantling.core.checks import check_count, check_input
from scantling.core.errors import ArrayError
from scantling.evidence.masses import masses_of

GAMMA = 0.1
"""Of the inverse width of the prototypes at the start, as in the code released for lymphoma (Huang et al., 2022)."""
MOST = 0.99
"""The most that one prototype can support its classes: no prototype is ever certain."""


class EvidentialLayer(nn.Module):
    r"""Mass functions of features, by I prototypes (Denœux, 2000; over pixels: Huang, Ruan, Decazes, Denœux, 2022).

    .. math:: s_i = a_i \exp\left(-\tfrac12 \gamma_i^2 \|x - p_i\|^2\right), \quad
              m_i(\{c\}) = u_{ic}\, s_i, \quad m_i(\Omega) = 1 - s_i,

    with a_i = 0.99 σ(α_i) and u_ic = β_ic² / Σ_c β_ic², combined by Dempster's rule in closed form. The gradient is
    that of the closed form: the backward pass that was released beside the formula drops a part of that of ignorance.

    Args:
        features: F, channels of what comes in.
        classes: C, that exclude each other, at least 2: the background is one of them.
        prototypes: I.
        around: (n, F), features about which the prototypes begin, in turn, instead of about 0; the first memberships
            of a prototype are then for the class of its point. In the place of k-means on features, where it is known
            what they should be (ours).
        spread: the deviation of the prototypes about where they begin.

    Raises:
        SettingsError: there is no feature, class or prototype.
        ArrayError: `around` is not (C, F).

    Example:
        >>> import torch
        >>> from scantling.evidence import EvidentialLayer
        >>> layer = EvidentialLayer(4, 3)
        >>> masses = layer(torch.full((1, 4, 8, 8), 1000.0))
        >>> masses[0, :, 0, 0].tolist()
        [0.0, 0.0, 0.0, 1.0]
    """

    def __init__(
        self,
        features: int,
        classes: int,
        *,
        prototypes: int = 20,
        around: Tensor | None = None,
        spread: float = 1.0,
    ) -> None:
        super().__init__()
        check_count(features, argument="features", least=1)
        check_count(classes, argument="classes", least=2)
        check_count(prototypes, argument="prototypes", least=1)
        self.features = features
        self.prototypes = nn.Parameter(spread * torch.randn(prototypes, features))
        self.beta = nn.Parameter(torch.randn(prototypes, classes))
        self.gamma = nn.Parameter(torch.full((prototypes,), GAMMA))
        self.alpha = nn.Parameter(torch.zeros(prototypes))
        if around is not None:
            if tuple(around.shape) != (classes, features):
                raise ArrayError(f"around: found {tuple(around.shape)}; expected ({classes}, {features}), one a class")
            own = torch.arange(prototypes) % classes
            with torch.no_grad():
                self.prototypes.add_(around[own])
                self.beta.mul_(0.1).add_(torch.eye(classes)[own])

    def forward(self, x: Tensor) -> Tensor:
        """Masses (B, C + 1, *S) of features x (B, F, *S), at least in float32.

        Raises:
            ArrayError: x has another number of channels or of axes.
        """
        check_input(x.shape, channels=self.features, spatial_dims=x.ndim - 2, what="the features")
        x = x.to(torch.promote_types(x.dtype, self.prototypes.dtype))
        # 1. supports (B, I, *S)
        centred = x.unsqueeze(1) - self.prototypes.view(1, *self.prototypes.shape, *[1] * (x.ndim - 2))
        distance = centred.square().sum(2)
        support = self._column(MOST * self.alpha.sigmoid(), x) * torch.exp(
            -0.5 * self._column(self.gamma.square(), x) * distance
        )
        # 2. Dempster's rule over the prototypes: log(u s + 1 - s) and log(1 - s) are sums
        beta = self.beta.square()
        others = 1 - beta / beta.sum(1, keepdim=True)  # (I, C)
        contours = [torch.log1p(-support * self._column(one, x)).sum(1) for one in others.T]
        return masses_of(torch.stack(contours, 1), torch.log1p(-support).sum(1, keepdim=True))

    def _column(self, values: Tensor, x: Tensor) -> Tensor:
        return values.view(1, -1, *[1] * (x.ndim - 2))
