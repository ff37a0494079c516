"""Images of which only some objects were drawn: the others, and what lies between them, are unknown."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from scipy import ndimage
from skimage import measure

from scantling.core.case import IGNORE, Case
from scantling.core.errors import DataError
from scantling.data.contents import some
from scantling.data.mask_values import ValueCounts, in_one_piece


def numbers_in_mask(case: Case, raw: np.ndarray | Mapping[str, np.ndarray], mask: np.ndarray) -> np.ndarray:
    """(*S) the numbers of the objects of a case without an instance map, from its first mask.

    A label map of which each value is in one piece has the numbers already; of another the pieces are counted, class by
    class, in the order of their first pixel.

    Args:
        raw: the label map as its file has it, or that of each class.
        mask: the same as `Sample` holds it.

    Raises:
        DataError: the classes overlap, so that the pieces of one class may be parts of an object of another.
    """
    if isinstance(raw, Mapping) or len(mask) > 1:
        raise DataError(
            f"case {case.id}: its classes overlap, so that its masks do not tell objects apart; add a label map of the "
            "objects ('instances' in a manifest)"
        )
    marked = (mask[0] != 0) & (mask[0] != IGNORE)
    numbers = np.where(marked, raw, 0)
    return numbers if in_one_piece(numbers) else _pieces(np.where(marked, mask[0], np.uint8(0)))


def has_own_map(case: Case) -> bool:
    """Whether a file other than the mask numbers the objects of a case."""
    return case.instances is not None and case.instances not in case.masks[:1]


def without_undrawn(case: Case, raw: np.ndarray, numbers: np.ndarray | None) -> np.ndarray:
    """The first mask of a case (*S) as its file has it, without the classes of objects that were not drawn.

    A mask of which each value is in one piece stays as it is: its values may be numbers, which name no class.

    Args:
        numbers: (*S) the map of its objects, if it has one of its own.
    """
    if not isinstance(case.drawn_objects, tuple) or (numbers is None and in_one_piece(raw)):
        return raw
    numbers = _pieces(raw) if numbers is None else numbers
    return np.where(np.isin(numbers, case.drawn_objects), raw, 0) if numbers.shape == raw.shape else raw


def _pieces(array: np.ndarray) -> np.ndarray:
    return np.asarray(measure.label(array, background=0, connectivity=array.ndim), np.int32)


def drawn_and_known(case: Case, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two (*S) bool of a case with `drawn_objects`: its drawn objects, and these with the rim around them.

    Args:
        numbers: (*S) one number for each object; of an object that was not drawn, if it is there, nothing is known.

    Raises:
        DataError: there is no object of a number that was drawn.
    """
    if case.drawn_objects == "marked" or case.drawn_objects is None:
        drawn = numbers != 0
    else:
        if missing := sorted({*case.drawn_objects} - {*np.unique(numbers).tolist()}):
            raise DataError(
                f"case {case.id}: 'drawn_objects' names {some(map(str, missing))}, and its map of objects has none of "
                "that number; correct it"
            )
        drawn = np.isin(numbers, case.drawn_objects)
    if not case.drawn_rim or not drawn.any():
        return drawn, drawn
    near = ndimage.distance_transform_edt(~drawn) <= case.drawn_rim
    return drawn, drawn | (near & (numbers == 0))


def radius_of(numbers: np.ndarray, drawn: tuple[int, ...]) -> float:
    """The median radius in pixels, 1 at least, of the discs or balls that are as large as some objects."""
    sizes = np.array([int((numbers == number).sum()) for number in drawn], np.float64)
    radii = np.sqrt(sizes / math.pi) if numbers.ndim == 2 else np.cbrt(sizes * 3 / (4 * math.pi))
    return max(1.0, float(np.round(np.median(radii)))) if len(sizes) else 1.0


def separate(numbers: np.ndarray) -> np.ndarray:
    """(*S) the same objects, where one number marks several separate ones (corners connect) numbered anew by pieces.

    So of a binary mask the components are the objects.
    """
    pieces, values = _pieces(numbers), ValueCounts.of(numbers).values
    return numbers if pieces.max(initial=0) == int((values != 0).sum()) else pieces


def known_by(array: np.ndarray) -> np.ndarray | None:
    """(*S) bool, the inside of a label map of objects that says what is known; None where it is none.

    Each value is in one piece, and most of them lie beside what has no number: the greys of a blurred mask do not.
    """
    values = ValueCounts.of(array).values
    if len(values) < 3 or values[0] != 0 or not in_one_piece(array):
        return None
    outside = ndimage.binary_dilation(array == 0, np.ones((3,) * array.ndim, np.bool_))
    beside = np.unique(array[outside & (array != 0)])
    return np.asarray(array > 0) if 2 * len(beside) > len(values) - 1 else None


def forget_objects(
    case: Case, masks: tuple[np.ndarray, ...], numbers: np.ndarray
) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Masks as `Sample` holds them, `IGNORE` where nothing is known, and the drawn objects (*S) bool."""
    drawn, known = drawn_and_known(case, numbers)
    return tuple(np.where(known, mask, np.uint8(IGNORE)) for mask in masks), drawn
