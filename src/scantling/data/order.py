"""In which order the cases of a stream come: epoch after epoch, shuffled or not, in given shares, or in two phases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from scantling.core.case import Case
from scantling.core.errors import DataError
from scantling.core.randomness import torch_generator

KINDS: Final = ("real", "synthetic")
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


class Phases:
    """As `Order`, but all samples of the real cases come before those of the synthetic ones, or after them.

    The first phase takes the share of the samples that its cases have of all cases, unless `shares` says another. A
    stream whose cases are of one kind has one phase.

    Args:
        first: "real" or "synthetic".
        samples: of the whole stage.
        shares: of "real", "synthetic" or both.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        *key: int | str,
        first: str,
        samples: int,
        shares: Mapping[str, float] | None = None,
    ) -> None:
        made = first == "synthetic"
        own = [place for place, case in enumerate(cases) if belongs(case, "synthetic") == made]
        rest = [place for place, case in enumerate(cases) if belongs(case, "synthetic") != made]
        given, (other,) = shares or {}, (name for name in KINDS if name != first)
        share = given.get(first, 1 - given[other] if other in given else len(own) / len(cases))
        self.first = round(samples * share) if own and rest else samples if own else 0
        parts = [(part, name) for part, name in ((own, first), (rest, other)) if part]
        self._parts = [(part, Order([cases[place] for place in part], *key, name)) for part, name in parts]

    def position(self, index: int) -> int:
        """The position of the sample with this index; each comes once in an epoch of its phase."""
        late = index >= self.first and len(self._parts) > 1
        places, order = self._parts[late]
        return places[order.position(index - self.first * late)]


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
