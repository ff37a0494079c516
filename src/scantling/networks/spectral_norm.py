"""Spectral norm whose power iteration is taken once a step, however often a step passes through the network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

FIRST = 15
"""Power iterations at the start, as in torch."""


class SpectralNorm(nn.Module):
    r"""A weight divided by its largest singular value (Miyato et al., 2018, equation 8).

    .. math:: W / \sigma, \quad \sigma = u^T W v

    with u and v of a power iteration. torch's own takes one in every forward pass in training mode, so that the
    weights depend on into how many micro-batches a step is divided; here `power_iteration` takes it.

    Args:
        weight: (N, ...), taken as a matrix of N rows.
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self._u: Tensor
        self._v: Tensor
        rows = weight.detach().flatten(1)
        self.register_buffer("_u", F.normalize(rows.new_empty(rows.shape[0]).normal_(), dim=0))
        self.register_buffer("_v", F.normalize(rows.new_empty(rows.shape[1]).normal_(), dim=0))
        self.iterate(weight, times=FIRST)

    def forward(self, weight: Tensor) -> Tensor:
        """The weight in the shape that it has."""
        u, v = self._u.clone(), self._v.clone()  # the next iteration must not change what backward reads
        return weight / torch.dot(u, torch.mv(weight.flatten(1), v))

    @torch.no_grad()
    def iterate(self, weight: Tensor, *, times: int = 1) -> None:
        """Bring u and v nearer to the singular vectors of the weight."""
        rows = weight.detach().flatten(1)
        for _ in range(times):
            self._u.copy_(F.normalize(torch.mv(rows, self._v), dim=0))
            self._v.copy_(F.normalize(torch.mv(rows.T, self._u), dim=0))


def spectral_norm(module: nn.Module) -> None:
    """Divide the weight of a module by its largest singular value from now on."""
    weight = module.weight
    if not isinstance(weight, Tensor):
        raise TypeError(f"{type(module).__name__} has no weight that could be divided")
    parametrize.register_parametrization(module, "weight", SpectralNorm(weight))


def power_iteration(network: nn.Module) -> None:
    """One iteration for every weight of a network that `spectral_norm` divides; once after each step."""
    for module in network.modules():
        if isinstance(module, parametrize.ParametrizationList):
            for norm in module:
                if isinstance(norm, SpectralNorm):
                    norm.iterate(module.original)
