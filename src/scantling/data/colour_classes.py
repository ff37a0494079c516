"""The classes of masks in colour, one colour a class: those of a table of names, or those that are found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from scantling.core.case import Labels
from scantling.data.colour_tables import BACKGROUND, IGNORED
from scantling.data.contents import some
from scantling.data.mask_colours import channels_of, colour_name, is_colour, shown, usual, written
from scantling.data.mask_values import EXPLAINED, LEVELS, MOSTLY, ValueCounts

NOISE = 32
"""How far a colour may be from another, in each channel, to be that one damaged."""
SHARE = 1e-3
"""A colour that is found among damaged ones has at least so many of the pixels."""
MOST_PEAKS = 32


def colour_peaks(arrays: Iterable[np.ndarray]) -> tuple[int, ...]:
    """The colours of masks in colour that were blurred, resampled or saved as JPEG, the commonest first; () of others.

    Flat is a pixel in the middle of 3 x 3 (x 3) that differ by `NOISE` / 2 at most in each channel. A peak is a value
    that flat pixels have, with those within `NOISE` of it a share `SHARE` of all pixels; nine in ten flat pixels
    are within half of that of a peak. A share `EXPLAINED` of the pixels with other values are within `NOISE` of a
    peak, or between two of them. They have `LEVELS` values at least, and a flat pixel is commoner.

    Args:
        arrays: (*S) each, label maps.
    """
    total, flat = Counter[int](), Counter[int]()
    for array in arrays:
        channels = np.moveaxis(channels_of(array.ravel()).reshape(*array.shape, 3), -1, 0)
        ranges = [ndimage.maximum_filter(one, 3) - ndimage.minimum_filter(one, 3) for one in channels]
        for counter, pixels in ((total, array), (flat, array[np.max(ranges, axis=0) <= NOISE / 2])):
            found = ValueCounts.of(pixels)
            counter.update(dict(zip(found.values.tolist(), found.counts.tolist(), strict=True)))
    number, values = sum(total.values()), np.array([value for value, _ in flat.most_common()], np.int64)
    colours, counts = channels_of(values), np.array([flat[value] for value in values.tolist()], np.int64)
    left, core, peaks = np.ones(len(values), bool), 0, list[int]()
    while left.any() and len(peaks) < MOST_PEAKS:
        apart = np.abs(colours - colours[left.argmax()]).max(axis=1)
        near = left & (apart <= NOISE)
        if counts[near].sum() > SHARE * number:
            peaks.append(int(values[left.argmax()]))
            core += int(counts[near & (apart <= NOISE / 2)].sum())
        left &= ~near
    rest = np.array([value for value in total if value not in peaks], np.int64)
    others = np.array([total[value] for value in rest.tolist()])
    if len(peaks) < 2 or len(rest) < LEVELS or counts.sum() <= number / 2 or core < MOSTLY * counts.sum():
        return ()
    return tuple(peaks) if others[_between(rest, np.array(peaks))].sum() >= EXPLAINED * others.sum() else ()


def _between(values: np.ndarray, peaks: np.ndarray) -> np.ndarray:
    """(N,) bool, which of the values (N,) are within `NOISE` of the line between any two peaks."""
    colours, ends = channels_of(values), channels_of(peaks)
    near = np.zeros(len(values), bool)
    for number, start in enumerate(ends):
        for end in ends[number + 1 :]:
            along = (colours - start) @ (end - start) / ((end - start) ** 2).sum()
            closest = start + np.clip(along, 0, 1)[:, None] * (end - start)
            near |= np.abs(colours - closest).max(axis=1) <= NOISE
    return near


def fits(used: Mapping[int, int], named: Mapping[str, int], peaks: Sequence[int]) -> bool:
    """Whether a table of names is that of masks with these values, each with its number of pixels.

    Their peaks (see `colour_peaks` and `grey_peaks`) are close to its values; where they have none, nine in ten pixels
    have its values, and at most half of the values beside 0 are others.
    """
    known = np.array([0, *named.values()])
    if peaks:
        apart = np.abs(channels_of(np.array(peaks))[:, None] - channels_of(known)[None]).max(axis=2)
        return bool((apart.min(axis=1) <= NOISE).all())
    those = {value: number for value, number in used.items() if value in known}
    if not any(value for value in those if value) or len(used.keys() - {0}) > 2 * len(those.keys() - {0}):
        return False
    return sum(those.values()) >= MOSTLY * sum(used.values())


def colour_labels(
    used: Mapping[int, int], named: Mapping[str, int], *, peaks: Sequence[int], where: str, table: Path | None
) -> tuple[Labels, str]:
    """The classes of masks in colour, and a sentence with the lines of a manifest that name them.

    Of colours without names the background is black or white, whichever has more pixels, else the commonest.

    Args:
        used: the pixels of each value.
        named: the value of each class by its name, as a table says; it `fits`.
        peaks: of damaged masks, whose other values count as the nearest; else empty.
        where, table: the masks and the table, for the sentence.
    """
    background = tuple(value for name, value in named.items() if name.lower() in BACKGROUND)
    ignore = next((value for name, value in named.items() if name.lower() in IGNORED), None)
    free = {value: used[value] for value in peaks or used if value not in {*named.values()} and not (named and peaks)}
    if not background:
        lowest = {value: number for value, number in free.items() if value in (0, 255)} or free
        background = (max(lowest, key=lowest.__getitem__),) if lowest and not (named and 0 not in lowest) else (0,)
    classes = {name: value for name, value in named.items() if value not in (*background, ignore)}
    for value in sorted(free.keys() - {*background}):
        value = usual(value) if peaks else value
        name = colour_name(value) if any(map(is_colour, used)) else f"class-{value}"
        classes[shown(value) if name in classes else name] = value
    if len(classes) == 1 and not named:
        classes = {"foreground": next(iter(classes.values()))}
    labels = Labels(
        names=tuple(classes),
        values=tuple((value,) for value in classes.values()),
        ignore=ignore,
        background=background,
        others="nearest" if peaks else "error",
    )
    lines = ", ".join(f'"{name}" = {written(value)}' for name, value in classes.items())
    lines = f"classes = {{ {lines} }}, background = [{', '.join(map(written, background))}]"
    lines += "" if ignore is None else f", ignore = {written(ignore)}"
    sentence = f"{where}: masks in colour: {_called(classes.values())} on {_called(background)}"
    if named:
        sentence = f"{where}: the classes are named as {table} says"
    if peaks:
        known = channels_of(np.array([*background, *classes.values(), *([] if ignore is None else [ignore])]))
        values = channels_of(np.array([*used]))
        far = np.min([np.abs(values - one).max(axis=1) for one in known], axis=0) > NOISE
        share = np.array([*used.values()])[far].sum() / sum(used.values())
        lines += ', others = "nearest"'
        sentence += (
            f"; blurred, resampled or saved as JPEG: {share:.2%} of the pixels lie between these, each read as the "
            "nearest"
        )
    return labels, f"{sentence}; in a manifest (scantling.toml) this is: {lines}"


def _called(values: Iterable[int]) -> str:
    return some((f"{colour_name(value)} ({_hex(value)})" for value in values), most=8)


def _hex(value: int) -> str:
    return "#" + "".join(f"{channel:02x}" for channel in channels_of(np.array([value]))[0])
