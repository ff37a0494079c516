"""What made cases are conditioned on: the cases of a data set, walked in turn, or an image class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from scantling.contract.capabilities import Generator
from scantling.contract.card import NEEDS
from scantling.core.case import Case, Geometry, Labels, Split
from scantling.core.errors import DataError, SettingsError
from scantling.core.samples import Batch
from scantling.data.dataset import Dataset, file_hashes, fingerprint
from scantling.data.files import probe
from scantling.data.loading import load
from scantling.data.opening import OPENING, Opening
from scantling.data.preprocessing import preprocess
from scantling.data.traits import hand_drawn
from scantling.records.run_folder import read_run

CLASS = "class"


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What made cases are to be conditioned on.

    Attributes:
        data: a data set that holds what the method's card asks for.
        split: whose cases are taken: "train", "validation", "test" or "all".
        image_class: of every case that is made, whatever those of `data` are.
    """

    data: Path | None = None
    split: str = "train"
    image_class: str | None = None
    opening: Opening = OPENING


NOTHING = Conditions()


@dataclass(eq=False)
class Given:
    """What each made case is conditioned on, read when its turn comes.

    Attributes:
        method: that asks for it.
        cases: with the split that each of them has for the method; none where an image class is all.
        labels: what the values of their masks mean.
        identity: a hash of all of it.
        trained_on: whether the method was trained on the same data set.
    """

    method: Generator
    cases: tuple[Case, ...]
    labels: Labels | None
    conditions: Conditions
    identity: str
    trained_on: bool = False
    _places: list[tuple[Case, int | None]] = field(init=False)
    _held: tuple[Case, dict[str, Tensor], Geometry] | None = field(default=None, init=False)
    """The case that was read last, whose next slice may follow."""

    def __post_init__(self) -> None:
        self._places = [place for case in self.cases for place in self._places_of(case)]

    @cached_property
    def hand_drawn(self) -> int:
        """How many masks drawn by people stand behind what is made: the method's own, and those that it is given."""
        own = self.method.hand_drawn
        given = hand_drawn(self.cases) if {"mask", "masks"} & {*self.method.card.asks} else 0
        return max(own, given) if self.trained_on else own + given

    def files(self) -> Iterator[Path]:
        """Every file that may be read."""
        return (address.path for case in self.cases for _, address in case.addresses())

    def parent(self, number: int) -> Case | None:
        """The case that the made case `number` is conditioned on."""
        return self._places[number % len(self._places)][0] if self._places else None

    def batch(self, number: int) -> tuple[Batch, Geometry | None]:
        """What the made case `number` is conditioned on, a batch of one, and the grid of its file.

        Raises:
            FileError: a file cannot be read.
            DataError: the files of the case do not fit each other or what the model was trained on.
        """
        fields, geometry = dict[str, Tensor](), None
        case, part = self._places[number % len(self._places)] if self._places else (None, None)
        if case is not None and {*self.method.card.asks} - {CLASS}:
            whole, geometry = self._read(case)
            fields = {name: (tensor if part is None else tensor[:, part])[None] for name, tensor in whole.items()}
            if part is not None and geometry.affine is not None:  # where the slice lies
                affine = geometry.affine.copy()
                affine[:3, 3] += part * affine[:3, self.method.traits.slice_axis]
                geometry = replace(geometry, affine=affine)
        if CLASS in self.method.card.asks:
            name = self.conditions.image_class or (case.image_class if case is not None else None)
            known = self.method.traits.image_classes
            if name not in known:
                where = f"case {case.id}" if case is not None else "--class"
                raise DataError(f"{where}: found the image class {name!r}; the model knows: {', '.join(known)}")
            fields["image_class"] = torch.tensor([known.index(name)])
        index = torch.tensor([number])
        return Batch(index, index, fields), geometry

    def _places_of(self, case: Case) -> Iterator[tuple[Case, int | None]]:
        """A case, or each of its slices where a method in 2-D reads volumes."""
        if self.method.preprocessing.dimensions == 2 and {*self.method.card.asks} - {CLASS}:
            shape = probe(next(address for _, address in case.addresses())).shape
            if len(shape) == 3:
                yield from ((case, number) for number in range(shape[self.method.traits.slice_axis]))
                return
        yield case, None

    def _read(self, case: Case) -> tuple[dict[str, Tensor], Geometry]:
        if self._held is not None and self._held[0] is case:
            return self._held[1:]
        method, opening = self.method, self.conditions.opening
        reads = {*method.card.asks} - {CLASS} | ({"region"} if "image" in method.card.asks else set())
        sample = load(
            case, labels=self.labels, channels=method.channels, reads=reads, limits=opening.limits,
            untrusted=opening.untrusted,
        )  # fmt: skip
        if (found := len(sample.geometry.shape)) != method.traits.dimensions:
            raise DataError(f"{case.id}: found {found} dimensions; expected {method.traits.dimensions} as in training")
        prepared = preprocess(sample, method.preprocessing, method.traits.only(method.channels))
        fields: dict[str, Tensor] = dict(prepared.fields)
        if prepared.image is not None:
            fields["image"] = prepared.image
        if prepared.masks:
            fields["mask"] = prepared.masks[0]
        self._held = (case, fields, sample.geometry)
        return fields, sample.geometry


def open_conditions(method: Generator, conditions: Conditions, *, source: Path | str) -> Given | None:
    """What the method is to be given; None where its card asks for nothing.

    Args:
        source: the run that the method was loaded from, or its name.

    Raises:
        SettingsError: something is given that it does not ask for, or the reverse.
        DataError: the data hold nothing of what it asks for.
    """
    asks, name = method.card.asks, method.card.name
    wanted = " and ".join(NEEDS.get(word, word) for word in asks)
    if conditions.image_class is not None and CLASS not in asks:
        raise SettingsError(f"--class {conditions.image_class}: {name} asks for no image class; leave it out")
    known = method.traits.image_classes
    if conditions.image_class is not None and conditions.image_class not in known:
        raise SettingsError(f"--class {conditions.image_class}: the model knows the image classes: {', '.join(known)}")
    if not asks and conditions.data is not None:
        raise SettingsError(f"--from {conditions.data}: {name} asks for nothing; leave it out")
    if conditions.data is None and (conditions.split != "train" or conditions.opening != OPENING):
        raise SettingsError("--split, --manifest and --root say what the cases of --from are; found no --from DATA")
    if not asks:
        return None
    if conditions.data is None:
        if asks == (CLASS,) and conditions.image_class is not None:
            return Given(method, (), None, conditions, f"class {conditions.image_class}")
        other = f" or --class NAME ({', '.join(known)})" if asks == (CLASS,) else ""
        raise SettingsError(f"{name} asks for {wanted}; name a data set that has them with --from DATA{other}")
    dataset = conditions.opening.open(conditions.data)
    cases, trained_on = _cases(dataset, conditions, source)
    words = [word for word in asks if word != CLASS or conditions.image_class is None]
    cases = [case for case in cases if all(case.has(word) for word in words)]
    if not cases:
        raise DataError(
            f"{conditions.data}: found no case with {wanted} in the split {conditions.split}; {name} asks for them; "
            "choose another --split or --from"
        )
    labels = dataset.labels if {"mask", "masks", "scribble", "scribbles"} & {*asks} else None
    if labels is not None:
        _check_classes(labels, method.traits.labels, conditions.data)
    hashes = file_hashes(replace(dataset, cases=tuple(cases)), reads={*asks, "region"})
    hashes |= {f"{case.id}: class": case.image_class or "" for case in cases if CLASS in words}
    chosen = f" class {conditions.image_class}" if conditions.image_class else ""
    identity = f"from {fingerprint(hashes)[:16]}{chosen}"
    return Given(method, tuple(cases), labels, conditions, identity, trained_on)


def _cases(dataset: Dataset, conditions: Conditions, source: Path | str) -> tuple[list[Case], bool]:
    """The cases of a split by id, as the training of a run has split them where it is the same data set."""
    split = conditions.split
    if split not in (*get_args(Split), "all"):
        raise SettingsError(f"--split {split}: expected train, validation, test or all")
    facts: dict[str, Any] = read_run(Path(source)) if (Path(source) / "run.json").is_file() else {}
    trained_on = str(dataset.root.resolve()) in {entry.get("path") for entry in facts.get("data", [])}
    cases = list(dataset.cases)
    if trained_on:
        # where several data sets were joined, an id that two of them use stands behind the name of its own
        of = {id: name for name, ids in facts["split"].items() for id in ids}
        cases = [replace(c, split=of.get(c.id) or of.get(f"{dataset.name}_{c.id}") or c.split) for c in cases]
    return sorted((c for c in cases if split in ("all", c.split)), key=lambda case: case.id), trained_on


def _check_classes(found: Labels, known: Labels | None, where: Path) -> None:
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
