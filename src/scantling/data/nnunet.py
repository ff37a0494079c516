"""The raw layouts of nnU-Net (versions 1 and 2) and of the Medical Segmentation Decathlon: `dataset.json`, imagesTr."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scantling.core.case import Address, Case, Labels, Split
from scantling.core.errors import DataError, FileError
from scantling.data.contents import Contents, Finding, entries, left_out, unique
from scantling.data.labels import valid_labels
from scantling.data.layouts import unread

DATASET = "dataset.json"


def is_nnunet(root: Path) -> bool:
    """Whether a folder holds a `dataset.json`, and not one of something else."""
    try:
        with (root / DATASET).open("rb") as file:
            start = file.read(1 << 16)
    except OSError:
        return False
    return any(key in start for key in (b'"channel_names"', b'"modality"')) or (root / "imagesTr").is_dir()


def nnunet(root: Path) -> Contents:
    """The cases of nnU-Net's raw layout (Isensee et al., Nature Methods, 2021) or of the Decathlon's.

    Version 1 and the Decathlon call the channels `modality`, name classes by their values, and are NIfTI; the
    Decathlon has one file a case, with all channels. imagesTr is for training and imagesTs for testing; without
    imagesTs the dataset has no split of its own.

    Raises:
        FileError: `dataset.json` is not as it should be.
        DataError: an image lacks one of its channels.
    """
    path = root / DATASET
    described = read_description(path)
    channels, ending, older = described.channels, described.ending, described.older
    parts: dict[str, Split | None] = {"Tr": None}
    if (root / "imagesTs").is_dir():
        parts = {"Tr": "train", "Ts": "test"}
    remarks: list[Finding] = []
    cases = [
        case
        for part, split in parts.items()
        for case in _nnunet_part(root, part, split, channels, ending, remarks, plain=older)
    ]
    if not cases:
        raise DataError(
            f"{root / 'imagesTr'}: found no file CASE_0000{ending}; expected the images that dataset.json describes"
        )
    known = {path, *(root / f"{kind}{part}" for part in parts for kind in ("images", "labels"))}
    return Contents(
        name=described.name or root.resolve().name,
        root=root,
        cases=unique(cases, root),
        labels=described.labels,
        remarks=(*remarks, *unread(root, known, root)),
        layout="nnU-Net" if not older else "nnU-Net version 1 or Decathlon",
    )


@dataclass(frozen=True)
class Description:
    """What `dataset.json` says: the channels by number, the classes, how files end, and whether it is of version 1."""

    name: str
    channels: tuple[str, ...]
    labels: Labels | None
    ending: str
    older: bool


def read_description(path: Path) -> Description:
    """Read `dataset.json`.

    Raises:
        FileError: it is not as it should be.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        older = "channel_names" not in content and "modality" in content
        named = content["modality" if older else "channel_names"]
        channels = tuple(str(named[key]) for key in sorted(named, key=int))
        ending = str(content.get("file_ending", ".nii.gz") if older else content["file_ending"])
        meanings = {
            str(name): tuple(map(int, values)) if isinstance(values, list) else (int(values),)
            for name, values in _by_name(content["labels"], older=older).items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FileError(
            path,
            f"it is no dataset.json of nnU-Net ({type(error).__name__}: {error})",
            expected="channel_names, labels and file_ending, or modality and labels",
            remedy="correct it, or write a manifest (scantling.toml)",
        ) from None
    background = meanings.pop("background", (0,))
    ignore = meanings.pop("ignore", (None,))[0]
    found = Labels(names=tuple(meanings), values=tuple(meanings.values()), ignore=ignore, background=background)
    labels = valid_labels(found, str(path)) if meanings else None
    return Description(str(content.get("name") or ""), channels, labels, ending, older)


def _by_name(labels: dict[str, Any], *, older: bool) -> dict[str, Any]:
    """The values of the classes by name; older files say the name of each value."""
    return {str(name): int(value) for value, name in labels.items()} if older else labels


def _nnunet_part(
    root: Path,
    part: str,
    split: Split | None,
    channels: Sequence[str],
    ending: str,
    remarks: list[Finding],
    *,
    plain: bool,
) -> list[Case]:
    """The cases of one part; `plain` takes files without the number of a channel, too."""
    folder, annotations = root / f"images{part}", root / f"labels{part}"
    found: dict[str, dict[int, Path]] = {}
    strange = []
    for path in entries(folder) if folder.is_dir() else ():
        name = unicodedata.normalize("NFC", path.name)
        match = re.fullmatch(rf"(.+)_(\d{{4}}){re.escape(ending)}", name)
        if match and int(match[2]) < len(channels):
            found.setdefault(match[1], {})[int(match[2])] = path
        elif plain and name.endswith(ending) and not match:
            found.setdefault(name.removesuffix(ending), {})[0] = path
        else:
            strange.append(path)
    inside = entries(annotations) if annotations.is_dir() else ()
    masks = {unicodedata.normalize("NFC", path.name): path for path in inside}
    remarks += left_out(strange, root, f"no image of a channel in dataset.json (CASE_0000{ending})")
    alone = [path for name, path in masks.items() if name.removesuffix(ending) not in found]
    remarks += left_out(alone, root, "without an image", warning="without image")
    together = len(channels) > 1 and all(set(files) == {0} for files in found.values())
    cases = []
    for id, files in found.items():
        lacking = [] if together else [number for number in range(len(channels)) if number not in files]
        if lacking:
            raise DataError(
                f"{folder}: there is no {id}_{lacking[0]:04d}{ending} ({channels[lacking[0]]}); "
                f"expected {len(channels)} channels as in dataset.json; add the file"
            )
        images = {"image": files[0]} if together else {name: files[number] for number, name in enumerate(channels)}
        mask = masks.get(f"{id}{ending}")
        cases.append(
            Case(
                id=id,
                subject=id,
                named=True,
                split=split,
                images={name: Address(image) for name, image in images.items()},
                masks=(Address(mask),) if mask is not None else (),
            )
        )
    return cases
