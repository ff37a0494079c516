"""Where the mask, or the scribbles, of a case say something: training looks there, and nowhere where all is unknown."""

from __future__ import annotations

import numpy as np

from scantling.core.case import IGNORE, Case
from scantling.core.randomness import numpy_generator
from scantling.core.samples import Traits
from scantling.data.case_cache import KEPT_PIXELS, CaseCache
from scantling.data.preprocessing import Preprocessed


class KnownPixels:
    """The pixels of which the label maps (`Preprocessed.label_map`) know something, remembered by case.

    Args:
        cache: of cases that are prepared with their masks or scribbles.
        traits: of the data; they say whether a value stands for what is unknown.
        scribbled: the label maps are scribbles.
    """

    def __init__(self, cache: CaseCache, traits: Traits | None, *, scribbled: bool = False) -> None:
        labels = None if traits is None else traits.labels
        self._cache, self._ignores = cache, labels is not None and labels.ignore is not None
        self._scribbled = scribbled
        self._pixels: dict[str, np.ndarray | None] = {}
        self._slices: dict[str, np.ndarray] = {}

    def slice(self, case: Case, slice: int) -> int:
        """The slice of a volume itself, or if its mask knows nothing there another one, the same each time."""
        if not self._partly(case):
            return slice
        if case.id not in self._slices:
            known = _known(self._cache.take(case))
            slices = np.flatnonzero(known.any(axis=tuple(range(1, known.ndim))))
            self._slices[case.id] = slices if len(slices) else np.arange(len(known))
        known = self._slices[case.id]
        return slice if slice in known else int(known[slice % len(known)])

    def centre(
        self,
        case: Case,
        slice: int | None,
        whole: Preprocessed,
        *,
        patch: tuple[int, ...],
        generator: np.random.Generator,
    ) -> tuple[int, ...] | None:
        """The centre of a patch with a known pixel anywhere in it.

        None, and nothing is drawn, where all pixels are known, or none.

        Args:
            whole: the case, prepared.
        """
        if not self._partly(case):
            return None
        if slice is not None:
            pixels = _pixels(whole.slice(slice), generator)
        else:
            if case.id not in self._pixels:
                self._pixels[case.id] = _pixels(whole, numpy_generator("known", case.id))
            pixels = self._pixels[case.id]
        if pixels is None:
            return None
        pixel = pixels[int(generator.integers(len(pixels)))]
        shift = [int(generator.integers(length)) for length in patch]
        return tuple(int(c) + length // 2 - s for c, length, s in zip(pixel, patch, shift, strict=True))

    def _partly(self, case: Case) -> bool:
        """Whether the data say that a mask may not know every pixel; scribbles never do."""
        if self._scribbled:
            return case.scribbles is not None
        parts = (case.known, case.drawn_slices, case.drawn_objects, case.drawn_classes)
        return bool(case.masks) and (self._ignores or any(part is not None for part in parts))


def _known(prepared: Preprocessed) -> np.ndarray:
    """(*S) bool; of a case whose label map was not read, all."""
    if prepared.label_map is None:
        return np.ones(prepared.shape, np.bool_)
    return np.asarray((prepared.label_map != IGNORE).any(0))


def _pixels(prepared: Preprocessed, generator: np.random.Generator) -> np.ndarray | None:
    """Up to `KEPT_PIXELS` known pixels (n, D); None where all are known, or none."""
    known = _known(prepared)
    pixels = np.flatnonzero(known)
    if len(pixels) in (0, known.size):
        return None
    if len(pixels) > KEPT_PIXELS:
        pixels = pixels[np.sort(generator.choice(len(pixels), KEPT_PIXELS, replace=False))]
    return np.stack(np.unravel_index(pixels, known.shape), -1)
