"""Tiles of a slide by their names: `TCGA-18-5592_0_256` and `TCGA-18-5592_250_256` may overlap, and are one subject."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

STRIDE = 16
"""Tiles start at least so many pixels apart, unless letters say that the numbers are columns and rows; ours. Numbers of
patients and of slices follow each other more closely."""
_PLACE = re.compile(
    r"(?P<slide>.*?[^_\-. ])[_\-. ]+(?P<one>x|y|r|c|row|col|i|j)?(?P<first>\d{1,7})[_\-., ]+"
    r"(?P<other>x|y|r|c|row|col|i|j)?(?P<second>\d{1,7})",
    re.IGNORECASE,
)
_PAIRS = {frozenset(pair) for pair in (("x", "y"), ("r", "c"), ("row", "col"), ("i", "j"))}


def slides_of(names: Iterable[str]) -> dict[str, str]:
    """The slide of each name that ends in the place of a tile, such as "a" of "a_0_256" or "a_x0_y256".

    The places of a slide form a grid: two tiles lie in one column, and two in one row.
    """
    tiles: dict[str, list[tuple[str, int, int, bool]]] = {}
    for name in sorted(names):
        if (match := _PLACE.fullmatch(name)) is not None:
            letters = [match[part].lower() for part in ("one", "other") if match[part]]
            if not letters or frozenset(letters) in _PAIRS:
                place = (name, int(match["first"]), int(match["second"]), bool(letters))
                tiles.setdefault(match["slide"], []).append(place)
    grids = {slide: listed for slide, listed in tiles.items() if _is_grid(listed)}
    return {name: slide for slide, listed in grids.items() for name, *_ in listed}


def _is_grid(tiles: Sequence[tuple[str, int, int, bool]]) -> bool:
    firsts, seconds = {tile[1] for tile in tiles}, {tile[2] for tile in tiles}
    crossing = len(firsts) < len(tiles) > len(seconds) and len(firsts) > 1 < len(seconds)
    return crossing and (all(tile[3] for tile in tiles) or min(_step(firsts), _step(seconds)) >= STRIDE)


def _step(numbers: set[int]) -> int:
    ordered = sorted(numbers)
    return min(after - before for before, after in pairwise(ordered))
