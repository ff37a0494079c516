"""In which order the cases of a stream come: epoch after epoch, shuffled or not, in given shares of several groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from scantling.core.case import Case
from scantling.core.errors import DataError
from scantling.core.randomness import torch_generator

PERIOD = 1000
"""Samples after which the shares are met exactly, to a thousandth."""


class Order:
    """The position of each sample of a stream; a function of its index.

    Args:
        cases: of each position.
        key: what the shuffling is a function of.
        shares: of the samples by the name of a pool, "real" or "synthetic"; a case belongs to the first that fits,
            what remains to 1 to the rest. Names of which the stream has no case do not count.
        sequential: the order of the positions instead of one that is drawn anew each epoch.

    Raises:
        DataError: the shares leave no case.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        *key: int | str,
        shares: Mapping[str, float] | None = None,
        sequential: bool = False,
    ) -> None:
        self._key, self._sequential = key, sequential
        named: dict[str, list[int]] = {}
        for position, case in enumerate(cases):
            named.setdefault(next((name for name in shares or () if belongs(case, name)), ""), []).append(position)
        wanted = dict(shares or {})
        wanted[""] = rest if (rest := 1 - sum(wanted.values())) > 1e-6 else 0.0
        if named.keys() == {""}:
            wanted[""] = 1.0
        self._groups = {name: positions for name, positions in named.items() if wanted[name]}
        if not self._groups:
            groups = " and ".join(name or "the rest" for name in named)
            raise DataError(f"the shares leave no case: all are of {groups}, of which the share is 0; give it more")
        self._turns = _turns([wanted[name] for name in self._groups])
        self._orders: dict[tuple[str, int], Tensor] = {}

    def position(self, index: int) -> int:
        """The position of the sample with this index; each comes once in an epoch of its group."""
        names, (turns, ranks) = list(self._groups), self._turns
        period, place = divmod(index, len(turns))
        group = int(turns[place])
        positions = self._groups[names[group]]
        epoch, offset = divmod(period * int((turns == group).sum()) + int(ranks[place]), len(positions))
        return positions[offset if self._sequential else int(self._shuffled(names[group], epoch)[offset])]

    def _shuffled(self, name: str, epoch: int) -> Tensor:
        if (name, epoch) not in self._orders:
            generator = torch_generator(*self._key, "order", *([name] if name else []), epoch)
            kept = {key: order for key, order in self._orders.items() if key[0] != name or key[1] >= epoch - 1}
            order = torch.randperm(len(self._groups[name]), generator=generator)
            self._orders = kept | {(name, epoch): order}
        return self._orders[name, epoch]


def belongs(case: Case, name: str) -> bool:
    """Whether a case is of the share of a name: a pool, "real" or "synthetic"."""
    return name in (case.pool, case.origin.kind)


def _turns(shares: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Whose turn it is, and which of its turns, as evenly spread as can be."""
    if len(shares) == 1:
        return np.zeros(1, np.int64), np.zeros(1, np.int64)
    parts = np.array(shares) / np.sum(shares)
    counts, turns, ranks = np.zeros(len(parts), np.int64), [], []
    for number in range(1, PERIOD + 1):
        turn = int(np.argmax(parts * number - counts))
        turns.append(turn)
        ranks.append(int(counts[turn]))
        counts[turn] += 1
    return np.array(turns), np.array(ranks)
