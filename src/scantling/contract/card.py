"""The card of a method: what it is, what it needs and what it gives; read without importing torch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import field_validator

from scantling.core.case import Case, Frozen
from scantling.core.fields import FIELDS, title_of

Capability = Literal["segment", "classify", "generate", "register", "encode", "annotate"]


class Card(Frozen):
    """One published system.

    Attributes:
        name: as on the command line, with hyphens.
        needs: to train: what at least one training case must have together: fields (`core.fields`), `link:ROLE` or
            `pool:NAME`, e.g. ("image", "mask"); several alternatives or pools are several tuples, all of which must be
            found.
        asks: at inference, in the same words; of what `synthesize` runs what its `--from` has to hold.
        may_ask: what `--from` may hold where it can do without.
        gives: its capabilities, which are the bases of its class; a trained model gives those of them that its data
            allow (`Method.gives`).
        dimensions: of the images that it takes; a method in 2-D reads volumes slice by slice.
        channels: how many channels its images must have at least, such as frames before and after a contrast agent.
        uses: other models that it is built on, by role ("backbone"), and what each has to give; `--use ROLE=RUN` names
            them.
        may_use: the same of models that it can do without.
        labels_by: labels that a setting has it read beside, by the name of the setting: {"with_masks": "mask"}; or
            those that a setting chooses among, the first of which stands among the needs: {"boxes_from": "boxes or
            mask"}.
        fits: the term of its objectives that falls when it fits one batch (what conformance checks); empty for a
            method without stages.
        repeats: whether a training repeats bit for bit on a GPU too; not where a kernel is not deterministic there.
        extra: the optional dependency without which it does nothing, as in `pip install 'scantling[EXTRA]'`; such a
            method also asks for weights that the user has.
        implementation: the module and the class ("package.module:Class"), by which a catalogue finds it; not needed of
            a class that is named itself.
    """

    name: str
    title: str
    authors: str
    year: int
    needs: tuple[tuple[str, ...], ...]
    asks: tuple[str, ...] = ("image",)
    may_ask: tuple[str, ...] = ()
    gives: tuple[Capability, ...]
    dimensions: tuple[Literal[2, 3], ...]
    channels: int = 1
    uses: dict[str, Capability] = {}
    may_use: dict[str, Capability] = {}
    labels_by: dict[str, str] = {}
    fits: str = ""
    repeats: bool = True
    extra: str = ""
    implementation: str = ""

    @field_validator("needs", "asks", "may_ask")
    @classmethod
    def _known(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        words = [word for words in value for word in ((words,) if isinstance(words, str) else words)]
        if unknown := [word for word in words if word not in FIELDS and word.partition(":")[0] not in ("link", "pool")]:
            raise ValueError(f"{unknown[0]!r} is no field; expected link:ROLE, pool:NAME or one of {', '.join(FIELDS)}")
        return value

    def chosen(self, settings: object) -> Card:
        """The card of the method with these settings: labels that they have it read are among its needs."""
        needs, may_ask = self.needs, self.may_ask
        for name, words in self.labels_by.items():
            first, *others = words.split(" or ")
            value = getattr(settings, name, None if others else False)
            if others and value in others:
                needs = tuple(tuple(value if word == first else word for word in each) for each in needs)
            elif not others and value:
                needs = tuple(each if first in each else (*each, first) for each in needs)
                may_ask = (*may_ask, first) if may_ask else may_ask
        return self if needs == self.needs else self.model_copy(update={"needs": needs, "may_ask": may_ask})

    def summary(self) -> dict[str, object]:
        """The card as `scantling methods --json` lists it."""
        return {
            "name": self.name,
            "title": self.title,
            "year": self.year,
            "needs": [" + ".join(title_of(word) for word in words) for words in self.needs],
            "gives": list(self.gives),
            "uses": dict(self.uses),
            "dimensions": list(self.dimensions),
        }


def learns_objects(card: Card) -> bool:
    """Whether a method learns from instance maps, so that it is asked how well it finds single objects."""
    return any("instances" in words for words in card.needs)


def annotator_card(
    name: str,
    title: str,
    authors: str,
    year: int,
    dimensions: tuple[Literal[2, 3], ...],
    implementation: str,
    *,
    asks: tuple[str, ...] = ("image", "mask"),
) -> Card:
    """The card of a rule that labels the images of a data set from the labels that they have."""
    return Card(
        name=name, title=title, authors=authors, year=year, needs=(), asks=asks, gives=("annotate",),
        dimensions=dimensions, implementation=implementation,
    )  # fmt: skip


def lacking(card: Card, cases: Iterable[Case]) -> list[str]:
    """What `cases` lack to train the method, as clauses for a sentence; empty where nothing is lacking.

    Where a setting has it read another label, which they have, the clause says so.
    """
    cases, found = tuple(cases), list[str]()
    for words in card.needs:
        if any(all(case.has(word) for word in words) for case in cases):
            continue
        clause = "no training case has " + " and ".join(title_of(word) for word in words)
        for name, choice in card.labels_by.items():
            named = choice.split(" or ")
            others = [word for word in named if word not in words and any(case.has(word) for case in cases)]
            if len(named) > 1 and others and {*named} & {*words}:
                clause += f" ({' or '.join(f'--settings.{name} {word}' for word in others)} reads what they have)"
        found.append(clause)
    return found
