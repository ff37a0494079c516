"""The command `mend`: a folder of probability maps, of any tool, to unbroken masks.

Which mending to use is either said, or chosen on validation cases: never on the cases that are mended.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from scantling.core.case import IGNORE, Address, Case, Geometry, Labels
from scantling.core.errors import DataError, FileError, ScantlingError, SettingsError
from scantling.core.outputs import PREDICTIONS, check_inputs, check_record
from scantling.core.randomness import seed_of
from scantling.data.contents import some
from scantling.data.dataset import Dataset
from scantling.data.files import is_image_name, stem_of
from scantling.data.grids import place
from scantling.data.hashing import content_of, hash_of
from scantling.data.loading import load, spaced_like
from scantling.data.opening import OPENING, Opening
from scantling.data.probability_maps import map_files, read_probabilities
from scantling.inference.listing import PROGRESS, Listing, lists_in
from scantling.inference.runner import Job, Progress, run_job
from scantling.inference.writing import MAPS, write_mask, write_probabilities, written_values
from scantling.mending.choose import Choice, Example, candidates, choose, without_truth
from scantling.mending.mend import RULES, Mending, mend
from scantling.metrics.overlap import confusion
from scantling.metrics.topology import topology
from scantling.records.record import read_json
from scantling.records.run import run_facts as read_run


@dataclass(frozen=True)
class Maps:
    """A folder of probability maps by id, and what its predictions.json says, here or one folder up.

    Attributes:
        files: the maps.
        labels: the classes.
        listing: the predictions that the maps belong to; empty if nobody says.
    """

    files: Mapping[str, Path]
    labels: Labels
    listing: Mapping[str, Any]

    def read(self, path: Path) -> tuple[np.ndarray, Geometry]:
        """One of the maps, or one of those of the run's validation cases; see `read_probabilities`."""
        ours = bool(self.listing) and path.parent.name == MAPS
        return read_probabilities(Address(path), classes=len(self.labels.names), hard=ours)


@dataclass(frozen=True)
class _Map:
    """One map to mend."""

    id: str
    path: Path


def mend_folder(
    probabilities: Path,
    out: Path,
    settings: Mapping[str, Any],
    *,
    auto: bool = False,
    validation: Path | None = None,
    shard: tuple[int, int] = (1, 1),
    opening: Opening = OPENING,
    progress: Progress | None = None,
) -> tuple[Listing, Mending, Choice | None]:
    """Mend every map of a folder, and write masks, mended maps and predictions.json into `out`.

    Args:
        probabilities: a folder of maps, or one map: PNG (8 or 16 bits, full scale is 1), TIFF, NPY, NPZ, NIfTI.
        settings: of `Mending`, by name; `rule` at least.
        auto: instead of the settings, choose among all candidates of the rule by `validation`, or, without it, take
            what was best elsewhere (`mending.choose.without_truth`).
        validation: a dataset with true masks of validation cases; their maps are those of the run that made the
            maps (`RUN/validation`), or lie among `probabilities`. They are not mended.
        shard: (i, n) does every n-th map, the i-th of n jobs, counted from 1.

    Returns:
        What was written, the mending that was used, and how it was chosen; None where it was not, or by an earlier
        command that this one goes on with.

    Raises:
        ScantlingError: nothing can be started. Cases that fail are listed, not raised.
    """
    said = mending_settings(settings)
    if RULES[said.rule][0]:
        said.check(2)  # what is not stable there is so in no volume
    if auto and (others := [f"--{name}" for name in said.model_dump(exclude_defaults=True) if name != "rule"]):
        raise SettingsError(
            f"--iterations auto chooses everything but the rule; found {some(others)}: leave it out, or say how many "
            "iterations"
        )
    maps = maps_of(probabilities)
    dataset = opening.open(validation) if validation is not None else None
    inputs = [*maps.files.values(), *(dataset.files() if dataset is not None else ())]
    check_inputs(out, inputs)
    check_record(out, PREDICTIONS)
    wanted, pairs = dict(maps.files), list[tuple[Case, Path]]()
    if auto and dataset is not None:
        pairs = _validation_pairs(maps, dataset, probabilities)
        held_out = {case.id for case, _ in pairs}
        if held_out != maps.files.keys():
            wanted = {id: path for id, path in maps.files.items() if id not in held_out}
    header = _header(maps, probabilities, settings, auto=auto, validation=validation, opening=opening, pairs=pairs)
    used, choice = _used(out, header, settings, auto=auto), None
    if used is None and dataset is None:
        used = without_truth(mending_settings({"rule": settings["rule"]}).rule)
    if used is None and dataset is not None:
        choice = choose(candidates(str(settings["rule"])), _examples(pairs, maps, dataset), score=_score)
        used = choice.settings
    if used is None:
        raise ValueError("nothing says how to mend")
    job = Job(out=out, header={**header, "mending": used.model_dump()}, shard=shard)
    items = [_Map(id, path) for id, path in wanted.items()]
    work = partial(_mended, out=out, settings=used, maps=maps)
    done = run_job(job, items, work, inputs=inputs, content=lambda item: hash_of(item.path)[:16], progress=progress)
    return done, used, choice


def _header(
    maps: Maps,
    place: Path,
    settings: Mapping[str, Any],
    *,
    auto: bool,
    validation: Path | None,
    opening: Opening,
    pairs: Sequence[tuple[Case, Path]],
) -> dict[str, Any]:
    """What the record says of how all masks are made, but for the mending that may still have to be chosen."""
    chosen_on = [hash_of(path) for case, path in pairs] + [content_of(case, reads=("mask",)) for case, _ in pairs]
    return {
        **{key: value for key, value in maps.listing.items() if key == "requested" or key not in PROGRESS},
        "mended": {
            "maps": str(place.resolve()),
            "rule": str(settings["rule"]),
            "auto": auto,
            "validation": str(validation.resolve()) if auto and validation else None,
            **(opening.facts() if auto else Opening().facts()),
            "chosen_on": f"{seed_of(*chosen_on):016x}" if auto and validation else None,
            "earlier": {key: maps.listing[key] for key in ("mending", "mended") if key in maps.listing},
        },
        "classes": list(maps.labels.names),
        "values": written_values(maps.labels),
        "exclusive": maps.labels.exclusive,
    }


def _used(out: Path, header: Mapping[str, Any], settings: Mapping[str, Any], *, auto: bool) -> Mending | None:
    """The mending that the settings say, or that an earlier command chose; None where it has yet to be chosen.

    Raises:
        RunError: the folder lists masks that were made otherwise, which is found before anything is chosen.
    """
    if not auto:
        return mending_settings(settings)
    for shard in sorted(out.glob("predictions*.json")):
        found = read_json(shard)
        earlier = found.get("mending") if isinstance(found, dict) else None
        lists_in(out, {**header, "mending": earlier})
        return mending_settings(earlier) if isinstance(earlier, dict) else None
    return None


def _mended(item: _Map, *, out: Path, settings: Mending, maps: Maps) -> dict[str, Any]:
    """Mend one map and write it; returns its entry in the list."""
    begun = time.monotonic()
    try:
        array, geometry = maps.read(item.path)
        mended = mend(array, settings, spatial_dims=array.ndim - 1)
    except ScantlingError as error:
        what = str(error)
        raise DataError(what if item.path.name in what else f"{item.path.name}: {what}") from None
    labels = maps.labels
    mask = decided(mended.mask, mended.map, exclusive=labels.exclusive)
    return {
        "id": item.id,
        "mask": write_mask(out, item.id, mask, geometry, labels),
        "probability": write_probabilities(out, item.id, mended.map, geometry),
        "seconds": round(time.monotonic() - begun, 3),
    }


def decided(masks: np.ndarray, maps: np.ndarray, *, exclusive: bool) -> np.ndarray:
    """Class numbers (*S) where classes exclude each other: of those that claim a pixel, the likeliest; else (K, *S)."""
    if not exclusive:
        return masks.astype(np.uint8)
    claimed = np.where(masks, maps, -1.0)
    return np.where(masks.any(0), claimed.argmax(0) + 1, 0).astype(np.uint8)


def maps_of(place: Path) -> Maps:
    """The maps of a folder, or one map.

    Raises:
        DataError: there is none, or two files have one id.
    """
    if place.is_file():
        paths = [place]
    elif place.is_dir():
        paths = map_files(sorted(path for path in place.iterdir() if not path.is_dir() and is_image_name(path)))
    else:
        raise DataError(f"{place}: there is no such file or folder; expected probability maps")
    if not paths:
        raise DataError(f"{place}: found no probability map; expected PNG, TIFF, NPY, NPZ or NIfTI files")
    files: dict[str, Path] = {}
    for path in paths:
        if stem_of(path) in files:
            raise DataError(f"{place}: {path.name} and {files[stem_of(path)].name} have one id; keep one of them")
        files[stem_of(path)] = path
    folder = place if place.is_dir() else place.parent
    for home in (folder, folder.parent):
        if (home / PREDICTIONS).is_file():
            listing = read_json(home / PREDICTIONS)
            try:
                values = tuple(tuple(int(value) for value in one) for one in listing["values"])
                return Maps(files, Labels(names=tuple(listing["classes"]), values=values), listing)
            except (KeyError, TypeError, ValueError):
                raise FileError(home / PREDICTIONS, "does not list predictions", remedy="move it away") from None
    count = _channels(paths)
    names = tuple(f"class-{number}" for number in range(1, count + 1)) if count > 1 else ("foreground",)
    values = tuple((number,) for number in range(1, count + 1)) if count > 1 else ((255,),)
    return Maps(files, Labels(names=names, values=values), {})


def _channels(paths: Sequence[Path]) -> int:
    """How many classes the maps have: as many as the first that can be read.

    Raises:
        FileError: none can be read; the reason is that of the first.
    """
    reasons: list[ScantlingError] = []
    for path in paths:
        try:
            return len(read_probabilities(Address(path))[0])
        except ScantlingError as error:
            reasons.append(error)
    raise reasons[0]


def mending_settings(values: Mapping[str, Any]) -> Mending:
    """The settings of a mending by name.

    Raises:
        SettingsError: one is unknown or out of its range.
    """
    try:
        return Mending.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])) or "the thresholds"
        raise SettingsError(f"--{name}: found {first['input']!r}; {first['msg']}") from None


def _validation_pairs(maps: Maps, dataset: Dataset, place: Path) -> list[tuple[Case, Path]]:
    """Validation cases with a true mask, and the files of their maps."""
    run = Path(str(maps.listing["run"])) if maps.listing.get("run") else None
    files = dict(maps.files)
    if run is not None and (run / "run.json").is_file():
        ids = set(read_run(run)["split"]["validation"])
        where = run / "validation" / "probabilities"
        if where.is_dir():
            files |= {stem_of(path): path for path in sorted(where.iterdir()) if is_image_name(path)}
    else:
        ids = {case.id for case in dataset.cases if case.split != "test"}
    pairs = [(case, files[case.id]) for case in dataset.cases if case.id in ids and case.masks and case.id in files]
    if not pairs:
        raise DataError(
            f"{place}: found no probability map of a validation case with a true mask in {dataset.root} (there are "
            f"maps of {some(maps.files, most=3)}); train with --validation 0.2, or say --iterations yourself"
        )
    return pairs


def _examples(pairs: list[tuple[Case, Path]], maps: Maps, dataset: Dataset) -> Iterator[Example]:
    labels = maps.labels
    for case, path in pairs:
        array, geometry = maps.read(path)
        sample = load(case, labels=dataset.labels, reads=("mask",))
        geometry = geometry if case.spacing is None else spaced_like(geometry, sample.geometry, case.id)
        mask = place(sample.masks[0], sample.geometry, geometry, where=f"the mask of {case.id}", reference=path)[0]
        if labels.exclusive:
            truth = np.stack([mask[0] == number for number in range(1, len(labels.names) + 1)])
        else:
            truth = mask == 1
        yield Example(array, truth, np.broadcast_to(mask != IGNORE, truth.shape))


def _score(mask: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    shape, overlap = topology(mask, truth, spatial_dims=truth.ndim), confusion(mask, truth)
    return {
        "dice": overlap.dice,
        "dice_or_empty": overlap.dice_or_empty,
        "cldice": shape.cldice,
        "vca": shape.vca,
        "log_vca": shape.log_vca,
    }
