"""Prepared cases in memory: sets that fit are prepared once, what does not fit is read again at every visit."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from scantling.core.case import IGNORE, Case
from scantling.core.pieces import value_counts
from scantling.core.randomness import numpy_generator
from scantling.data.preprocessing import Preprocessed

KEPT_PIXELS = 4096
"""Labelled pixels that are remembered of each class of a case, to centre patches on."""

IN_BOX = 16
"""Pixels of each box, where boxes are all that is known."""


class CaseCache:
    """Prepared cases, kept in memory as long as the budget lasts.

    Args:
        prepare: reads and prepares a case.
        budget: bytes that may be kept.
    """

    def __init__(self, prepare: Callable[[Case], Preprocessed], *, budget: int) -> None:
        self._prepare = prepare
        self._budget = budget
        self._kept: dict[str, Preprocessed] = {}
        self._foreground: dict[str, tuple[np.ndarray, ...]] = {}
        self._held = 0
        self._lock = threading.Lock()

    def take(self, case: Case) -> Preprocessed:
        """The case, from memory where it is kept."""
        if (kept := self._kept.get(case.id)) is not None:
            return kept
        prepared = self._prepare(case)
        with self._lock:
            if case.id not in self._kept and self._held + prepared.nbytes <= self._budget:
                self._kept[case.id] = prepared
                self._held += prepared.nbytes
        return prepared

    def foreground(self, case: Case, prepared: Preprocessed) -> tuple[np.ndarray, ...]:
        """For each class that the label map of the case has, up to `KEPT_PIXELS` of its pixels (n, D); without a label
        map some inside of its boxes, if it has any."""
        if case.id not in self._foreground and prepared.label_map is None:
            self._foreground[case.id] = _in_boxes(prepared, numpy_generator("foreground", case.id))
        if case.id not in self._foreground:
            mask = np.zeros((1, 0), np.uint8) if prepared.label_map is None else prepared.label_map.numpy()
            counts = value_counts(mask, low=0, high=IGNORE)
            values = [value for value in np.flatnonzero(counts) if value not in (0, IGNORE)]
            layers = (layer == 1 for layer in mask) if len(mask) > 1 else (mask[0] == value for value in values)
            generator = numpy_generator("foreground", case.id)
            found = []
            for layer in layers:
                pixels = np.flatnonzero(layer)
                if len(pixels) > KEPT_PIXELS:
                    pixels = pixels[np.sort(generator.choice(len(pixels), KEPT_PIXELS, replace=False))]
                if len(pixels):
                    found.append(np.stack(np.unravel_index(pixels, layer.shape), -1).astype(np.int32))
            self._foreground[case.id] = tuple(found)
        return self._foreground[case.id]


def _in_boxes(prepared: Preprocessed, generator: np.random.Generator) -> tuple[np.ndarray, ...]:
    """`IN_BOX` pixels (n, D) at random in each box of a case, together; none without a box."""
    boxes = prepared.coordinates.get("boxes")
    if boxes is None or not len(boxes):
        return ()
    low = boxes[..., 0].numpy().astype(np.int32)
    high = np.maximum(low + 1, boxes[..., 1].numpy().astype(np.int32))
    return (np.concatenate([generator.integers(low, high, dtype=np.int32) for _ in range(IN_BOX)]),)
