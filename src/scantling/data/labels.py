"""The meaning of the values in masks: checked, merged, and applied to an array."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np

from scantling.core.case import IGNORE, Address, Labels
from scantling.core.errors import DataError, FileError
from scantling.core.pieces import spans
from scantling.data.contents import some
from scantling.data.files import FORBIDDEN, safe_id
from scantling.data.mask_colours import is_colour, nearest, shown
from scantling.data.mask_values import FULL_SCALE, MOST_VALUES, ValueCounts

MOST_CLASSES = 254
LARGEST = 65535
"""The greatest value of a class: masks are written with 16 bits at most."""
OWN_FOLDERS = ("probabilities", "samples", "uncertainty")
"""Folders that predictions have beside those of classes that overlap."""
LOSSY = (".jpg", ".jpeg")


class UnknownValueError(DataError):
    """A mask holds values that nobody has declared."""


def valid_labels(labels: Labels, where: str) -> Labels:
    """`labels` if they do not contradict themselves.

    Raises:
        DataError: no class, too many, or a value with two meanings that exclude each other.
    """
    if not 0 < len(labels.names) <= MOST_CLASSES:
        raise DataError(f"{where}: found {len(labels.names)} classes; expected 1 to {MOST_CLASSES}")
    used = {value for values in labels.values for value in values}
    if labels.ignore is not None and labels.ignore in used | set(labels.background):
        raise DataError(f"{where}: the value {labels.ignore} is both 'ignore' and a class or background; keep one")
    if both := used & set(labels.background):
        raise DataError(f"{where}: {_values(both)} both background and a class; keep one")
    if strange := sorted(value for value in used if not (0 <= value <= LARGEST or is_colour(value))):
        raise DataError(
            f"{where}: {_values(strange)} no value of a class; expected 0 to {LARGEST}; write the masks with other "
            "values, or declare them as 'ignore' or 'background'"
        )
    if any(labels.values) and not all(labels.values):
        raise DataError(
            f"{where}: some classes have values and some have none; give every class its values, or none "
            "where each class lies in a file of its own"
        )
    if labels.others == "object" and len(labels.names) > 1:
        raise DataError(
            f'{where}: found {len(labels.names)} classes in maps that number objects (others = "object"); '
            "expected one; where objects have classes, give masks of the classes and the maps as 'instances'"
        )
    _valid_folders(labels, where)
    return labels


def joined_classes(labels: Labels, regions: Mapping[str, Sequence[str]], where: str) -> Labels:
    """The labels of regions, each of which joins classes: what the values of the same masks mean for them.

    Regions may overlap, as "whole tumour" and "tumour core" do.

    Raises:
        DataError: a region joins nothing, or what is no class, or the classes overlap.
    """
    if not labels.exclusive or not all(labels.values):
        raise DataError(
            f"{where}, key 'regions': the classes {some(labels.names)} overlap; regions join classes that exclude each "
            "other; give each region the values of its classes in place of 'regions', or leave them out"
        )
    values = dict(zip(labels.names, labels.values, strict=True))
    for name, classes in regions.items():
        if strange := [one for one in classes if one not in values]:
            raise DataError(
                f"{where}, key 'regions': the region {name!r} joins {strange[0]!r}, which is no class; expected some "
                f"of {', '.join(values)}"
            )
        if not classes:
            raise DataError(f"{where}, key 'regions': the region {name!r} joins no class; name some of its classes")
    of_regions = tuple(
        tuple(dict.fromkeys(value for one in classes for value in values[one])) for classes in regions.values()
    )
    used = {value for found in of_regions for value in found}
    rest = tuple(value for found in labels.values for value in found if value not in used)
    return labels.model_copy(
        update={"names": tuple(regions), "values": of_regions, "background": (*labels.background, *rest)}
    )


def class_folder(name: str) -> str:
    """The folder that the masks of a class are written into where classes overlap: "whole/tumor" has `whole-tumor`.

    Raises:
        FileError: nothing is left that a folder can be called on every system.
    """
    return safe_id("".join("-" if character in FORBIDDEN else character for character in name).strip(" ."))


def _valid_folders(labels: Labels, where: str) -> None:
    owners = dict.fromkeys(OWN_FOLDERS, "Scantling's own")
    for name in labels.names:
        try:
            folder = class_folder(name)
        except FileError:
            raise DataError(
                f"{where}: the class {name!r} cannot be the name of a folder, and its masks are written into one; "
                "rename it, with letters, digits, spaces, '-' and '_'"
            ) from None
        other = owners.setdefault(folder.lower(), f"that of {name!r}")
        if not labels.exclusive and other != f"that of {name!r}":
            raise DataError(
                f"{where}: the masks of {name!r} go into the folder {folder!r}, which is {other}; rename it"
            )


def merge_labels(parts: Iterable[tuple[Labels | None, bool]]) -> Labels | None:
    """One meaning for the masks of several datasets; each part says whether its labels were found, not declared.

    Equal names keep all values that mean them. A single found class takes the name of a single declared one.

    Raises:
        DataError: the classes differ, or one value means two things.
    """
    known = [(labels, found) for labels, found in parts if labels is not None]
    if not known:
        return None
    declared = next((labels for labels, found in known if not found), known[0][0])
    merged = declared
    for labels, found in known:
        if found and len(labels.names) == len(declared.names) == 1:
            labels = labels.model_copy(update={"names": declared.names})
        if labels.names != merged.names or any(map(bool, labels.values)) != any(map(bool, merged.values)):
            raise DataError(
                f"the datasets have different classes ({some(merged.names)}; {some(labels.names)}); "
                "name them alike in a manifest for each, or do not join them"
            )
        ignores = {value for value in (merged.ignore, labels.ignore) if value is not None}
        if len(ignores) > 1:
            raise DataError(f"the datasets ignore different values ({some(map(str, sorted(ignores)))}); use one value")
        merged = Labels(
            names=merged.names,
            values=tuple(tuple(dict.fromkeys(a + b)) for a, b in zip(merged.values, labels.values, strict=True)),
            ignore=next(iter(ignores), None),
            background=tuple(dict.fromkeys(merged.background + labels.background)),
            others=max(merged.others, labels.others, key=("error", "background", "nearest", "object").index),
        )
        if "object" in (merged.others, labels.others) and (merged.ignore is not None or merged.background != (0,)):
            raise DataError(
                "the masks of one dataset number objects, and another declares values for 'ignore' or 'background', "
                "which may be such numbers; make the instance maps binary, or do not join the datasets"
            )
    listed = [value for values in merged.values for value in values]
    if declared.exclusive and len(listed) != len(set(listed)):
        raise DataError("one value means different classes in the datasets; write their masks with the same values")
    return valid_labels(merged, "the joined datasets")


def distinct(array: np.ndarray) -> np.ndarray:
    """The values that occur in a label map, ascending."""
    return ValueCounts.of(array).values


def unknown_values(array: np.ndarray, labels: Labels) -> list[int]:
    """The values of a label map that `labels` do not know."""
    if labels.others != "error":
        return [value for value in distinct(array).tolist() if value < 0]
    known = {value for values in labels.values for value in values} | {*labels.background, labels.ignore}
    return [value for value in distinct(array).tolist() if value not in known]


def encode(array: np.ndarray, labels: Labels, where: Address | str) -> np.ndarray:
    """Class numbers from the values of a file.

    Args:
        array: (*S) whole numbers.
        labels: what they mean.
        where: the file, for the error.

    Returns:
        (1, *S) uint8 of 0, 1..K and `IGNORE`, or (K, *S) of 0, 1 and `IGNORE` where classes overlap.

    Raises:
        UnknownValueError: the file holds a value that the labels do not know.
    """
    if strange := unknown_values(array, labels):
        raise UnknownValueError(
            f"{where}: the mask holds {_values(strange)} unknown; expected {_expected(labels)}; "
            "mend the mask or declare the value in a manifest (classes, background or ignore)"
        )
    meant = {*labels.background, *(value for values in labels.values for value in values)}
    known = sorted(meant if labels.ignore is None else meant | {labels.ignore})
    out = np.empty((1 if labels.exclusive else len(labels.names), array.size), np.uint8)
    flat = array.reshape(-1)
    for span in spans(array.size):
        out[:, span] = _encoded(flat[span], labels, known)
    return out.reshape(-1, *array.shape)


def _encoded(array: np.ndarray, labels: Labels, known: list[int]) -> np.ndarray:
    """`encode` for (n,) values, of which none is wrong."""
    if labels.others == "nearest" and labels.coloured:
        array = nearest(array, np.array(known))
    elif labels.others == "nearest":
        array = np.array(known)[np.searchsorted([(a + b) / 2 for a, b in pairwise(known)], array, side="right")]
    elif labels.others != "error":
        other = labels.values[0][0] if labels.others == "object" else -1
        array = np.where(np.isin(array, known), array, other)
    low, high = int(array.min()), int(array.max())
    table = np.zeros((1 if labels.exclusive else len(labels.names), high - low + 1), np.uint8)
    for number, values in enumerate(labels.values, start=1):
        for value in values:
            if low <= value <= high:
                table[(0, value - low) if labels.exclusive else (number - 1, value - low)] = (
                    number if labels.exclusive else 1
                )
    if labels.ignore is not None and low <= labels.ignore <= high:
        table[:, labels.ignore - low] = IGNORE
    return table[:, array - low]


def region_of(array: np.ndarray, where: Address) -> np.ndarray:
    """(*S) bool, the inside of a region of interest (*S).

    Of a grey region, which a JPEG is, or one with values between 0 and full scale (255 or 65,535), or one with more
    than `MOST_VALUES` values, the inside is what has at least half of its greatest value. Of a region of two values,
    neither of them 0, it is the greater. Of any other, whatever is above 0.
    """
    values = distinct(array)
    most = int(values[-1]) if values.size else 0
    if len(values) > MOST_VALUES and is_colour(most):
        raise DataError(f"{where}: found {len(values)} colours; expected a region of interest of one colour on black")
    grey = len(values) > MOST_VALUES or (len(values) > 2 and most in FULL_SCALE)
    if grey or where.path.suffix.lower() in LOSSY:
        return array >= (max(most, 1) + 1) // 2
    return array > (int(values[0]) if len(values) == 2 and values[0] > 0 else 0)


def encode_one(array: np.ndarray, labels: Labels | None, where: Address | str) -> np.ndarray:
    """(*S) uint8 of 0, 1 and `IGNORE` from a file that holds a single class: 0 and one other value.

    Raises:
        DataError: the file holds more values.
    """
    ignore = labels.ignore if labels else None
    values = [value for value in distinct(array).tolist() if value not in (0, ignore)]
    if values and values[0] < 0:
        raise DataError(f"{where}: {negative(values)}")
    if len(values) > 1:
        raise DataError(
            f"{where}: the mask of one class holds {_values(values)} different; expected 0 and one other value"
        )
    mask = (array != 0).astype(np.uint8)
    if ignore is not None:
        mask[array == ignore] = IGNORE
    return mask


def negative(values: Iterable[int]) -> str:
    """What is wrong with a mask that holds negative values, after the name of its file."""
    listed = some(str(value) for value in values if value < 0)
    return (
        f"the mask holds negative values ({listed}); expected 0 for the background and classes above it; mend the "
        "mask, or declare the classes, 'ignore' and 'background' in a manifest (scantling.toml)"
    )


def _values(values: Iterable[int]) -> str:
    listed = sorted(values)
    named = some(map(shown, listed))
    return f"the value {named}, which is" if len(listed) == 1 else f"the values {named}, which are"


def _expected(labels: Labels) -> str:
    known = sorted({value for values in labels.values for value in values} | set(labels.background))
    ignored = "" if labels.ignore is None else f" and {shown(labels.ignore)} to ignore"
    return some(map(shown, known), most=12) + ignored
