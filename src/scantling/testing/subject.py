"""A method under test: its toy data, the models that it is built on, and how what does not hold is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from scantling.contract.capabilities import Annotator, Generator
from scantling.contract.card import Card
from scantling.contract.method import Method, build
from scantling.core.randomness import seed_of
from scantling.data.dataset import Dataset, open_dataset
from scantling.data.division import divide
from scantling.data.traits import measure_traits
from scantling.methods.catalogue import cards, implementation_of
from scantling.records.run_folder import load_model
from scantling.testing.data import make_data
from scantling.testing.trainings import quickly, quiet, trained_weights
from scantling.training import Options, train

SWITCHED_ON: dict[str, Any] = {
    "dropout": 0.2, "crossing": 1.0, "contrast": 1.0, "interleave": 1, "patch": 16,
    "dice_over": "batch", "skeleton_recall": 1.0, "uncertainty": True, "passes": 2,
}  # fmt: skip
"""Settings that touch randomness or statistics and that `tiny` leaves off."""


class ConformanceError(AssertionError):
    """A method that does not keep what the contract promises."""


@dataclass
class Subject:
    """A method under test.

    Attributes:
        place: a folder for everything that is written.
        models: the cards of the models that it is built on, by role; any that gives what is needed where none is named.
            None leaves out one that it can do without.
        shared: a folder of such models, for subjects that are built on the same ones; None for none.
        answers: what it has answered untrained, by name, once that is known.
    """

    card: Card
    dimensions: Literal[2, 3]
    place: Path
    models: Mapping[str, Card | None] = field(default_factory=dict)
    shared: Path | None = None
    answers: dict[str, np.ndarray] = field(default_factory=dict)

    @cached_property
    def data(self) -> Path:
        """Toy data with what the card needs."""
        return make_data(self.card, self.place / "data", dimensions=self.dimensions)

    @cached_property
    def dataset(self) -> Dataset:
        """The same, opened; nothing is held out."""
        return divide(open_dataset(self.data), validation=0.0)

    @cached_property
    def uses(self) -> dict[str, Path]:
        """Runs of the models that it is built on, or may be, after a moment's training."""
        roles = self.card.uses | self.card.may_use
        learned_from = seed_of(*map(repr, (self.card.needs, self.card.asks, self.card.channels)))
        found = dict[str, Path]()
        for role in roles:
            card = self._model_for(role)
            if card is None:
                continue
            found[role] = (self.shared or self.place) / f"{card.name}-{self.dimensions}d-{learned_from:x}"
            if not (found[role] / "model").is_dir():
                train(card.name, [self._data_for(card)], found[role], _moment(card), console=quiet())
        return found

    def method(self, **settings: Any) -> Method:
        """The method with these settings beside those of `tiny`, untrained."""
        kind = implementation_of(self.card)
        if not self.card.needs:
            several = {"dimensions": self.dimensions} if "dimensions" in kind.Settings.model_fields else {}
            chosen = kind.Settings.preset("tiny", {**several, **settings})
            if not issubclass(kind, Generator | Annotator):
                raise ConformanceError(f"{self.card.name} needs no data, but makes nothing")
            return build(kind, chosen, kind.blank(chosen)).eval()
        traits = measure_traits(self.dataset, reads={word for words in self.card.needs for word in words})
        models = {role: load_model(run) for role, run in self.uses.items()}
        chosen = kind.Settings.preset("tiny", settings).resolve(traits)
        return build(kind, chosen, traits, seed=1, uses=models).eval()

    @cached_property
    def options(self) -> Options:
        """Of the trainings that are compared with each other.

        Cases are held out where the method calibrates itself on some; elsewhere they do not matter.
        """
        fields = implementation_of(self.card).Settings.model_fields
        settings = {name: value for name, value in SWITCHED_ON.items() if name in fields}
        if "contrast" not in settings:
            settings.pop("patch", None)
        held_out = 0.0 if self.method().calibration() is None else 0.25
        return Options(
            preset="tiny", settings=settings, seed=5, precision="float64", validation=held_out, threads=1,
            uses=self.uses,
        )  # fmt: skip

    @cached_property
    def whole(self) -> dict[str, Tensor]:
        """All that a training has changed, by name, that was neither interrupted nor divided: the others equal it."""
        return self.train("whole")

    def train(
        self, name: str, *, data: Path | None = None, rehearsed: bool = False, **changes: Any
    ) -> dict[str, Tensor]:
        """All that a training into the folder `name` has changed, by name, with changes of the common options."""
        with quickly(rehearsed=rehearsed):
            self.start(name, data=data, **changes)
        return trained_weights(self.place / name)

    def start(self, name: str, *, data: Path | None = None, **changes: Any) -> None:
        """Train into the folder `name`, with changes of the common options."""
        options = replace(self.options, **changes)
        train(self.card.name, [data or self.data], self.place / name, options, console=quiet())

    def require(self, holds: bool, sentence: str) -> None:
        """Raise a ConformanceError with a sentence where something does not hold."""
        if not holds:
            raise ConformanceError(f"{self.card.name} in {self.dimensions}-D: {sentence}")

    def _model_for(self, role: str) -> Card | None:
        if role in self.models:
            return self.models[role]
        capability = (self.card.uses | self.card.may_use)[role]
        for card in cards().values():
            if capability in card.gives and self.dimensions in card.dimensions and not (card.uses or card.extra):
                return card
        raise ValueError(f"{self.card.name}: no method in the catalogue can {capability}; name one with `uses`")

    def _data_for(self, card: Card) -> Path:
        if {word for words in card.needs for word in words} <= {word for words in self.card.needs for word in words}:
            return self.data
        return make_data(card, self.place / "data of others" / card.name, dimensions=self.dimensions)


def _moment(card: Card) -> Options:
    """How a model is trained that others are built on: features may say anything, answers that are mended may not."""
    if "segment" not in card.gives:
        return Options(preset="tiny", steps=20, validation=0.0)
    settings = {"rate": 5e-2} if "rate" in implementation_of(card).Settings.model_fields else {}
    return Options(preset="tiny", steps=100, settings=settings, augment="none", validation=0.0)
