"""The channels of a case: which image each comes from, in which order they stand, and how many there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from scantling.core.case import Case, Sample
from scantling.core.errors import DataError
from scantling.core.pieces import LARGE, slabs
from scantling.data.contents import some
from scantling.data.files import Picture
from scantling.data.formats.common import COLOUR

LUMA = np.array((0.299, 0.587, 0.114), np.float32)
"""Weights of red, green and blue in one grey value (ITU-R BT.601)."""


def with_image(sample: Sample, pictures: Mapping[str, Picture], channels: Sequence[str], *, partial: bool) -> Sample:
    """The sample with the channels of its images, which lie on its grid; arguments as in `loading.load`.

    Raises:
        DataError: it lacks a channel, or an image holds another number of channels than is wanted.
    """
    there = np.array([bool(owner_of(channel, pictures)) for channel in channels])
    if partial and there.any() and not there.all():
        present = [channel for channel, known in zip(channels, there, strict=True) if known]
        image = np.zeros((len(channels), *sample.geometry.shape), np.float32)
        image[there] = stacked(sample.case, pictures, present)
        return replace(sample, image=image, channels=there)
    return replace(sample, image=stacked(sample.case, pictures, channels))


def narrowed(sample: Sample, channels: Sequence[str], wanted: Sequence[str]) -> Sample:
    """The sample, whose image has `channels`, with the `wanted` ones of them alone."""
    if tuple(channels) == tuple(wanted):
        return sample
    places = [channels.index(name) for name in wanted]
    there = None if sample.channels is None else sample.channels[places]
    return replace(sample, image=sample.image[places], channels=None if there is None or there.all() else there)


def unnamed(channels: Sequence[str]) -> bool:
    """Whether these are the channels of images that their data set gives no names: grey, colours or numbers."""
    return all(name == "grey" or name in COLOUR or name.isdigit() for name in channels)


def stacked(case: Case, pictures: Mapping[str, Picture], channels: Sequence[str]) -> np.ndarray:
    """(C, *S), the channels of all images in the order of `channels` (in the order of the case if empty).

    The number type is that of the files, or one that holds all of them.

    Raises:
        DataError: the case lacks a channel, or a file holds another number of channels than is wanted.
    """
    if not channels:
        return joined([picture.array for picture in pictures.values()])
    if len(pictures) == 1 and len({owner_of(channel, pictures) for channel in channels}) == 1:
        ((name, picture),) = pictures.items()
        return named(picture, name, channels, case.images.get(name, name))
    wanted: dict[str, list[str]] = {}
    for channel in channels:
        if not (owner := owner_of(channel, pictures)):
            raise DataError(
                f"case {case.id}: it has the images {some(case.images or pictures)}; expected the channels "
                f"{some(channels)}"
            )
        wanted.setdefault(owner, []).append(channel)
    array = joined([named(pictures[name], name, own, case.images.get(name, name)) for name, own in wanted.items()])
    order = [channel for own in wanted.values() for channel in own]
    return array if order == list(channels) else array[[order.index(channel) for channel in channels]]


def by_image(channels: Sequence[str], images: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The wanted channels of each image, without images that have none; of all images no name where none is known."""
    found: dict[str, tuple[str, ...]] = {}
    names = list(images)
    for channel in channels:
        if owner := owner_of(channel, names):
            found[owner] = (*found.get(owner, ()), channel)
    if found:
        return {name: found[name] for name in names if name in found}
    return dict.fromkeys(names, tuple(channels) if len(names) == 1 else ())


def only(picture: Picture, name: str, channels: Sequence[str]) -> Picture:
    """The picture with the wanted channels alone, in their order, where all of them are its own; else as it is.

    Args:
        name: of the image, which stands before that of a channel where a case has several images.
    """
    wanted = tuple(channel.removeprefix(f"{name} ") for channel in channels)
    if not wanted or wanted == picture.channels or not set(wanted) <= set(picture.channels):
        return picture
    return replace(picture, array=picture.array[[picture.channels.index(one) for one in wanted]], channels=wanted)


def named(picture: Picture, name: str, channels: Sequence[str], where: object) -> np.ndarray:
    """The wanted channels (C, *S) of an image: those of that name where it has them, else as many as are wanted.

    Raises:
        DataError: it has neither these channels nor as many.
    """
    array = (picture := only(picture, name, channels)).array
    if len(channels) == 1 and channels[0].removeprefix(f"{name} ") in COLOUR and len(array) > 1 and not is_grey(array):
        raise DataError(
            f"{where}: found {len(array)} channels ({some(picture.channels, most=4)}); expected {channels[0]} among "
            "them"
        )
    return as_many(picture, len(channels), where)


def joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """All channels of several (C, *S), of one without a copy."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def owner_of(channel: str, images: Iterable[str]) -> str:
    """The image that a channel (`Traits.channels`) comes from, of the names of images; empty if it is none of them."""
    return max((name for name in images if channel == name or channel.startswith(f"{name} ")), key=len, default="")


def as_many(picture: Picture, number: int, where: object) -> np.ndarray:
    """(number, *S), by repeating a grey channel or by making three channels grey.

    Raises:
        DataError: no honest way leads from the channels of the file to `number`.
    """
    array = picture.array
    if len(array) == number:
        return array
    if len(array) == 1 and number == 3:
        return np.broadcast_to(array, (3, *array.shape[1:]))
    if len(array) == 3 and number == 1:
        return array[:1] if is_grey(array) else luma(array)[None]
    raise DataError(f"{where}: found {len(array)} channels ({some(picture.channels, most=4)}); expected {number}")


def luma(array: np.ndarray) -> np.ndarray:
    """(*S) float32 of red, green and blue (3, *S)."""
    if array[0].size <= LARGE:
        return np.tensordot(LUMA, array.astype(np.float32, copy=False), axes=1)
    out = np.empty(array.shape[1:], np.float32)
    for slab in slabs(out.shape):
        out[slab] = np.tensordot(LUMA, array[:, slab].astype(np.float32, copy=False), axes=1)
    return out


def is_grey(array: np.ndarray) -> bool:
    """Whether all channels of (C, *S) are equal."""
    return all(np.array_equal(array[0], other) for other in array[1:])
