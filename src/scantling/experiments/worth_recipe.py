"""What a cell of `worth` learns from: the real subjects of its budget, and made cases in the amount of its arm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from scantling.contract.card import learns_objects
from scantling.core.case import Case
from scantling.core.errors import DataError
from scantling.data.contents import count
from scantling.data.dataset import Dataset
from scantling.data.division import without_labels
from scantling.data.label_budget import label_order
from scantling.data.splits import is_labelled
from scantling.experiments.boxes_by_case import CHOICE, detects
from scantling.experiments.cells import ALL, Cell, Recipe, labels_in_words
from scantling.experiments.made_sets import Source, drawn_cases, is_run, opened
from scantling.experiments.worth_arms import Amount, WorthArm
from scantling.methods.catalogue import card_of
from scantling.training.material import open_material, reading_masks
from scantling.training.options import Options


@dataclass(frozen=True)
class Budget:
    """The real cases of a budget, as one label seed draws them; the same in all arms.

    Attributes:
        train: with labels, to learn from; of subjects in the order in which shares take them.
        validation: with labels.
    """

    train: tuple[Case, ...]
    validation: tuple[Case, ...]

    @property
    def subjects(self) -> tuple[str, ...]:
        """Those to learn from, each once, in their order."""
        return tuple(dict.fromkeys(case.subject for case in self.train))

    @property
    def all_subjects(self) -> frozenset[str]:
        """Those for validation, too."""
        return frozenset(case.subject for case in (*self.train, *self.validation))


@dataclass(frozen=True)
class Taken:
    """What a cell learns from.

    Attributes:
        real, made: the cases to train on.
        validation: real ones.
    """

    real: tuple[Case, ...]
    made: tuple[Case, ...]
    validation: tuple[Case, ...]


@dataclass(frozen=True, kw_only=True)
class WorthRecipe(Recipe):
    """What all cells of `worth` share.

    Attributes:
        method: that every cell trains.
        plan: the arms by name, the control first.
        sources: the made data by name.
        modality: the one image of each case that is learnt from; empty: all of them.
    """

    method: str
    plan: Mapping[str, WorthArm]
    sources: Mapping[str, Source] = field(default_factory=dict)
    modality: str = ""
    known: dict[tuple[str, int], Budget] = field(default_factory=dict, compare=False, repr=False)
    """The budgets by labels and label seed, which depend on nothing that `replace` changes here."""

    @property
    def whole(self) -> Dataset:
        """The real data with all images of each case."""
        return super().dataset

    @property
    def dataset(self) -> Dataset:
        """The real data."""
        found = one_image(self.whole, self.modality)
        return found.with_instances(found.label_source.resolved) if self.label == "instances" else found

    @property
    def label(self) -> str:
        """What teaches the method: "mask", "instances", "image_class", or what a detector draws its boxes around."""
        card = card_of(self.method)
        if detects(card):
            return str(self.options.settings.get(CHOICE, card.needs[0][1]))
        if "segment" not in card.gives:
            return "image_class"
        return "instances" if learns_objects(card) else "mask"

    def method_of(self, cell: Cell) -> str:
        """The same of every cell."""
        del cell
        return self.method

    def budget(self, labels: str, label_seed: int) -> Budget:
        """The real subjects of a budget.

        Raises:
            DataError: there are fewer, or the method cannot learn from them.
        """
        key = labels, label_seed
        if key not in self.known:
            given: dict[str, Any] = {} if labels == ALL else {"labels": labels, "label_seed": label_seed}
            options = replace(self.options, steps=None, minutes=None, **given)
            self.known[key] = _budget(self.method, self.dataset, options, label_seed)
        return self.known[key]

    def taken(self, cell: Cell) -> Taken:
        """The cases that a cell learns from.

        Raises:
            DataError: there are fewer made cases than its arm takes.
        """
        arm, budget = self.plan[cell.method], self.budget(cell.labels, cell.label_seed)
        subjects = budget.subjects[: max(1, round(arm.real * len(budget.subjects))) if arm.real else 0]
        real = tuple(case for case in budget.train if case.subject in subjects)
        made: tuple[Case, ...] = ()
        if arm.made is not None:
            made = self._made(cell, arm, arm.made, budget)
        return Taken(real, made, budget.validation)

    def _made(self, cell: Cell, arm: WorthArm, amount: Amount, budget: Budget) -> tuple[Case, ...]:
        there = self.drawn(arm.source, cell, budget)
        wanted = amount.number(len(budget.train), len(there))
        if not there or wanted > len(there):
            folder = self.sources[arm.source].folder(cell.labels) or self.out
            cases, every = (count(number, "case") for number in (len(there), len(opened(folder).cases)))
            real = count(len(budget.train), "real training case")
            of_run = is_run(self.sources[arm.source].place(cell.labels) or folder)
            more = f"name a run for this budget (--made NAME@{cell.labels}=RUN)" if of_run else "make more"
            raise DataError(
                f"--arms {arm.name}: takes {wanted} made cases beside {real} of {cell}; {folder} holds {cases} for "
                f"training (of {every}) with image and label, whose parents, where known, are among the "
                f"{count(len(budget.subjects), 'training subject')} of the budget; {more}, or leave the arm out"
            )
        return tuple(there[:wanted])

    def drawn(self, source: str, cell: Cell, budget: Budget) -> list[Case]:
        """The made cases that a cell may take, in the order in which arms take them; see `drawn_cases`.

        Of a run they come as they were made: arms that are added later have more made, and leave the first ones first.

        Raises:
            DataError: there is nothing for its budget.
        """
        of = self.sources[source]
        place, folder = of.place(cell.labels), of.folder(cell.labels)
        if place is None or folder is None:
            raise DataError(f"--made {source}: has nothing for {labels_in_words(cell.labels)}; name it, too")
        draw = None if is_run(place) else cell.label_seed
        return drawn_cases(opened(folder), budget.subjects, self.dataset, draw=draw, label=self.label)

    def bare(self, budget: Budget) -> list[Case]:
        """The real training cases without any label, but for those of subjects for validation."""
        held = {case.subject for case in budget.validation}
        those = (case for case in self.dataset.split("train") if case.images and case.subject not in held)
        return [case for case in those if without_labels(case) == case]

    def parts_of(self, cell: Cell) -> list[Dataset]:
        """The real data with the cases of the cell and those for testing, and the made cases that it takes.

        Real cases without any label stay; labelled ones outside of the budget are left out, as if they were not there.

        Raises:
            DataError: there are fewer made cases than its arm takes.
        """
        taken, dataset = self.taken(cell), self.dataset
        held = [replace(case, split="validation") for case in taken.validation]
        bare = self.bare(self.budget(cell.labels, cell.label_seed))
        cases = (*taken.real, *held, *bare, *dataset.split("test"))
        parts = [replace(dataset, cases=tuple(cases), parted=True)]
        folder = self.sources[source].folder(cell.labels) if (source := self.plan[cell.method].source) else None
        if folder is not None:
            parts.append(one_image(replace(opened(folder), cases=taken.made, parted=True), self.modality))
        return parts

    def options_of(self, cell: Cell) -> Options:
        """The options of a cell's training; subjects for validation are chosen already."""
        arm, taken = self.plan[cell.method], self.taken(cell)
        share = 1.0
        if arm.augmented is not None:
            changed = arm.augmented.number(len(taken.real), len(taken.real))
            share = changed / (changed + len(taken.real))
        options = replace(
            self.options, seed=cell.seed, augment="strong" if arm.augmented is not None else self.augment or "strong",
            augment_share=share, order=arm.order, validation=self.options.validation if taken.validation else 0.0,
        )  # fmt: skip
        return reading_masks(card_of(self.method), options)

    def elsewhere(self, options: Options) -> WorthRecipe:
        """The same for other processes, which may stand in other folders."""

        def absolute(places: Mapping[str, Path]) -> dict[str, Path]:
            return {budget: place.absolute() for budget, place in places.items()}

        sources = {
            name: replace(one, places=absolute(one.places), folders=absolute(one.folders))
            for name, one in self.sources.items()
        }
        data = self.data if isinstance(self.data, Dataset) else self.data.absolute()
        return replace(self, data=data, out=self.out.absolute(), options=options, sources=sources)

    def facts(self) -> dict[str, Any]:
        """What the record of the folder says."""
        return {**super().facts(), "method": self.method, "augment": self.augment or "strong"} | (
            {"modality": self.modality} if self.modality else {}
        )


def one_image(dataset: Dataset, modality: str) -> Dataset:
    """The dataset with one image of each case alone, of the cases that have it; the same where none is named."""
    if not modality:
        return dataset
    those = (replace(c, images={modality: c.images[modality]}) for c in dataset.cases if modality in c.images)
    return replace(dataset, cases=tuple(those))


def _budget(method: str, dataset: Dataset, options: Options, label_seed: int) -> Budget:
    card = card_of(method)
    material = open_material(card, [dataset], None, reading_masks(card, options))
    real = [case for case in material.dataset.cases if case.origin.kind != "synthetic"]
    taught = [case for case in real if is_labelled(case, material.taught_by)]
    train = [case for case in taught if case.split == "train"]
    places = {subject: place for place, subject in enumerate(label_order(train, seed=label_seed))}
    train.sort(key=lambda case: (places[case.subject], case.id))
    return Budget(tuple(train), tuple(case for case in taught if case.split == "validation"))
