"""The values of masks for nnU-Net: one of each class, or one of each combination of classes that overlap (regions)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from scantling.core.case import IGNORE, Case, Labels
from scantling.core.errors import DataError, ScantlingError
from scantling.data.contents import count, some
from scantling.data.loading import load
from scantling.data.opening import Opening

RESERVED = ("background", "ignore")
"""Names that nnU-Net has for itself."""


@dataclass(frozen=True)
class Coding:
    """The values of the masks: of each class its own, or of each combination of classes that overlap.

    Attributes:
        names: of the classes, in the order of `dataset.json`.
        values: for each the values in the masks that belong to it.
        table: from a combination of classes (bit k is class k of the labels) to its value; None where classes
            exclude each other.
        order: nnU-Net's `regions_class_order`.
    """

    names: tuple[str, ...]
    values: tuple[tuple[int, ...], ...]
    table: Mapping[int, int] | None = None
    order: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def exclusive(cls, labels: Labels) -> Coding:
        """1..K."""
        return cls(_unreserved(labels.names), tuple((number,) for number in range(1, len(labels.names) + 1)))

    @classmethod
    def of(cls, cases: Sequence[Case], labels: Labels, opening: Opening) -> Coding:
        """From the combinations in the training masks, largest class first."""
        found: Counter[int] = Counter()
        for case in cases:
            with suppress(ScantlingError):
                codes, times = np.unique(_combined(_mask(case, labels, opening)), return_counts=True)
                found.update(dict(zip(codes.tolist(), times.tolist(), strict=True)))
        combinations = [code for code in sorted(found) if code > 0]
        if len(combinations) > IGNORE - 1:
            raise DataError(f"{len(combinations)} combinations of overlapping classes; expected at most {IGNORE - 1}")
        table = {0: 0} | {code: value for value, code in enumerate(combinations, start=1)}
        pixels = [sum(n for code, n in found.items() if code >> k & 1) for k in range(len(labels.names))]
        ranked = [k for k in sorted(range(len(labels.names)), key=lambda k: -pixels[k]) if pixels[k]]
        gone = [name for k, name in enumerate(labels.names) if not pixels[k]]
        order = []
        for place, k in enumerate(ranked):
            later = sum(1 << j for j in ranked[place + 1 :])
            holding = [code for code in combinations if code >> k & 1]
            order.append(table[max(holding, key=lambda code: (not code & later, found[code]))])
        return cls(
            _unreserved([labels.names[k] for k in ranked]),
            tuple(tuple(table[code] for code in combinations if code >> k & 1) for k in ranked),
            table,
            tuple(order),
            (f"classes that no training mask holds left out: {some(gone)}",) if gone else (),
        )

    def facts(self, ignored: bool) -> dict[str, Any]:
        """For `dataset.json`."""
        labels: dict[str, Any] = {"background": 0}
        for name, values in zip(self.names, self.values, strict=True):
            labels[name] = values[0] if self.table is None else list(values)
        if ignored:
            labels["ignore"] = self.unknown
        return {"labels": labels} | ({"regions_class_order": list(self.order)} if self.table is not None else {})

    @property
    def unknown(self) -> int:
        """The value of what is not known: nnU-Net wants the greatest."""
        return 1 + max((value for values in self.values for value in values), default=0)

    def encoded(self, mask: np.ndarray) -> np.ndarray:
        """(*S) values from a mask as `Sample` holds it.

        Raises:
            DataError: it has a combination of classes that no training mask has.
        """
        if self.table is None:
            return np.where(mask[0] == IGNORE, self.unknown, mask[0])
        codes = _combined(mask)
        known, places = np.unique(codes, return_inverse=True)
        if strange := [code for code in known.tolist() if code > 0 and code not in self.table]:
            raise DataError(f"{count(len(strange), 'combination')} of classes that no training mask holds")
        values = np.array([self.unknown if code < 0 else self.table[code] for code in known.tolist()])
        return values[places].reshape(codes.shape)


def _unreserved(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{name} class" if name.lower() in RESERVED else name for name in names)


def _combined(mask: np.ndarray) -> np.ndarray:
    """(*S) int64 with bit k where class k is; -1 where something is unknown."""
    codes = np.zeros(mask.shape[1:], np.int64)
    for k, layer in enumerate(mask):
        codes |= (layer == 1).astype(np.int64) << k
    codes[(mask == IGNORE).any(axis=0)] = -1
    return codes


def _mask(case: Case, labels: Labels, opening: Opening) -> np.ndarray:
    """A case's first mask as `Sample` holds it, or its scribbles."""
    sample = load(
        case, labels=labels, reads=("mask",) if case.masks else ("scribbles",), limits=opening.limits,
        untrusted=opening.untrusted,
    )  # fmt: skip
    scribbles = sample.scribbles if sample.scribbles is not None else np.zeros((1, *sample.geometry.shape), np.uint8)
    return sample.masks[0] if sample.masks else scribbles
