"""A codebook of vectors: nearest codes, moving averages, and codes that nothing falls to any more."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scantling.core.checks import check_count, check_number
from scantling.core.errors import ArrayError

AT_ONCE = 1 << 22
"""Products that are held at a time: 16 MiB in float32, about the cache of a processor."""
ON_A_GPU = 1 << 26
"""The same on a GPU, which is faster the more it gets at once."""


def nearest_codes(vectors: Tensor, codes: Tensor) -> Tensor:
    """The code with the least Euclidean distance to each vector: (N,) int64, of equally near ones the first.

    |z - c|² = |z|² - 2 (z·c - |c|²/2), of which only the bracket differs between codes; a few rows of it are held at a
    time, never all N x K.

    Args:
        vectors: (N, C); half precision is taken in float32.
        codes: (K, C).

    Raises:
        ArrayError: they are no two lists of vectors of one length.
    """
    if vectors.ndim != 2 or codes.ndim != 2 or vectors.shape[1] != codes.shape[1]:
        raise ArrayError(f"found {tuple(vectors.shape)} and codes {tuple(codes.shape)}; expected (N, C) and (K, C)")
    dtype = torch.promote_types(torch.promote_types(vectors.dtype, codes.dtype), torch.float32)
    with torch.autocast(vectors.device.type, enabled=False):
        z, c = vectors.detach().to(dtype), codes.detach().to(dtype)
        offset, across = -c.square().sum(1) / 2, c.t().contiguous()
        found = torch.empty(len(z), dtype=torch.int64, device=z.device)
        rows = max(1, (AT_ONCE if z.device.type == "cpu" else ON_A_GPU) // len(c))
        for first in range(0, len(z), rows):
            found[first : first + rows] = torch.addmm(offset, z[first : first + rows], across).argmax(1)
    return found


class Codebook(nn.Module):
    r"""K codes of C numbers that follow what falls to them (van den Oord et al., 2017, appendix A.1), without gradient.

    .. math:: N_k \leftarrow \gamma N_k + (1 - \gamma) n_k, \quad m_k \leftarrow \gamma m_k + (1 - \gamma) \sum z,
              \quad e_k = m_k / N_k

    It changes in `begin` and `move` alone, whatever mode it is in, and its state is saved with the weights, so that
    nothing sets the codes anew when a training goes on. MONAI's `EMAQuantizer` neither begins with data nor restarts
    codes.

    Args:
        codes: K.
        width: C.
        decay: γ, in [0, 1).
        restart: a code to which fewer vectors fall, on the moving average, is dead and begins anew.
    """

    def __init__(self, codes: int, width: int, *, decay: float = 0.99, restart: float = 1.0) -> None:
        super().__init__()
        check_count(codes, argument="codes", least=2)
        check_number(decay, argument="decay", least=0, most=1)
        self.decay, self.restart = decay, restart
        self.codes: Tensor
        self.counts: Tensor
        self.sums: Tensor
        self.register_buffer("codes", torch.randn(codes, width))
        self.register_buffer("counts", torch.ones(codes))
        self.register_buffer("sums", self.codes.clone())

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The nearest codes (B, C, *s) in the place of z (B, C, *s), and their numbers (B, *s)."""
        rows = z.movedim(1, -1)  # (B, *s, C)
        numbers = nearest_codes(rows.reshape(-1, rows.shape[-1]), self.codes)
        quantised = self.codes[numbers].view_as(rows).movedim(-1, 1)
        return quantised.to(z.dtype), numbers.view(rows.shape[:-1])

    def statistics(self, z: Tensor, numbers: Tensor) -> Tensor:
        """(K, 1 + C): how many vectors of z (B, C, *s) fell to each code, and their sum; to be summed over a step."""
        rows = z.detach().movedim(1, -1).reshape(-1, z.shape[1]).to(self.codes.dtype)
        found = rows.new_zeros(len(self.codes), 1 + rows.shape[1])
        found.index_add_(0, numbers.reshape(-1), torch.cat([rows.new_ones(len(rows), 1), rows], 1))
        return found

    @torch.no_grad()
    def begin(self, vectors: Tensor, order: torch.Generator) -> None:
        """Take the codes from the first data: K of the vectors (N, C) at random.

        Raises:
            ArrayError: there are fewer vectors than codes.
        """
        if len(vectors) < len(self.codes):
            raise ArrayError(f"found {len(vectors):,} vectors for {len(self.codes):,} codes; expected as many at least")
        chosen = torch.randperm(len(vectors), generator=order)[: len(self.codes)].to(vectors.device)
        self.codes.copy_(vectors[chosen])
        self.counts.fill_(1)
        self.sums.copy_(self.codes)

    @torch.no_grad()
    def move(self, statistics: Tensor, vectors: Tensor, order: torch.Generator) -> int:
        """Follow by one step; gives the number of codes that were dead and have begun anew.

        A dead code takes one of the vectors at random. Where a step has fewer vectors than would keep all codes alive,
        a code is dead below half of what falls to each on average (ours).

        Args:
            statistics: (K, 1 + C), of the whole step.
            vectors: (N, C), the same on all processes.
            order: draws the vectors.
        """
        self.counts.lerp_(statistics[:, 0].to(self.counts.dtype), 1 - self.decay)
        self.sums.lerp_(statistics[:, 1:].to(self.sums.dtype), 1 - self.decay)
        least = min(self.restart, float(statistics[:, 0].sum()) / len(self.codes) / 2)
        alive = self.counts >= least
        self.codes.copy_(torch.where(alive[:, None], self.sums / self.counts.clamp(min=1e-6)[:, None], self.codes))
        dead = (~alive).nonzero()[:, 0]
        if len(dead):
            chosen = torch.randint(len(vectors), (len(dead),), generator=order).to(vectors.device)
            self.codes[dead] = vectors[chosen].to(self.codes.dtype)
            self.counts[dead] = 1
            self.sums[dead] = self.codes[dead]
        return len(dead)

    @property
    def range(self) -> tuple[Tensor, Tensor]:
        """The least and the greatest number in all codes."""
        return self.codes.min(), self.codes.max()
