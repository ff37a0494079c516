"""A folder of DICOM files as one volume: one series, sorted along its normal, its slices evenly apart."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from scantling.data.formats.common import Array, Header, Plan, Source
from scantling.data.formats.dicom import Frames, decoded, parse, quiet
from scantling.data.formats.dicom_files import SUFFIXES
from scantling.data.formats.dicom_geometry import Place, flat_geometry, stacked_geometry
from scantling.data.formats.dicom_index import Entry, entries_of, opened, series_files


def inspect(folder: Source) -> Plan:
    """Judge every header of the series (the member of the address, or the only one), and that they belong together."""
    paths = _chosen(folder)
    size = sum(path.stat().st_size for path in paths)
    if size > folder.limits.bytes:
        raise folder.error(f"holds {size:,} bytes", expected=f"at most {folder.limits.bytes:,}")
    slices: list[Frames] = []
    for path in paths:
        with opened(path, folder.limits) as source, quiet():
            slices.append(parse(source))
    _belong_together(folder, paths, slices)
    first = slices[0]
    place = Place(first.place.step)
    if all(frames.place.origins for frames in slices):
        place = replace(first.place, origins=tuple(frames.place.origins[0] for frames in slices))
        order: Sequence[int] = place.order()
    else:
        order = sorted(range(len(slices)), key=lambda index: slices[index].number)
        if len({frames.number for frames in slices}) < len(slices):
            raise folder.error("its files have neither positions nor numbers", expected="one of them to sort by")
    alone = len(slices) == 1
    build = flat_geometry(folder, first.size, place) if alone else None
    geometry = build or stacked_geometry(folder, first.size, place, len(slices))
    dtype = first.dtype if len({frames.dtype for frames in slices}) == 1 else np.dtype(np.float32)
    header = Header("DICOM", geometry.shape, first.channels, dtype, geometry)

    def decode() -> Array:
        shape = (len(first.channels), len(slices), *first.size)
        pixels = np.empty(shape, dtype)
        for index, chosen in enumerate(order):
            with opened(paths[chosen], folder.limits) as source, quiet():
                pixels[:, index] = decoded(source, slices[chosen])[:, 0]
        if alone:
            return pixels[:, 0]
        return np.ascontiguousarray(pixels.transpose(0, 3, 2, 1)).reshape(len(first.channels), *header.shape)

    samples = len(first.channels) * len(slices) * first.size[0] * first.size[1]
    return Plan(header, decode, samples * dtype.itemsize, size)


def _chosen(folder: Source) -> list[Path]:
    """The files of the series; an error if a file is named like them but is none, for it may be a lost slice."""
    place, series = folder.address.path, folder.address.member
    chosen = series_files(place, series)
    found = [entry.path for entry in chosen]
    if not series:
        known = entries_of(place)
        kinds = {_pattern(path) for path in found}
        for path in sorted(path for path in place.iterdir() if path.is_file() and not path.name.startswith(".")):
            lost = _pattern(path) in kinds or path.suffix.lower() in SUFFIXES
            if lost and path not in {entry.path for entry in known}:
                raise folder.error(
                    f"{path.name} is no DICOM file", expected="one, by its name", remedy="copy it again or take it out"
                )
        _one_series(chosen, folder)
    if not found:
        raise folder.error(
            "holds no DICOM file of an image", expected="the files of one series", remedy="name an image file"
        )
    return found


def _one_series(entries: Sequence[Entry], folder: Source) -> None:
    series = Counter((entry.series, entry.description) for entry in entries if entry.series)
    names = {name for name, _ in series}
    if len(names) > 1:
        listed = "; ".join(
            f"{text or 'unnamed'} {name[-24:]} ({count} files)" for (name, text), count in series.most_common(8)
        )
        raise folder.error(
            f"holds {len(names)} series: {listed}",
            expected="one",
            remedy="put each series into a folder of its own, or add # and its SeriesInstanceUID to the folder",
        )


def _belong_together(folder: Source, paths: Sequence[Path], slices: Sequence[Frames]) -> None:
    sizes = Counter(frames.size for frames in slices)
    if len(sizes) > 1:
        odd = sizes.most_common()[-1][0]
        listed = ", ".join(f"{columns} x {rows} ({count} files)" for (rows, columns), count in sizes.most_common(4))
        name = next(path.name for path, frames in zip(paths, slices, strict=True) if frames.size == odd)
        raise folder.error(
            f"its slices have {len(sizes)} sizes: {listed}, such as {name}",
            expected="slices of one size",
            remedy="put each kind into a folder of its own",
        )
    first = slices[0]
    for path, frames in zip(paths, slices, strict=True):
        if frames.count > 1 or frames.channels != first.channels or not _parallel(frames.place, first.place):
            raise folder.error(
                f"{path.name} has another orientation, spacing or number of frames than {paths[0].name}",
                expected="slices of one kind",
                remedy="put each kind into a folder of its own",
            )


def _parallel(one: Place, other: Place) -> bool:
    if one.across is None or other.across is None or one.down is None or other.down is None:
        return one.across is None and other.across is None and one.step == other.step
    turned = max(float(np.abs(one.across - other.across).max()), float(np.abs(one.down - other.down).max()))
    return turned < 1e-3 and np.allclose(one.step or (1, 1), other.step or (1, 1), rtol=1e-3)


def _pattern(path: Path) -> str:
    """The name with its numbers left out, which slices have in common."""
    return re.sub(r"\d+", "#", path.name)
