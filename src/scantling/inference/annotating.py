"""Labels that a rule draws on the images of a data set, for `synthesize`: a data set of the same images."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from scantling.contract.capabilities import Annotator
from scantling.contract.method import build
from scantling.contract.results import Annotation
from scantling.core.case import Address, Case, Geometry, Labels, Sample
from scantling.core.errors import DataError, SettingsError
from scantling.core.fields import title_of
from scantling.core.outputs import MADE, output_folder
from scantling.core.randomness import numpy_generator
from scantling.data.contents import some
from scantling.data.dataset import file_hashes, fingerprint, objects_in_tables
from scantling.data.files import Picture, safe_id, write_image, write_labels, write_map
from scantling.data.formats.common import COLOUR
from scantling.data.labels import class_folder
from scantling.data.loading import load_apart
from scantling.data.orientation import file_axis, turned_rows
from scantling.inference.conditions import Conditions, cases_of
from scantling.inference.made_cases import scribble_values, unlabelled_value
from scantling.inference.made_set import Cases, MadeSet
from scantling.inference.runner import Progress
from scantling.inference.writing import mask_values
from scantling.phantoms.weak_labels import labels_effort

COPIED = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".nii", ".nii.gz", ".npy", ".dcm")
"""Files that hold one image and nothing else are copied as they are."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """Where the labels of cases go.

    Attributes:
        out: the folder.
        labels: of the masks that are written, with a value for what is unknown.
        made_by: the rule, as each origin says it.
        seed: what its chance comes from.
        asks: the fields that it labels from; where nothing says what it took to draw them, that is counted.
    """

    out: Path
    labels: Labels
    made_by: str
    seed: int
    asks: tuple[str, ...]

    def case(self, case: Case, pictures: Mapping[str, Picture], sample: Sample, made: Annotation) -> dict[str, Any]:
        """Write a case; returns its entry in the manifest."""
        geometry, id = sample.geometry, case.id
        entry: dict[str, Any] = {"id": id, "split": case.split or "train"}
        if case.named or case.subject != id:
            entry["subject"] = case.subject
        entry["images"] = self._images(case, pictures)
        if case.spacing is not None:
            entry["spacing"] = list(case.spacing)
        entry |= {name: value for name, value in (("pool", case.pool), ("strata", dict(case.strata))) if value}
        if sample.region is not None:
            entry["region"] = self._layer("fov", id, sample.region.astype(np.uint8) * np.uint8(255), geometry)
        if made.mask is not None:
            entry["masks"] = [self._mask(id, made.mask, geometry)]
        if made.drawn_slices is not None:
            place, flipped = file_axis(geometry, geometry.slice_axis)
            last = geometry.shape[geometry.slice_axis] - 1
            entry["drawn_slices"] = sorted(last - number if flipped else number for number in made.drawn_slices)
            entry["drawn_axis"] = place
        if made.scribbles is not None:
            values = scribble_values(id, made.scribbles[0], self.labels)
            entry["scribbles"] = self._layer("scribbles", id, values, geometry)
        for name, rows, classes in (
            ("boxes", made.boxes, made.box_classes),
            ("points", made.points, made.point_classes),
        ):
            if rows is not None:
                kind: Any = name
                entry[name] = turned_rows(np.asarray(rows, np.float64), geometry, kind, back=True).round(3).tolist()
                key = "box_classes" if name == "boxes" else "point_classes"
                entry[key] = [self.labels.names[int(number)] for number in ([] if classes is None else classes)]
        for name, map_ in made.uncertainty.items():
            write_map(self.out / "uncertainty" / name, id, map_[None], geometry)
        effort = {**case.origin.effort, **made.effort}
        if "pixels" not in effort:
            effort |= labels_effort(sample, self.asks)
        entry["origin"] = {"kind": "simulated", "model": self.made_by, "seed": self.seed, "effort": effort}
        return entry

    def _layer(self, folder: str, id: str, values: np.ndarray, geometry: Geometry) -> str:
        return write_labels(self.out / folder, id, values, geometry).relative_to(self.out).as_posix()

    def _mask(self, id: str, mask: np.ndarray, geometry: Geometry) -> str | dict[str, str]:
        if self.labels.exclusive:
            return self._layer("masks", id, mask_values(mask[0], self.labels), geometry)
        return {
            name: self._layer(f"masks/{class_folder(name)}", id, mask_values(layer, self.labels), geometry)
            for name, layer in zip(self.labels.names, mask, strict=True)
        }

    def _images(self, case: Case, pictures: Mapping[str, Picture]) -> dict[str, str]:
        """The image files of a case, copied or, where they hold more than the image, written anew without a loss."""
        found = {}
        for name, picture in pictures.items():
            folder = self.out / "images" if list(pictures) == ["image"] else self.out / "images" / safe_id(name)
            found[name] = _written(case.images[name], folder, case.id, picture).relative_to(self.out).as_posix()
        return found


def _written(address: Address, folder: Path, id: str, picture: Picture) -> Path:
    lower = address.path.name.lower()
    suffix = max((one for one in COPIED if lower.endswith(one)), key=len, default="")
    if suffix and not address.member and address.path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copyfile(address.path, folder / f"{safe_id(id)}{suffix}"))
    if lower.endswith(".npz"):  # a member of an archive keeps its axes
        with np.load(address.path, allow_pickle=False) as arrays:
            array = arrays[address.member or arrays.files[0]]
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{safe_id(id)}.npy", array, allow_pickle=False)
        return folder / f"{safe_id(id)}.npy"
    return write_image(folder, id, picture.array, picture.geometry, colour=picture.channels == COLOUR)


def annotate(
    kind: type[Annotator],
    *,
    out: Path,
    count: int | None,
    options: Mapping[str, Any],
    settings: Mapping[str, Any],
    conditions: Conditions,
    shard: tuple[int, int],
    progress: Progress | None,
) -> dict[str, Any]:
    """Draw the labels of the first `count` cases of a data set, or of all; arguments as in `synthesis.synthesize`.

    Raises:
        SettingsError: no data set is named, or an option that a rule does not have.
        DataError: it has no case with what the rule needs, or a case is not of a kind that can be so labelled.
    """
    card, chosen = kind.card, kind.Settings.preset("paper", dict(settings))
    seed = kind.annotate_with.of(options).seed
    if conditions.data is None or conditions.image_class is not None:
        raise SettingsError(
            f"{card.name} draws on the images of a data set with {' and '.join(map(title_of, card.asks))}; name it "
            "with --from DATA, and no --class"
        )
    dataset = conditions.opening.open(conditions.data)
    found = [case for case in cases_of(dataset, conditions, card.name)[0] if all(case.has(one) for one in card.asks)]
    if not found:
        raise DataError(
            f"{conditions.data}: found no case with {' and '.join(map(title_of, card.asks))} in the split "
            f"{conditions.split}; {card.name} needs them; choose another --split or --from"
        )
    if count is not None and not 1 <= count <= len(found):
        raise SettingsError(f"--count {count}: expected 1 to {len(found)}, the cases of --from; leave it out for all")
    cases: Sequence[Case] = found[:count]
    if (labels := dataset.labels) is None:
        raise DataError(f"{conditions.data}: it has masks, but no classes; declare the classes in a manifest")
    labels = labels.model_copy(update={"ignore": unlabelled_value(labels)})
    reads = {*card.asks, *kind.wants, "region"}
    asked = replace(dataset, cases=tuple(found))
    read = fingerprint(file_hashes(asked, reads=reads) | objects_in_tables(asked, reads=reads))
    made_by = f"{card.name} {chosen.model_dump_json()} from {read[:16]}"
    method = build(kind, chosen, kind.blank(chosen))
    written = Written(out=out, labels=labels, made_by=made_by, seed=seed, asks=card.asks)
    part, parts = shard
    ids = tuple(case.id for case in cases)
    made = MadeSet(out=out, labels=labels, made_by=made_by, seed=seed, ids=ids, shared=parts > 1, partly=True)
    inputs = (address.path for case in cases for _, address in case.addresses())
    own = cases[part - 1 :: parts]
    with output_folder(out, record=MADE, inputs=inputs, shard=f"{part}-of-{parts}" if parts > 1 else ""):
        done, entries = made.resume(), Cases()
        try:
            for number, case in enumerate(own, start=1):
                if case.id in done:
                    entries[case.id] = done[case.id]
                else:
                    opening = conditions.opening
                    pictures, sample = load_apart(
                        case, labels=dataset.labels, reads=reads, limits=opening.limits,
                        untrusted=opening.untrusted,
                    )  # fmt: skip
                    sample = replace(sample, image=np.concatenate([one.array for one in pictures.values()]))
                    generator = numpy_generator(seed, card.name, case.id)
                    entries[case.id] = written.case(
                        case, pictures, sample, method.annotate(sample, labels, generator)
                    )  # fmt: skip
                if progress is not None:
                    progress(number, len(own), case.id)
                if number % 16 == 0:
                    made.save(done | entries)
        except BaseException:  # what is made is not made again
            made.save(done | entries)
            raise
        contents = made.save(entries)
    return {**contents, "rejected": {}}


def effort_of(cases: Sequence[Mapping[str, Any]]) -> str:
    """What a hand would have had to do for all cases, in words; empty where nobody knows."""
    total: dict[str, int] = {}
    for case in cases:
        for name, number in case["origin"].get("effort", {}).items():
            total[name] = total.get(name, 0) + number
    return some([f"{number:,} {name}" for name, number in total.items()], most=9)
