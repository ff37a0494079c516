"""Masks that come back from the browser: checked, brought onto the grid of the file, and written beside the originals.

A correction never touches what it corrects: masks go to a folder of their own, each file whole or not at all, with
`corrections.json`, which says who drew what, when, how long, and on whose mask.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scantling.core.atomic import to_json, write_text
from scantling.core.case import Address, Case, Correction, Geometry, Labels
from scantling.core.errors import SettingsError
from scantling.core.outputs import CORRECTIONS, check_inputs, check_record, locked
from scantling.data.corrections import (
    MASKS,
    CorrectedCase,
    CorrectionsFile,
    images_of,
    is_corrections,
    read_corrections,
)
from scantling.data.files import Limits
from scantling.data.labels import encode, encode_one
from scantling.data.loading import read_mask, spaced_like
from scantling.data.orientation import file_axis
from scantling.inference.writing import write_mask, written_values
from scantling.report.case_files import Mask
from scantling.report.viewer_planes import Upright

LONGEST_SITTING = 24 * 3600.0
"""Seconds that one sitting may claim."""
LONGEST_NAME = 200
MOST_RUNS = 30_000_000
"""Run lengths of a mask."""


@dataclass
class Corrections:
    """A folder of corrections that is written to.

    Attributes:
        out: the folder.
        data: the data set that is corrected, with how it was opened.
        labels: what the values of the masks that are written mean: the classes of the data.
        model: whose masks are corrected; empty: nobody's.
        author: whoever corrects, unless the page says another.
    """

    out: Path
    data: Mapping[str, str | None]
    labels: Labels
    model: str = ""
    author: str = ""
    _file: CorrectionsFile = field(init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        self.labels = written_labels(self.labels)
        if is_corrections(self.out):
            self._file = read_corrections(self.out)
            where = f"--out {self.out}: holds corrections of"
            if Path(self._file.data) != Path(str(self.data["data"])):
                raise SettingsError(f"{where} {self._file.data}; choose another folder for {self.data['data']}")
            if self._file.labels != self.labels:
                names = ", ".join(self._file.labels.names)
                raise SettingsError(f"{where} other classes ({names}); choose another folder")
        else:
            self._file = CorrectionsFile.model_validate({**self.data, "labels": self.labels})

    @classmethod
    def checked(cls, out: Path, inputs: Sequence[Path], **how: Any) -> Corrections:
        """A folder that is new, empty or holds corrections of the same data, and in which nothing is read.

        Raises:
            SettingsError: it is not.
        """
        check_inputs(out, inputs)
        check_record(out, CORRECTIONS)
        return cls(out, **how)

    def of(self, id: str) -> CorrectedCase | None:
        """The correction of a case; None where there is none yet."""
        return next((one for one in self._file.cases if one.id == id), None)

    def state(self) -> dict[str, Any]:
        """What the page is told: who has done how much."""
        return {
            "author": self.author,
            "exclusive": self.labels.exclusive,
            "corrected": [one.id for one in self._file.cases],
            "minutes": round(sum(one.correction.seconds for one in self._file.cases) / 60, 1),
        }

    def mask(self, case: Case, grid: Geometry) -> Mask | None:
        """The corrected mask of a case on the grid of its image; None where there is none yet."""
        found = self.of(case.id)
        if found is None:
            return None
        if isinstance(found.mask, str):
            array, geometry = self._read(found.mask)
            numbers = encode(array, self.labels, Address(self.out / found.mask))[0]
            classes = np.stack([numbers == number for number in range(1, len(self.labels.names) + 1)])
        else:
            layers = []
            for name in self.labels.names:
                array, geometry = self._read(found.mask[name])
                layers.append(encode_one(array, self.labels, Address(self.out / found.mask[name])) == 1)
            classes = np.stack(layers)
        geometry = geometry if case.spacing is None else spaced_like(geometry, grid, case.id)
        return Mask(classes, np.ones_like(classes), geometry).on(grid)

    def _read(self, path: str) -> tuple[NDArray[Any], Geometry]:
        return read_mask(Address(self.out / path), self.labels, limits=Limits(), untrusted=False)

    def save(self, case: Case, grid: Geometry, before: Mask | None, content: Mapping[str, Any]) -> dict[str, Any]:
        """Write the mask of a case from what the page has sent.

        Args:
            grid: that of the image.
            before: the mask that the page was given; None: an empty one.
            content: "shape" of the mask on the page, (D, H, W); "layers", for each class the run lengths of 0, 1, ...;
                "seconds" that were spent since it was opened or saved; "slices" that somebody vouches for, from 0 in
                the first plane of the page, or null for all; "author".

        Raises:
            SettingsError: it holds something else.
        """
        if before is not None and not before.known.all():
            raise SettingsError(f"{case.id}: its mask has pixels of which nothing is known, which a correction has not")
        changed = decoded(
            content, classes=len(self.labels.names), exclusive=self.labels.exclusive, most=math.prod(grid.shape)
        )
        upright = Upright.of(grid)
        layers = on_grid(changed, upright, grid, before)
        slices = _slices(content.get("slices"), upright, grid)
        seconds, author = _seconds(content.get("seconds")), _author(content.get("author", self.author))
        if self.labels.exclusive:
            decided = np.zeros(grid.shape, np.uint8)
            for number, layer in enumerate(layers, start=1):
                decided[layer] = number
        else:
            decided = layers.astype(np.uint8)
        with self._lock, locked(self.out, wait=True):
            if is_corrections(self.out):  # somebody else may have corrected other cases meanwhile
                self._file = read_corrections(self.out)
            earlier = self.of(case.id)
            written = write_mask(self.out / MASKS, case.id, decided, grid, self.labels)
            if isinstance(written, str):
                mask: str | dict[str, str] = f"{MASKS}/{written}"
            else:
                mask = {name: f"{MASKS}/{path}" for name, path in zip(self.labels.names, written, strict=True)}
            total = seconds + (earlier.correction.seconds if earlier is not None else 0.0)
            kept = earlier.correction.model if earlier is not None else self.model
            correction = Correction(
                author=author, at=datetime.now(UTC).isoformat(timespec="seconds"), seconds=round(total, 1), model=kept,
                images=images_of(case),
            )  # fmt: skip
            if earlier is not None:  # what somebody has vouched for stays so
                both = None if slices is None or earlier.slices is None else {*slices, *earlier.slices}
                slices = None if both is None else tuple(sorted(both))
            one = CorrectedCase(
                id=case.id, subject=case.subject, named=case.named, mask=mask, slices=slices, correction=correction,
                revisions=1 if earlier is None else earlier.revisions + 1,
            )  # fmt: skip
            others = [other for other in self._file.cases if other.id != case.id]
            cases = tuple(sorted([*others, one], key=lambda other: other.id))
            self._file = self._file.model_copy(update={"cases": cases})
            content_of_file = {"made_by": "scantling view", **self._file.model_dump()}
            write_text(self.out / CORRECTIONS, to_json(content_of_file) + "\n")
            return {"id": case.id, "seconds": correction.seconds, "at": correction.at, **self.state()}


def written_labels(labels: Labels) -> Labels:
    """What the values of masks mean that are written for the classes `labels`: one value for each class, 0 the rest."""
    if not labels.exclusive:
        return Labels(names=labels.names, values=((),) * len(labels.names))
    values = tuple((named[0],) for named in written_values(labels))
    return Labels(names=labels.names, values=values)


def decoded(content: Mapping[str, Any], *, classes: int, exclusive: bool, most: int) -> NDArray[np.bool_]:
    """(K, D, H, W) bool from run lengths.

    Args:
        most: pixels of the image, beyond which nothing is made room for.

    Raises:
        SettingsError: the page has sent something else.
    """
    shape, layers = content.get("shape"), content.get("layers")
    whole = isinstance(shape, list) and len(shape) == 3 and all(type(one) is int and 0 < one < 65536 for one in shape)
    if not whole or not isinstance(shape, list) or math.prod(shape) > most:
        raise SettingsError("the mask of the page has no shape of three axes within its image; load the page again")
    if not isinstance(layers, list) or len(layers) != classes:
        raise SettingsError(f"the mask of the page has not {classes} classes; load the page again")
    size = math.prod(shape)
    found = np.zeros((classes, size), np.bool_)
    for layer, runs in zip(found, layers, strict=True):
        if (
            not isinstance(runs, list)
            or len(runs) > MOST_RUNS
            or not all(type(run) is int and run >= 0 for run in runs)
        ):
            raise SettingsError("the mask of the page holds no run lengths; load the page again")
        if sum(runs) != size:
            raise SettingsError(f"the mask of the page has {sum(runs):,} pixels, expected {size:,}; load it again")
        layer[:] = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    if exclusive and classes > 1 and (found.sum(axis=0, dtype=np.uint16) > 1).any():
        raise SettingsError("the mask of the page has pixels of two classes, which exclude each other; load it again")
    return found.reshape(classes, *shape)


def on_grid(changed: NDArray[np.bool_], upright: Upright, grid: Geometry, before: Mask | None) -> NDArray[np.bool_]:
    """(K, *S) on the grid of the image, of a mask (K, D, h, w) of the page.

    Where the page shows fewer pixels than the image has, what was not changed there keeps its own pixels.

    Raises:
        SettingsError: it is of another image.
    """
    count = len(changed)
    classes = np.zeros((count, *grid.shape), np.bool_) if before is None else before.classes
    start = np.stack([upright(layer) for layer in classes])
    depth, height, width = start.shape[1:]
    if changed.shape[1] != depth or changed.shape[2] > height or changed.shape[3] > width:
        found = " x ".join(map(str, changed.shape[1:]))
        raise SettingsError(
            f"the mask of the page is {found}, the image {depth} x {height} x {width}; load the page again"
        )
    if changed.shape[2:] != (height, width):
        rows = np.minimum(np.arange(height) * changed.shape[2] // height, changed.shape[2] - 1)
        columns = np.minimum(np.arange(width) * changed.shape[3] // width, changed.shape[3] - 1)
        shown = _as_shown(start, changed.shape[2:])
        touched = (shown != changed).any(axis=0)[:, rows][:, :, columns]
        finer = changed[:, :, rows][:, :, :, columns]
        changed = np.where(touched, finer, start)
    return np.stack([downright(layer, upright) for layer in changed])


def _as_shown(start: NDArray[np.bool_], size: tuple[int, ...]) -> NDArray[np.bool_]:
    from scantling.report.viewer_arrays import shrunk

    white = np.where(start, np.uint8(255), np.uint8(0))
    return np.stack([np.asarray(shrunk(layer, (size[0], size[1]))) >= 128 for layer in white])


def downright(array: NDArray[np.bool_], upright: Upright) -> NDArray[np.bool_]:
    """The inverse of `upright`: (*S) of (D, H, W)."""
    turned = array if len(upright.order) == 3 else array[0]
    flipped = turned[tuple(slice(None, None, -1 if flip else 1) for flip in upright.flips)]
    return np.ascontiguousarray(flipped.transpose(np.argsort(upright.order)))


def _slices(given: Any, upright: Upright, grid: Geometry) -> tuple[int, ...] | None:
    """The slices that count, from 0 along the slices of the file; None for all of them, or of a picture."""
    if given is None or len(grid.shape) < 3:
        return None
    along = upright.planes[0].axes[0]
    axis = upright.order[along]
    length = grid.shape[axis]
    if not isinstance(given, list) or not given or not all(type(one) is int and 0 <= one < length for one in given):
        raise SettingsError(f"the page names no slices from 0 to {length - 1}; mark one as right, or save all of them")
    if axis != grid.slice_axis:
        raise SettingsError("the slices of the page are not those of the file; save the whole volume")
    places = {length - 1 - one if upright.flips[along] else one for one in given}
    backwards = file_axis(grid, grid.slice_axis)[1]
    return tuple(sorted(length - 1 - one if backwards else one for one in places))


def _seconds(given: Any) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= LONGEST_SITTING:
        raise SettingsError("the page says no time that was spent; load it again")
    return float(given)


def _author(given: Any) -> str:
    if not isinstance(given, str) or len(given) > LONGEST_NAME or not given.isprintable():
        raise SettingsError(f"the author is no name of at most {LONGEST_NAME} letters; correct it")
    return given.strip()
