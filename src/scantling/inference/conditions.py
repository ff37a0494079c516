"""What made cases are conditioned on: the cases of a data set, walked in turn, or an image class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import torch

from scantling.contract.capabilities import Generator
from scantling.core.case import Case, Geometry, Labels, Split
from scantling.core.errors import DataError, FileError, SettingsError
from scantling.core.fields import reads_masks, title_of
from scantling.core.machine import memory_free
from scantling.core.outputs import RUN
from scantling.core.samples import Batch
from scantling.core.streams import Stream
from scantling.data.case_cache import CaseCache
from scantling.data.dataset import Dataset, file_hashes, fingerprint
from scantling.data.files import probe
from scantling.data.loading import load
from scantling.data.opening import OPENING, Opening
from scantling.data.preprocessing import Preprocessed, preprocess
from scantling.data.reader import Place, Reader
from scantling.data.traits import hand_drawn
from scantling.records.run import RunRecord, read_run

CLASS = "image_class"


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What made cases are to be conditioned on.

    Attributes:
        data: a data set that holds what the method's card asks for.
        split: whose cases are taken: "train", "validation", "test" or "all".
        image_class: of every case that is made, whatever those of `data` are.
    """

    data: Path | Dataset | None = None
    split: str = "train"
    image_class: str | None = None
    opening: Opening = OPENING


NOTHING = Conditions()


class Given:
    """What each made case is conditioned on, read when its turn comes.

    Args:
        method: that asks for it.
        cases: by id, with the split that each of them has for the method; none where an image class is all.
        labels: what the values of their masks mean.
        identity: a hash of all of it.
        trained_on: whether the method was trained on the same data set.
    """

    def __init__(
        self,
        method: Generator,
        conditions: Conditions,
        *,
        identity: str,
        cases: Sequence[Case] = (),
        labels: Labels | None = None,
        trained_on: bool = False,
    ) -> None:
        self.method, self.conditions, self.identity, self.cases = method, conditions, identity, cases
        self._labels, self._traits = labels, method.traits.only(method.channels)
        self._reads = tuple(word for word in asked_of(method, conditions) if word != CLASS)
        self._geometries: dict[str, Geometry] = {}
        self._reader = None
        if cases and self._reads:
            stream = Stream(name="given", reads=self._reads)
            cache = CaseCache(self._prepare, budget=memory_free() // 4)
            self._reader = Reader(
                stream, cases, cache, seed=0, stage="synthesis", slices=self._slices, traits=self._traits
            )  # fmt: skip
        drawn = reads_masks(self._reads) or "instances" in self._reads
        own, given = method.hand_drawn, hand_drawn(cases) if drawn else 0
        self.hand_drawn = max(own, given) if trained_on else own + given
        """How many masks drawn by people stand behind what is made: the method's own, and those that it is given."""

    def files(self) -> Iterator[Path]:
        """Every file that may be read."""
        return (address.path for case in self.cases for _, address in case.addresses())

    def parent(self, number: int) -> Case | None:
        """The case that the made case `number` is conditioned on."""
        if self._reader is not None:
            return self._reader.places[number % len(self._reader.places)].case
        return self.cases[number % len(self.cases)] if self.cases else None

    def batch(self, number: int) -> tuple[Batch, Geometry | None]:
        """What the made case `number` is conditioned on, a batch of one, and the grid of its file.

        Raises:
            FileError: a file cannot be read.
            DataError: the files of the case do not fit each other or what the model was trained on.
        """
        index, geometry = torch.tensor([number]), None
        batch = Batch(index, index, {})
        if self._reader is not None:
            position = number % len(self._reader.places)
            batch = replace(self._reader.at(position), index=index, case=index)
            geometry = self._geometry(self._reader.places[position])
        if CLASS in self.method.card.asks:
            case, known = self.parent(number), self.method.traits.image_classes
            name = self.conditions.image_class or (case.image_class if case is not None else None)
            if name not in known:
                where = f"case {case.id}" if case is not None else "--class"
                raise DataError(f"{where}: found the image class {name!r}; the model knows: {', '.join(known)}")
            batch = replace(batch, fields={**batch.fields, CLASS: torch.tensor([known.index(name)])})
        return batch, geometry

    def _slices(self, case: Case) -> int | None:
        """How many slices a case has where a method in 2-D reads volumes; None of one that cannot be read."""
        try:
            shape = probe(next(address for _, address in case.addresses())).shape
        except FileError:  # whoever needs the case meets the error
            return None
        slicing = self.method.preprocessing.dimensions == 2 and len(shape) == 3
        return shape[self._traits.slice_axis] if slicing else None

    def _prepare(self, case: Case) -> Preprocessed:
        opening, traits = self.conditions.opening, self._traits
        sample = load(
            case, labels=self._labels, channels=traits.channels, reads=(*self._reads, "region"), limits=opening.limits,
            untrusted=opening.untrusted,
        )  # fmt: skip
        if (found := len(sample.geometry.shape)) != traits.dimensions:
            raise DataError(f"{case.id}: found {found} dimensions; expected {traits.dimensions} as in training")
        self._geometries[case.id] = sample.geometry
        return preprocess(sample, self.method.preprocessing, traits)

    def _geometry(self, place: Place) -> Geometry:
        """How a case lies in the world; of a slice with its own origin."""
        geometry = self._geometries[place.case.id]
        if place.slice is None or geometry.affine is None:
            return geometry
        affine = geometry.affine.copy()
        affine[:3, 3] += place.slice * affine[:3, self._traits.slice_axis]
        return replace(geometry, affine=affine)


def asked_of(method: Generator, conditions: Conditions) -> tuple[str, ...]:
    """What `--from` has to hold: what the card asks for, or may ask for where a data set is named."""
    return method.card.asks or (method.card.may_ask if conditions.data is not None else ())


def open_conditions(method: Generator, conditions: Conditions, *, source: Path | str) -> Given | None:
    """What the method is to be given; None where its card asks for nothing.

    Args:
        source: the run that the method was loaded from, or its name.

    Raises:
        SettingsError: something is given that it does not ask for, or the reverse.
        DataError: the data hold nothing of what it asks for.
    """
    asks, name = asked_of(method, conditions), method.card.name
    wanted = " and ".join(map(title_of, asks))
    if conditions.image_class is not None and CLASS not in asks:
        raise SettingsError(f"--class {conditions.image_class}: {name} asks for no image class; leave it out")
    known = method.traits.image_classes
    if conditions.image_class is not None and conditions.image_class not in known:
        raise SettingsError(f"--class {conditions.image_class}: the model knows the image classes: {', '.join(known)}")
    if not asks and conditions.data is not None:
        raise SettingsError(f"--from {conditions.data}: {name} asks for nothing; leave it out")
    if conditions.data is None and (conditions.split != "train" or conditions.opening != OPENING):
        raise SettingsError("--split, --manifest and --root say what the cases of --from are; found no --from")
    if not asks:
        return None
    if conditions.data is None:
        if asks == (CLASS,) and conditions.image_class is not None:
            return Given(method, conditions, identity=f"class {conditions.image_class}")
        other = f" or --class NAME ({', '.join(known)})" if asks == (CLASS,) else ""
        raise SettingsError(f"{name} asks for {wanted}; name a data set that has them with --from DATA{other}")
    dataset = conditions.opening.open(conditions.data)
    if "instances" in asks:
        dataset = dataset.with_instances(dataset.label_source.resolved)
    cases, trained_on = cases_of(dataset, conditions, source)
    words = [word for word in asks if word != CLASS or conditions.image_class is None]
    cases = [case for case in cases if all(case.has(word) for word in words)]
    if not cases:
        raise DataError(
            f"{conditions.data}: found no case with {wanted} in the split {conditions.split}; {name} asks for them; "
            "choose another --split or --from"
        )
    labels = dataset.labels if {"mask", "masks", "scribbles", "boxes", "points"} & {*asks} else None
    if labels is not None:
        _check_classes(labels, method.traits.labels, conditions.data)
    hashes = file_hashes(replace(dataset, cases=tuple(cases)), reads={*asks, "region"})
    hashes |= {f"{case.id}: class": case.image_class or "" for case in cases if CLASS in words}
    chosen = f" class {conditions.image_class}" if conditions.image_class else ""
    identity = f"from {fingerprint(hashes)[:16]}{chosen}"
    return Given(method, conditions, identity=identity, cases=cases, labels=labels, trained_on=trained_on)


def cases_of(dataset: Dataset, conditions: Conditions, source: Path | str) -> tuple[list[Case], bool]:
    """The cases of a split by id, as the training of a run has split them where it is the same data set."""
    split = conditions.split
    if split not in (*get_args(Split), "all"):
        raise SettingsError(f"--split {split}: expected train, validation, test or all")
    run = read_run(Path(source)) if (Path(source) / RUN).is_file() else RunRecord()
    trained_on = str(dataset.root.resolve()) in {part.path for part in run.data}
    cases = list(dataset.cases)
    if trained_on:
        of: dict[str, Split] = {id: name for name in get_args(Split) for id in run.split.get(name, ())}
        names = {c.id: run.names_of(c.id, dataset.root, dataset.name) & of.keys() for c in cases}
        cases = [replace(c, split=of[min(names[c.id])] if names[c.id] else c.split) for c in cases]
    return sorted((c for c in cases if split in ("all", c.split)), key=lambda case: case.id), trained_on


def _check_classes(found: Labels, known: Labels | None, where: Path | Dataset) -> None:
    """Make sure that masks mean what the model has learned; a single class matches a single class.

    Raises:
        SettingsError: they do not.
    """
    if known is None or len(found.names) == len(known.names) == 1:
        return
    if found.names != known.names or found.exclusive != known.exclusive:
        raise SettingsError(
            f"--from {where}: has the classes {', '.join(found.names)}; expected those of the model: "
            f"{', '.join(known.names)}"
        )
