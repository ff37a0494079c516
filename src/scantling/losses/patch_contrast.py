"""A contrast of masks, patch by patch: a mask found again must look like the one that was painted."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scantling.core.checks import check_count
from scantling.core.errors import ArrayError

SIDES = (16, 32, 64)
CODE = 256
TEMPERATURE = 0.07


class PatchContrast(nn.Module):
    r"""Patches of a mask, coded by a small network at three sizes, are pulled to one mask and pushed off another.

    .. math:: L = \sum_i -\log \frac{e^{q_i \cdot p_i / \tau}}{e^{q_i \cdot p_i / \tau} + e^{q_i \cdot n_i / \tau}}

    with codes of length 1 and τ = 0.07, summed over patches and sizes (Kim et al., 2023, C-DARL, with the sides, the
    code and τ of its authors' code). Departures: that code detaches p and n, so that the term teaches its generator
    nothing; here gradients flow into them. It codes the pixels at one offset of all patches together; here a patch is
    coded by itself.

    Args:
        size: height and width of the masks; sides that are larger are left out, and below the least of `SIDES` all are,
            so that nothing is compared.
        patches: of each size, drawn from all that lie side by side; at least 1.

    Raises:
        SettingsError: `patches` is no whole number from 1.
    """

    def __init__(self, size: tuple[int, int], *, patches: int) -> None:
        super().__init__()
        check_count(patches, argument="patches", least=1)
        self.patches = patches
        self.sides = tuple(side for side in SIDES if side <= min(size))
        self.codes = nn.ModuleList(
            nn.Sequential(nn.Linear(side**2, CODE), nn.ReLU(), nn.Linear(CODE, CODE)) for side in self.sides
        )

    def forward(self, query: Tensor, positive: Tensor, negative: Tensor, *, order: Tensor) -> Tensor:
        """The mean over the batch of the sum over patches.

        Args:
            query: (B, 1, H, W) in [-1, 1], a mask that was given.
            positive: the mask that should look like it.
            negative: a mask that need not.
            order: (B, N) uniform in [0, 1), N at least the number of the smallest patches; the patches with the
                lowest numbers are taken.

        Raises:
            ArrayError: the masks have other shapes, or `order` too few numbers.
        """
        if query.ndim != 4 or query.shape[1] != 1 or not query.shape == positive.shape == negative.shape:
            shapes = ", ".join(str(tuple(mask.shape)) for mask in (query, positive, negative))
            raise ArrayError(f"found masks of shapes {shapes}; expected (B, 1, H, W) three times")
        total = query.new_zeros(())
        for side, network in zip(self.sides, self.codes, strict=True):
            rows = [F.unfold(mask, side, stride=side).transpose(1, 2) for mask in (query, positive, negative)]
            taken = order[:, : rows[0].shape[1]].argsort(1)[:, : self.patches, None]  # (B, P, 1)
            q, p, n = (F.normalize(network(row.take_along_dim(taken, 1)), dim=2) for row in rows)  # (B, P, code)
            scores = torch.stack([(q * p).sum(2), (q * n).sum(2)], 1) / TEMPERATURE  # (B, 2, P)
            total = total - scores.log_softmax(1)[:, 0].sum(1).mean()
        return total
