"""A data set as a raw data folder of nnU-Net (version 2): `Dataset###_NAME` with imagesTr, labelsTr and imagesTs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from scantling.core.atomic import write_json
from scantling.core.case import Case, Geometry, Labels
from scantling.core.errors import DataError, ScantlingError, SettingsError
from scantling.core.outputs import check_inputs
from scantling.data.contents import count
from scantling.data.dataset import Dataset
from scantling.data.files import Header, probe, write_image, write_labels
from scantling.data.formats.common import COLOUR
from scantling.data.loading import load
from scantling.data.nnunet import DATASET
from scantling.data.nnunet_masks import Coding
from scantling.data.opening import OPENING, Opening

FIRST = 501
"""Numbers below are for nnU-Net's own data sets."""
MADE_BY = "scantling export"
RASTER_TYPES = ("uint8", "uint16")
SPLITS_FILE = "splits_final.json"
Progress = Callable[[int, int, str], None]


@dataclass
class Exported:
    """What was written.

    Attributes:
        folder: `Dataset###_NAME`.
        training, testing: how many cases.
        notes: sentences on what nnU-Net's folder cannot hold.
        failed: a sentence for each case that could not be read.
    """

    folder: Path
    training: int = 0
    testing: int = 0
    notes: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "folder": str(self.folder), "training": self.training, "testing": self.testing,
            "notes": self.notes, "failed": self.failed,
        }  # fmt: skip


def export_nnunet(
    dataset: Dataset,
    out: Path,
    *,
    number: int | None = None,
    name: str | None = None,
    opening: Opening = OPENING,
    progress: Progress | None = None,
) -> Exported:
    """Write the labelled cases of a data set as nnU-Net's raw data (Isensee et al., Nature Methods, 2021).

    Training and validation cases go to imagesTr and labelsTr, and which are which to `splits_final.json`; test cases
    go to imagesTs and labelsTs. Classes become 1..K; what is unknown becomes the last value, "ignore"; classes that
    overlap become nnU-Net's regions. Scribbles are masks that are unknown elsewhere.

    Args:
        out: the folder that holds such folders (nnU-Net's `nnUNet_raw`).
        number: of the data set; None: that of an earlier export of this name, else the first free one from `FIRST`.
        name: of the data set; None: its own.
        opening: how files are decoded.
        progress: called with (done, total, id) after each case.

    Raises:
        DataError: there is no labelled training case, or cases do not go together.
        SettingsError: the folder holds something else.
    """
    title = re.sub(r"[^A-Za-z0-9-]+", "", (name or dataset.name).replace("_", "-").replace(" ", "-")) or "data"
    folder = _folder(out, title, number)
    check_inputs(folder, dataset.files())
    labels = dataset.labels
    cases = sorted((c for c in dataset.cases if c.images and (c.masks or c.scribbles)), key=lambda case: case.id)
    training = [case for case in cases if case.split != "test"]
    if labels is None or not training:
        raise DataError(f"{dataset.root}: has no training case with an image and a mask; nnU-Net needs at least one")
    done = Exported(folder)
    _remarks(dataset, training, done.notes)
    layout = _Layout.of(cases, opening, done)
    coding = Coding.of(training, labels, opening) if not labels.exclusive else Coding.exclusive(labels)
    done.notes += coding.notes
    written: dict[str, list[str]] = {"imagesTr": [], "labelsTr": [], "imagesTs": [], "labelsTs": []}
    kept: list[Case] = []
    ignored = False
    facts: dict[str, Any] = {"made_by": MADE_BY, "numTraining": len(training)}
    write_json(folder / DATASET, facts)
    tests = [case for case in dataset.cases if case.split == "test" and case.images]
    for place, case in enumerate(todo := [*training, *sorted(tests, key=lambda case: case.id)], start=1):
        part = "Ts" if case.split == "test" else "Tr"
        try:
            unknown = _write_case(folder, part, case, layout, coding, labels, opening, written)
        except ScantlingError as error:
            done.failed.append(f"{case.id}: {error}")
        else:
            ignored |= unknown
            kept.append(case)
        if progress is not None:
            progress(place, len(todo), case.id)
    done.training = sum(case.split != "test" for case in kept)
    done.testing = len(kept) - done.training
    for part, names in written.items():
        _keep_only(folder / part, names)
    write_json(folder / DATASET, facts | layout.facts() | coding.facts(ignored) | {
        "name": title, "numTraining": done.training, "file_ending": layout.ending,
    })  # fmt: skip
    parts = {split: [case.id for case in kept if case.split == split] for split in ("train", "validation")}
    if parts["validation"]:
        write_json(folder / SPLITS_FILE, [{"train": parts["train"], "val": parts["validation"]}])
        done.notes.append(
            f"{SPLITS_FILE} holds this split as fold 0; copy it to nnUNet_preprocessed/{folder.name} before training"
        )
    else:
        (folder / SPLITS_FILE).unlink(missing_ok=True)
    return done


def _folder(out: Path, title: str, number: int | None) -> Path:
    """The folder to write: an earlier export of the same name, or a new one."""
    if number is not None and not 1 <= number <= 999:
        raise SettingsError(f"--number {number}: expected a number from 1 to 999, as nnU-Net writes it")
    there = {
        int(match[1]): path
        for path in (out.iterdir() if out.is_dir() else ())
        if (match := re.fullmatch(r"Dataset(\d{3})_.+", path.name))
    }
    same = [n for n, path in there.items() if path.name.partition("_")[2] == title and _is_ours(path)]
    free = (n for n in range(FIRST, 1000) if n not in there)
    chosen = number if number is not None else same[0] if same else next(free, None)
    if chosen is None:
        raise SettingsError(f"--out {out}: all numbers from {FIRST} to 999 are taken; pass --number")
    folder = out / f"Dataset{chosen:03d}_{title}"
    taken = there.get(chosen)
    if taken is not None and (taken != folder or not _is_ours(taken)):
        raise SettingsError(f"{taken}: is another data set with the number {chosen}; choose another --number")
    return folder


def _is_ours(folder: Path) -> bool:
    """Whether a folder was written by an export."""
    with suppress(OSError, ValueError):
        content = json.loads((folder / DATASET).read_text(encoding="utf-8"))
        return isinstance(content, dict) and content.get("made_by") == MADE_BY
    return False


def _keep_only(folder: Path, names: Iterable[str]) -> None:
    """Remove what an earlier export wrote and this one did not."""
    wanted = set(names)
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name not in wanted and path.is_file():
            path.unlink()


def _remarks(dataset: Dataset, training: Sequence[Case], notes: list[str]) -> None:
    """What nnU-Net's folder cannot hold."""
    bare = [case for case in dataset.cases if case.images and case.split != "test" and case not in training]
    if bare:
        notes.append(f"{count(len(bare), 'training case')} without a mask left out: nnU-Net learns from labelled cases")
    if any(len(case.masks) > 1 for case in training):
        notes.append("of several annotators the first one's masks are written")
    if any(case.region for case in training):
        notes.append("regions of interest are not written")


@dataclass(frozen=True)
class _Layout:
    """How images are written: the channels of the model, the files of a case, the ending of all files."""

    channels: tuple[str, ...]
    together: bool
    """Whether red, green and blue share one file, as nnU-Net reads pictures."""
    ending: str
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, cases: Sequence[Case], opening: Opening, done: Exported) -> _Layout:
        """From the headers of all images; broken files are left to the cases that hold them."""
        widest: dict[str, tuple[str, ...]] = {}
        dtypes, containers, axes, units = set(), set(), set(), set()
        for case in cases:
            with suppress(ScantlingError):
                headers: Mapping[str, Header] = {
                    key: probe(address, untrusted=opening.untrusted) for key, address in case.images.items()
                }
                for key, header in headers.items():
                    widest[key] = max(widest.get(key, ()), header.channels, key=len)
                    dtypes.add(header.dtype)
                    containers.add(header.geometry.container)
                    axes.add(len(header.shape))
                    units.add(header.geometry.unit)
        if not widest:
            raise DataError("no image can be read; run `scantling check` on the data")
        if len(axes) > 1:
            raise DataError("images with two and with three axes; nnU-Net takes one kind; split the folder")
        alone = list(widest) == ["image"]
        channels = tuple(
            channel if alone else key if len(names) == 1 else f"{key} {channel}"
            for key, names in widest.items()
            for channel in names
        )
        dtype = np.result_type(*dtypes)
        flat = containers == {"raster"} and dtype.name in RASTER_TYPES
        if flat and "mm" in units:
            done.notes.append("PNG files hold no spacing: nnU-Net takes pixels as 1 mm")
        return cls(channels, flat and channels == COLOUR and dtype == np.uint8, ".png" if flat else ".nii.gz", dtype)

    def facts(self) -> dict[str, Any]:
        """For `dataset.json`."""
        return {"channel_names": {str(place): name for place, name in enumerate(self.channels)}}

    def files(self, image: np.ndarray) -> list[np.ndarray]:
        """The arrays (C, *S) of the files of one case."""
        values = np.rint(image) if self.dtype.kind in "iub" else image
        typed = values.astype(self.dtype if self.dtype.name in (*RASTER_TYPES, "int16", "int32") else np.float32)
        return [typed] if self.together else [channel[None] for channel in typed]

    def placed(self, geometry: Geometry) -> Geometry:
        """How they lie in their files."""
        return geometry if self.ending == ".png" else replace(geometry, container="volume")


def _write_case(
    folder: Path,
    part: str,
    case: Case,
    layout: _Layout,
    coding: Coding,
    labels: Labels,
    opening: Opening,
    written: Mapping[str, list[str]],
) -> bool:
    """Write the images and the mask of a case; returns whether something of its mask is unknown."""
    sample = load(
        case, labels=labels, channels=layout.channels, limits=opening.limits, untrusted=opening.untrusted,
        reads=("image", "mask") if case.masks else ("image", "scribbles"),
    )  # fmt: skip
    geometry, encoded = layout.placed(sample.geometry), None
    mask = sample.masks[0] if sample.masks else sample.scribbles
    if mask is not None:
        encoded = coding.encoded(mask)
    images = [
        write_image(folder / f"images{part}", f"{case.id}_{number:04d}", image, geometry, colour=len(image) == 3).name
        for number, image in enumerate(layout.files(sample.image))
    ]
    if encoded is not None:
        written[f"labels{part}"].append(write_labels(folder / f"labels{part}", case.id, encoded, geometry).name)
    written[f"images{part}"] += images
    return encoded is not None and bool((encoded == coding.unknown).any())
