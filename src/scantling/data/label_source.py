"""Where the labels of a dataset come from: declared, or found in the values of its masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from scipy import ndimage

from scantling.core.case import Address, Case, Geometry, Labels
from scantling.core.errors import DataError, FileError
from scantling.data.colour_classes import colour_labels, colour_peaks, fits
from scantling.data.colour_tables import named_values
from scantling.data.contents import count, some
from scantling.data.files import probe, read, read_labels
from scantling.data.formats.common import COLOUR
from scantling.data.labels import LOSSY, distinct, merge_labels, negative, valid_labels
from scantling.data.mask_colours import WHOLE, FractionError, is_alpha, is_colour
from scantling.data.mask_values import (
    FLAT,
    MOST_VALUES,
    MOSTLY,
    SPECK,
    GreyPeaks,
    ValueCounts,
    grey_peaks,
    in_one_piece,
    may_be_grey,
    may_count,
    may_number_objects,
    spread,
)
from scantling.data.partly_drawn import partly_drawn, read_drawn

_FOREGROUND = "foreground"
OF_OBJECTS = ("instances", "instance_maps", "inst_maps", "inst_map")
"""Folders whose masks number objects, however few of them are looked at."""
_REMEDY = "binarise it, or set 'threshold' in a manifest (scantling.toml)"
ReadMap = Callable[[Address], tuple[np.ndarray, Geometry]]


@dataclass(frozen=True)
class FoundLabels:
    """The labels of a dataset, None where there is no mask, and sentences on values that may mean something else."""

    labels: Labels | None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class LabelSource:
    """Where a dataset's labels come from. They are found on first use, so that who needs no mask opens none.

    Attributes:
        declared: what a manifest or `dataset.json` says.
        masks: the label maps whose values tell, where nothing is declared.
        folders: where a table may lie that names the values or the colours (`colour_tables`).
        parts: the sources of the datasets that this one was joined from.
        drawn: the cases of masks of which only some slices or objects were drawn: the others tell nothing.
    """

    declared: Labels | None = None
    masks: tuple[Address, ...] = ()
    folders: tuple[Path, ...] = ()
    parts: tuple[LabelSource, ...] = ()
    drawn: Mapping[Address, Case] = field(default_factory=dict)

    @cached_property
    def found(self) -> FoundLabels:
        """The labels, and what to know of how they were found."""
        return self.find()

    @property
    def labels(self) -> Labels | None:
        """The labels, or None where there is no mask."""
        return self.found.labels

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sentences on masks that are read in another way than value by value, once `labels` were found."""
        return self.found.remarks if "found" in vars(self) else ()

    @property
    def resolved(self) -> Labels | None:
        """The labels that are declared, here or by the parts that declare any; no mask is opened."""
        try:
            return merge_labels([(part.resolved, False) for part in self.parts]) if self.parts else self.declared
        except DataError:  # they mean different things, which matters to who reads masks of both
            return None

    @property
    def undeclared(self) -> tuple[LabelSource, ...]:
        """This source, or those of its parts, whose labels are found in masks."""
        return tuple(one for part in self.parts for one in part.undeclared) or ((self,) if self.masks else ())

    def only(self, masks: Collection[Address], cases: Sequence[Case]) -> LabelSource:
        """The same, but labels that are not declared are found in those of `masks` alone; no other mask is opened.

        Args:
            cases: that they are of, and which say what was drawn.
        """
        left, parts = (
            tuple(mask for mask in self.masks if mask in masks),
            tuple(part.only(masks, cases) for part in self.parts),
        )
        return replace(self, masks=left, parts=parts, drawn=partly_drawn(cases))

    def find(self, *, untrusted: bool = False) -> FoundLabels:
        """As `found`, but the masks are read anew if nothing is declared."""
        if self.parts:
            parts = [part.find(untrusted=untrusted) for part in self.parts]
            undeclared = [part.declared is None for part in self.parts]
            merged = merge_labels(zip((part.labels for part in parts), undeclared, strict=True))
            return FoundLabels(merged, tuple(remark for part in parts for remark in part.remarks))
        if self.declared:
            return FoundLabels(self.declared)
        return find_labels(self.masks, folders=self.folders, drawn=self.drawn, untrusted=untrusted)


def find_labels(
    masks: Sequence[Address],
    *,
    folders: Sequence[Path] = (),
    drawn: Mapping[Address, Case] | None = None,
    untrusted: bool = False,
) -> FoundLabels:
    """The labels that the values of `masks` suggest; None where there is no readable mask.

    One value beside 0 is the class "foreground"; several are "class-1", "class-2", ... by value. Three kinds of masks
    are read in another way, which a remark tells: values that number objects (`may_number_objects`, `in_one_piece`)
    are all the class "object"; the classes of grey masks are their peaks (`grey_peaks`); of 1 and 2 without any 0, as
    labelling tools write them, 1 is the background. A table in one of the `folders` gives names, and colours are
    classes (`colour_classes`). Files that cannot be read are passed over here: whoever needs them meets the error.

    Args:
        drawn: the cases of masks of which only some slices or objects were drawn; the others are not looked at.

    Raises:
        DataError: a mask holds too many values to be a label map, or is a JPEG that is no such grey mask.
    """
    table, named = named_values(folders) or (None, {})
    shuffled = _palettes_differ(spread(masks), untrusted=untrusted)
    colours = shuffled or any(map(is_colour, named.values()))
    read_map = partial(read_drawn, drawn=drawn or {}, untrusted=untrusted, colours=colours)
    with ThreadPoolExecutor(2) as threads:
        try:
            every = list(threads.map(partial(_values_in, read_map=read_map), masks))
        except FractionError:
            return _rounded(masks, untrusted=untrusted)
        found = {mask: values for mask, values in zip(masks, every, strict=True) if values is not None}
    if not found:
        return FoundLabels(None)
    where = str(masks[0].path.parent)
    pixels = Counter[int]()
    for values in found.values():
        pixels.update(dict(zip(values.values.tolist(), values.counts.tolist(), strict=True)))
    coloured = any(map(is_colour, pixels))
    if shuffled and not coloured:
        raise DataError(f"{where}: the palettes of the masks differ, but not their colours; save them without palettes")
    lossy = [mask for mask in found if mask.path.suffix.lower() in LOSSY]
    peaks: tuple[int, ...] = ()
    if coloured:
        peaks = colour_peaks(read_map(mask)[0] for mask in spread([*found]))
    elif named and (grey := grey_peaks(read_map(mask)[0] for mask in _perhaps_grey(found, lossy)[1])) is not None:
        peaks = grey.peaks
    named = named if fits(pixels, named, peaks) else {}
    if named or peaks or (coloured and len(pixels) <= MOST_VALUES and not lossy):
        labels, sentence = colour_labels(pixels, named, peaks=peaks, where=where, table=table)
        return FoundLabels(valid_labels(labels, where), (sentence,))
    if table is not None:  # it is not that of these masks
        return find_labels(masks, drawn=drawn, untrusted=untrusted)
    if coloured:
        return _many_colours(found, read_map)
    result = _grey_or_plain(found, sorted(pixels.keys() - {0}), lossy, read_map)
    alpha = [mask for mask in [*found][:1] if is_alpha(read(mask, untrusted=untrusted, labels=True))]
    sentence = f"{where}: the masks are read from their alpha channel (transparency), and not from their colours"
    return replace(result, remarks=(sentence, *result.remarks)) if alpha else result


def _palettes_differ(masks: Sequence[Address], *, untrusted: bool) -> bool:
    """Whether an index of a palette is one colour in one mask and another in another, as programs write that shrink."""
    meaning: dict[int, int] = {}
    for mask in masks:
        try:
            if probe(mask, untrusted=untrusted).channels != COLOUR:
                continue
            indices = read(mask, untrusted=untrusted, labels=True).array
            if len(indices) > 1:
                return False
            colours, _ = read_labels(mask, untrusted=untrusted, colours=True)
        except FileError:
            continue
        listed, first = np.unique(indices, return_index=True)
        for index, colour in zip(listed.tolist(), colours.flat[first].tolist(), strict=True):
            if meaning.setdefault(index, colour) != colour:
                return True
    return False


def _grey_or_plain(
    found: Mapping[Address, ValueCounts], used: Sequence[int], lossy: Sequence[Address], read_map: ReadMap
) -> FoundLabels:
    """The labels of masks without colours, of which all `used` values but 0 are known."""
    where = str(next(iter(found)).path.parent)
    several = [mask for mask, values in found.items() if len(values.values) > 1]
    if not lossy and len(used) > 1 and all(mask.path.parent.name.lower() in OF_OBJECTS for mask in found):
        return _numbered(used, where, why="in a folder that is called after objects")
    if not lossy and may_number_objects(found.values()) and _in_one_piece(several, read_map):
        return _numbered(used, where)
    grey, sampled = _perhaps_grey(found, lossy)
    if (peaks := grey_peaks(read_map(mask)[0] for mask in sampled)) is not None:
        for mask in grey:
            if (far := peaks.far(found[mask])) > 1 / 2:
                raise DataError(
                    f"{mask}: {far:.0%} of the pixels of the mask are close to none of the values "
                    f"{some(map(str, peaks.peaks))} that the masks have in common; {_REMEDY}"
                )
        return _grey(peaks, len(grey), where)
    _check_values(found, used, lossy)
    plain = _plain(found, used, where)
    if not lossy and len(used) > 1 and may_count(found.values()) and _in_one_piece(several, read_map):
        sentence = (
            f"{where}: the values 1 to {used[-1]} are each one component in every mask; read as "
            f"{len(used)} classes; if they number objects, write 'others = \"object\"' and "
            "'classes = { object = 1 }' into a manifest (scantling.toml); if they are classes, declare them there"
        )
        return replace(plain, remarks=(*plain.remarks, sentence))
    return plain


def _perhaps_grey(
    found: Mapping[Address, ValueCounts], lossy: Sequence[Address]
) -> tuple[Sequence[Address], list[Address]]:
    """The masks that may be grey, and those whose pixels tell; none of either where no mask may be."""
    grey = lossy or [mask for mask, values in found.items() if may_be_grey(values)]
    others = [mask for mask, values in found.items() if len(values.values) > 1 and mask not in {*grey}]
    return grey, [*spread(grey), *spread(others)] if grey else []


def _rounded(masks: Sequence[Address], *, untrusted: bool) -> FoundLabels:
    """The labels of masks of which some hold fractions, as interpolation leaves them between the values of classes.

    Raises:
        DataError: most pixels of a mask are fractions, or the fractions cover areas.
    """
    used, between, pixels = set[int](), 0, 0
    for mask in masks:
        try:
            array = read(mask, untrusted=untrusted, labels=True).array[0]
            whole, _ = read_labels(mask, untrusted=untrusted, rounded=True)
        except FileError:
            continue
        exact = np.abs(array - whole) <= WHOLE
        flat = ndimage.maximum_filter(array, 3) == ndimage.minimum_filter(array, 3)
        if exact.mean() < 1 / 2 or flat[~exact].sum() > FLAT * (~exact).sum():
            some_value = float(array[~exact].flat[0])
            raise DataError(
                f"{mask}: {1 - exact.mean():.0%} of the pixels of the mask are no whole numbers (such as "
                f"{some_value:.4g}); {_REMEDY}"
            )
        used |= {*distinct(whole[exact]).tolist()}
        between, pixels = between + int((~exact).sum()), pixels + exact.size
    where, classes = str(masks[0].path.parent), sorted(used - {0})
    if classes and classes[0] < 0:
        raise DataError(f"{where}: {negative(classes)}")
    if not classes or len(classes) > MOST_VALUES:
        raise DataError(f"{where}: the masks hold fractions and {len(classes)} whole numbers beside 0; {_REMEDY}")
    labels = Labels(names=_named(classes), values=tuple((value,) for value in classes), others="nearest")
    sentence = (
        f"{where}: masks with fractions (blurred or resampled): {between / pixels:.2%} of the pixels, each read as the "
        f"nearest of {some(map(str, sorted(used | {0})))}; to decide yourself, set 'threshold = {classes[0] / 2:g}' in "
        "a manifest (scantling.toml), or mend the masks"
    )
    return FoundLabels(valid_labels(labels, where), (sentence,))


def _in_one_piece(masks: Sequence[Address], read_map: ReadMap) -> bool:
    whole = [in_one_piece(read_map(mask)[0]) for mask in spread(masks)]
    return sum(whole) >= MOSTLY * len(whole)


def _many_colours(found: Mapping[Address, ValueCounts], read_map: ReadMap) -> FoundLabels:
    """The labels of masks of which each object has a colour of its own.

    Raises:
        DataError: they are no such masks.
    """
    most = max(found, key=lambda mask: len(found[mask].values))
    colours = len(found[most].values)
    sizes = np.concatenate([values.counts for values in found.values()])
    if np.median(sizes) >= SPECK and _in_one_piece([*found], read_map):
        used = {value for values in found.values() for value in values.values.tolist()}
        return _numbered(sorted(used - {0}), str(most.path.parent))
    raise DataError(
        f"{most}: the mask holds {colours} different colours; expected a few, one for each class; name the masks and "
        'not the images, or declare the colours in a manifest (scantling.toml): classes = { vessel = "#ff0000" }, and '
        'others = "nearest" where edges are blurred'
    )


def _numbered(used: Sequence[int], where: str, *, why: str = "each one component") -> FoundLabels:
    labels = Labels(names=("object",), values=((255,),), others="object")
    sentence = (
        f"{where}: instance maps: {len(used)} values, {why}; read as instances of one class 'object'; if "
        "each value is a class, declare 'classes' in a manifest (scantling.toml); 'others = \"object\"' there says "
        "that they number objects"
    )
    return FoundLabels(labels, (sentence,))


def _grey(found: GreyPeaks, masks: int, where: str) -> FoundLabels:
    low, *high = found.peaks
    values = tuple((value,) for value in high)
    labels = Labels(names=_named(high), values=values, background=(low,), others="nearest")
    middle = (low + high[0] + 1) // 2
    offer = f"set 'threshold = {middle}'" if len(high) == 1 else "declare 'classes'"
    sentence = (
        f"{where}: grey masks (blurred, resampled or saved as JPEG): {count(masks, 'mask')} with other values than "
        f"{some(map(str, found.peaks))} ({found.between:.2%} of the pixels), each read as the nearest of these; to "
        f"decide yourself, {offer} in a manifest (scantling.toml), or mend the masks"
    )
    return FoundLabels(valid_labels(labels, where), (sentence,))


def _plain(found: Mapping[Address, ValueCounts], used: Sequence[int], where: str) -> FoundLabels:
    if used == [1, 2] and not any(0 in mask.values for mask in found.values()):
        labels = Labels(names=(_FOREGROUND,), values=((2,),), background=(0, 1))
        sentence = (
            f"{where}: the masks hold 1 and 2 and nowhere 0; 1 is read as background and 2 as the class "
            "'foreground'; if 1 is a class, declare 'classes = {first = 1, second = 2}' in a manifest (scantling.toml)"
        )
        return FoundLabels(valid_labels(labels, where), (sentence,))
    if used == [1, 255] and not any({1, 255} <= set(mask.values.tolist()) for mask in found.values()):
        return FoundLabels(Labels(names=(_FOREGROUND,), values=((255, 1),)))
    if len(used) <= 1:
        return FoundLabels(valid_labels(Labels(names=(_FOREGROUND,), values=(tuple(used) or (255,),)), where))
    return FoundLabels(valid_labels(Labels(names=_named(used), values=tuple((value,) for value in used)), where))


def _named(values: Sequence[int]) -> tuple[str, ...]:
    return (_FOREGROUND,) if len(values) == 1 else tuple(f"class-{value}" for value in values)


def _check_values(found: Mapping[Address, ValueCounts], used: Sequence[int], lossy: Sequence[Address]) -> None:
    if lossy:
        raise DataError(f"{lossy[0]}: the mask is a JPEG, which blurs the values at every edge; {_REMEDY}")
    for mask, values in found.items():
        if len(values.values) > MOST_VALUES:
            raise DataError(
                f"{mask}: the mask holds {len(values.values)} different values; expected at most {MOST_VALUES}; "
                f"{_REMEDY}"
            )
    if len(used) > MOST_VALUES:
        raise DataError(
            f"{next(iter(found)).path.parent}: the masks hold {len(used)} different values; expected at most "
            f"{MOST_VALUES}; declare the classes in a manifest (scantling.toml)"
        )


def _values_in(mask: Address, *, read_map: ReadMap) -> ValueCounts | None:
    try:
        array, _ = read_map(mask)
    except FractionError:
        raise
    except FileError:
        return None
    found = ValueCounts.of(array)
    if len(found.values) and found.values[0] < 0:
        raise DataError(f"{mask}: {negative(found.values.tolist())}")
    return found
