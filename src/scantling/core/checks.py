"""What functions on arrays ask of their arguments: one of some names, so many axes, values in a range.

Each check takes its names from the call it stands in, so that a sentence says which argument was wrong.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scantling.core.errors import ArrayError, SettingsError

SLACK = 1e-4
"""How far rounding may carry a probability out of [0, 1]."""


def check_choice(value: object, choices: Iterable[object], *, argument: str) -> None:
    """Refuse a name that is none of `choices`.

    Raises:
        SettingsError: with the names that there are.
    """
    names = tuple(choices)
    if value not in names:
        raise SettingsError(f"{argument}: found {value!r}; expected one of {', '.join(map(str, names))}")


def check_number(
    value: Any, *, argument: str, least: float = -math.inf, most: float = math.inf, above: float | None = None
) -> None:
    """Refuse what is no finite number in [`least`, `most`], or not above `above`.

    Raises:
        SettingsError: with the range.
    """
    try:
        fits = math.isfinite(value) and least <= value <= most and (above is None or value > above)
    except (TypeError, ValueError):
        fits = False
    if not fits:
        limits = [f"above {above:g}"] if above is not None else [f"from {least:g}"] if least > -math.inf else []
        limits += [f"to {most:g}"] if most < math.inf else []
        raise SettingsError(f"{argument}: found {value!r}; expected a number {' '.join(limits)}".rstrip())


def check_count(value: Any, *, argument: str, least: int = 0, most: int | None = None) -> None:
    """Refuse what is no whole number from `least` to `most`; bool is none.

    Raises:
        SettingsError: with the range.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if isinstance(value, bool | np.bool_) or number < least or (most is not None and number > most):
        upper = "" if most is None else f" to {most}"
        raise SettingsError(f"{argument}: found {value!r}; expected a whole number from {least}{upper}")


def numbers(values: Any, what: str) -> NDArray[Any]:
    """An array of bool, whole or real numbers; a tensor is taken off its device and its graph.

    Args:
        what: it is, for errors ("the mask").

    Raises:
        ArrayError: it holds anything else, or rows of different lengths.
    """
    try:
        array = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
    except (TypeError, ValueError) as error:
        raise ArrayError(f"{what} is no array of numbers ({error})") from None
    if array.dtype.kind not in "biuf":
        raise ArrayError(f"{what} is {array.dtype} of shape {array.shape}; expected an array of numbers")
    return array


def binary(mask: Any, what: str) -> NDArray[np.bool_]:
    """A mask of bool, or of 0 and 1, as booleans.

    Raises:
        ArrayError: other values: 255, several class numbers, probabilities, NaN.
    """
    array = numbers(mask, what)
    if array.dtype == np.bool_:
        return array
    marked = np.asarray(array == 1)
    if not np.array_equal(marked, array != 0):
        values = np.unique(array)
        listed = ", ".join(f"{value:g}" for value in values[:5]) + (", ..." if len(values) > 5 else "")
        raise ArrayError(
            f"found {what} with the values {listed}; expected the mask of one class, bool or 0 and 1: compare it with "
            "the number of the class (mask == 255), or a probability with a threshold"
        )
    return marked


def class_numbers(values: Any, *, classes: int, what: str) -> NDArray[np.int64]:
    """(n,) int64 of whole numbers in [0, `classes`); 1.0 is one, 1.7 is none.

    Raises:
        ArrayError: another shape, or a value that is no class.
    """
    array = numbers(values, what)
    if array.ndim != 1:
        raise ArrayError(f"{what} has the shape {array.shape}; expected (n,): one class number for each case")
    wrong = ~((array >= 0) & (array < classes) & (array == np.trunc(array)))  # also NaN
    if wrong.any():
        raise ArrayError(f"{what} holds {array[wrong][0]:g}; expected whole numbers from 0 to {classes - 1}")
    return array.astype(np.int64)


def probabilities(values: Any, what: str) -> NDArray[np.floating]:
    """An array of real numbers in [0, 1], but for rounding (`SLACK`).

    Raises:
        ArrayError: a value lies outside, or is NaN.
    """
    array = numbers(values, what)
    array = array if array.dtype.kind == "f" else array.astype(np.float64)
    if array.size and not (array.min() >= -SLACK and array.max() <= 1 + SLACK):  # also NaN
        found = "NaN" if np.isnan(array).any() else f"values from {array.min():g} to {array.max():g}"
        raise ArrayError(f"{what} holds {found}; expected probabilities in [0, 1]; logits need a sigmoid or a softmax")
    return array


def check_input(
    shape: Sequence[int], *, channels: int, spatial_dims: int, what: str = "the image", argument: str = "in_channels"
) -> None:
    """Refuse what a network cannot read: another number of axes or of channels than it was made for.

    Args:
        shape: of the tensor, (B, C, *S) expected.
        channels: C.
        spatial_dims: the number of axes of S.
        what: the tensor is.
        argument: of the network, that says C.

    Raises:
        ArrayError: with the channels or the axes that were found and expected.
    """
    axes = "B, C, H, W" if spatial_dims == 2 else "B, C, D, H, W"
    if len(shape) != 2 + spatial_dims:
        raise ArrayError(f"{what} has the shape {tuple(shape)}; expected ({axes}) with {channels} channels")
    if shape[1] != channels:
        raise ArrayError(
            f"{what} has {shape[1]} channels, shape {tuple(shape)}; the network was made for {channels} ({argument})"
        )


def spatial_axis(shape: Sequence[int], spatial_dims: int | None, *, what: str = "the mask") -> int | None:
    """Which axis of an array without batch is its one channel: None where (*S) is all that there is.

    Args:
        shape: (H, W) or (D, H, W); (1, H, W), (H, W, 1), (1, D, H, W) or (D, H, W, 1) where `spatial_dims` is said.
        spatial_dims: 2 or 3; None where it follows from the shape.

    Raises:
        ArrayError: the shape has two readings and `spatial_dims` is not said, or it does not fit what is said.
    """
    if spatial_dims not in (None, 2, 3):
        raise ArrayError(f"spatial_dims: found {spatial_dims!r}; expected 2 or 3")
    ends = [axis for axis in (0, len(shape) - 1) if len(shape) and shape[axis] == 1]
    if spatial_dims is None:
        if len(shape) == 3 and ends:
            raise ArrayError(
                f"{what} has the shape {tuple(shape)}: a 2-D image with its one channel, or a volume of one slice; say "
                "spatial_dims=2 or spatial_dims=3"
            )
        spatial_dims = len(shape)
    if spatial_dims in (2, 3) and len(shape) == spatial_dims:
        return None
    if spatial_dims in (2, 3) and len(shape) == spatial_dims + 1 and ends:
        return ends[0]
    axes = {2: "(H, W)", 3: "(D, H, W)"}.get(spatial_dims, "(H, W) or (D, H, W)")
    raise ArrayError(f"{what} has the shape {tuple(shape)}; expected {axes}: one image, one class")
