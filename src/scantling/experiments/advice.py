"""The command `advise`: which methods can learn from a data set, which have helped on data like it, and how to begin.

Nothing is trained and no mask of a test case is opened. The rules are the table in `advice_rules`.
"""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from scantling.contract.card import Card, lacking
from scantling.core.case import Address, Case
from scantling.core.errors import DataError, ScantlingError
from scantling.core.fields import FIELDS, title_of
from scantling.data.contents import count
from scantling.data.dataset import Dataset
from scantling.data.files import probe
from scantling.data.label_source import LabelSource
from scantling.data.mask_values import spread
from scantling.experiments.advice_rules import MAKERS, RULES, TITLES, VESSELS, Rule, Situation, Structure, Verdict
from scantling.methods.catalogue import cards, implementation_of
from scantling.training.material import open_material
from scantling.training.options import DEFAULTS

WIDTH = 60
LOOKED = 16
"""Masks, evenly spread, in which classes are found that no manifest declares."""
LABELS = tuple(name for name, field in FIELDS.items() if field.label and name != "masks")


@dataclass(frozen=True)
class Suggestion:
    """One method that can learn from the data.

    Attributes:
        method: its name.
        commands: to paste, the training last.
        verdict: of what was measured on other data; None where nothing was.
        why: what was measured.
        cites: where, in the documentation.
    """

    method: str
    commands: tuple[str, ...]
    verdict: Verdict | None = None
    why: str = ""
    cites: str = ""


@dataclass(frozen=True)
class Advice:
    """What can be done with a data set.

    Attributes:
        data: its name.
        tests: how many test cases there are; nothing of them was opened.
        situation: what the rules asked.
        suggested: with a figure, the best verdict first.
        able: that can run, and of which nothing was measured on such data.
        unable: why, by method.
    """

    data: str
    tests: int
    situation: Situation
    suggested: tuple[Suggestion, ...]
    able: tuple[Suggestion, ...]
    unable: Mapping[str, str]

    def facts(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def text(self, *, every: bool = False) -> str:
        """The advice in lines of at most 60 columns; paths stay whole.

        Args:
            every: also the command of each method of which nothing was measured.
        """
        return "\n".join(self._lines(every))

    def _lines(self, every: bool) -> Iterator[str]:
        of = self.situation
        kind = "pictures" if of.axes == 2 else "volumes"
        named = f", classes {', '.join(of.classes)}" if of.classes else ""
        labels = ", ".join(f"{number} with {title_of(word)}" for word, number in of.labelled.items()) or "no labels"
        yield from _wrapped(
            f"{self.data}: {of.images} {kind} to learn from, {count(of.channels, 'channel')}{named}; {labels}. "
            f"{count(self.tests, 'test case')}, not opened. "
            f"Taken for {of.structure}; if they are none, say --structure."
        )
        for verdict, title in TITLES.items():
            chosen = [one for one in self.suggested if one.verdict == verdict]
            yield from ("", title) if chosen else ()
            for one in chosen:
                yield from _wrapped(f"{one.method}: {one.why} [results.md#{one.cites}]")
                yield from (line for command in one.commands for line in _broken(command))
        if self.able:
            yield from ("", "CAN RUN, NOT MEASURED ON SUCH DATA")
            groups: dict[str, list[Suggestion]] = {}
            for one in self.able:
                groups.setdefault(cards()[one.method].gives[0], []).append(one)
            for gives, members in groups.items():
                yield from _wrapped(f"{gives}: {', '.join(one.method for one in members)}")
                if every:
                    yield from (line for one in members for command in one.commands for line in _broken(command))
            yield from () if every else _wrapped("Their commands: --all.")
        if self.unable:
            yield from ("", "CANNOT RUN")
            for reason in dict.fromkeys(self.unable.values()):
                members_of = [name for name, why in self.unable.items() if why == reason]
                yield from _wrapped(f"{reason}: {', '.join(members_of)}")


def advise(dataset: Dataset, *, structure: Structure | None = None, place: str | None = None) -> Advice:
    """Say what can learn from a data set, and what has helped on data like it.

    Args:
        dataset: that is open; of its test cases nothing but the number is read.
        structure: what is to be segmented; None: vessels where a class is called so, objects where there are instance
            maps, else regions.
        place: how commands name the data; its folder unless said.

    Raises:
        DataError: there is no image to learn from.
    """
    known = _without_test(dataset)
    situation = situation_of(known, structure)
    unable, able, missing = dict[str, str](), list[Card](), dict[Hashable, str]()
    for name, card in cards().items():
        if not card.needs:
            continue
        if reason := cannot(card, known, situation, missing):
            unable[name] = reason
        else:
            able.append(card)
    where = place or str(dataset.root)
    names = {card.name for card in able}
    # a method that learns from data that are made first needs nothing of these
    there = [rule for rule in RULES if rule.when(situation) and (rule.method in names or rule.data != "DATA")]
    for name in {rule.method for rule in there}:
        unable.pop(name, None)
    order = list(TITLES)
    suggested = [
        Suggestion(rule.method, _commands(cards()[rule.method], able, where, rule), rule.verdict, rule.why, rule.cites)
        for rule in sorted(there, key=lambda rule: order.index(rule.verdict))
    ]
    said = {one.method for one in suggested}
    others = [Suggestion(card.name, _commands(card, able, where)) for card in able if card.name not in said]
    tests = sum(case.split == "test" for case in dataset.cases)
    return Advice(dataset.name, tests, situation, tuple(suggested), tuple(others), unable)


def situation_of(dataset: Dataset, structure: Structure | None = None) -> Situation:
    """What the rules ask of the cases that may be learned from.

    Raises:
        DataError: none has an image.
    """
    cases = [case for case in dataset.cases if case.images and case.origin.kind != "synthetic"]
    if not cases:
        raise DataError(f"{dataset.root}: found no training case with an image; expected some to give advice on")
    headers = [probe(address) for address in cases[0].images.values()]
    counted = {word: sum(case.has(word) for case in cases) for word in LABELS}
    labels = dataset.labels if any(case.masks for case in cases) else dataset.label_source.resolved
    classes = () if labels is None else labels.names
    vessels = any(word in name.lower() for name in classes for word in VESSELS)
    found: Structure = "vessels" if vessels else "objects" if counted["instances"] else "regions"
    return Situation(
        images=len(cases), axes=len(headers[0].shape), channels=sum(len(one.channels) for one in headers),
        classes=classes, structure=structure or found, labelled={word: n for word, n in counted.items() if n},
        readers=max(len(case.masks) for case in cases),
        slices=any(case.drawn_slices is not None for case in cases),
    )  # fmt: skip


def cannot(card: Card, dataset: Dataset, situation: Situation, missing: dict[Hashable, str]) -> str:
    """Why a method cannot learn from the data, as a clause; empty if it can.

    Args:
        missing: what is known of the labels that cards lack, by what they need; it grows, so that each is asked once.
    """
    if reason := unfit(card, situation):
        return reason
    needs = (card.needs, tuple(card.labels_by.items()))
    if needs not in missing:
        missing[needs] = _missing(card, dataset)
    return missing[needs] or knows_one(card, situation)


def unfit(card: Card, situation: Situation) -> str:
    """Why a method cannot learn from such images, whatever their labels; empty if it can."""
    if card.extra:
        return f"needs `pip install 'scantling[{card.extra}]'` and weights of yours"
    if situation.axes not in card.dimensions and situation.axes == 2:
        return "takes volumes; these are pictures"
    if situation.channels < card.channels:
        return f"needs {card.channels} channels, such as frames before and after a contrast agent"
    return ""


def knows_one(card: Card, situation: Situation) -> str:
    """Why a method cannot learn so many classes; empty if it can."""
    reads = {word for words in card.needs for word in words}
    if len(situation.classes) > 1 and "mask" in reads and getattr(implementation_of(card).Settings, "binary", False):
        return f"knows one class; the data have {len(situation.classes)}"
    return ""


def labelled_for(card: Card, situation: Situation) -> bool:
    """Whether a method finds the labels that it needs among these, or others that a setting has it read."""

    def there(word: str) -> bool:
        others = [one for names in card.labels_by.values() if word in (named := names.split(" or ")) for one in named]
        return word == "image" or any(situation.has(one) for one in (word, *others))

    return all(there(word) for words in card.needs for word in words)


def _missing(card: Card, dataset: Dataset) -> str:
    """The labels that a card needs and the data lack; empty where a training finds them in those that there are."""
    if found := lacking(card, dataset.cases):
        try:
            open_material(card, [dataset], None, DEFAULTS)
        except ScantlingError:
            return "; ".join(found)
    return ""


def _commands(card: Card, able: Sequence[Card], place: str, rule: Rule | None = None) -> tuple[str, ...]:
    """What to paste, the models that it is built on first."""
    data = shlex.quote(place)
    commands = [line.replace("DATA", data) for line in (rule.first if rule is not None else ())]
    on, uses = data if rule is None else rule.data.replace("DATA", data), ""
    for role, gives in card.uses.items():
        makers = [one.name for one in able if gives in one.gives and not one.uses]
        maker = MAKERS[role] if MAKERS.get(role) in makers else next(iter(makers), "METHOD")
        commands.append(f"scantling train {maker} --data {data} --out runs/{maker} --preset quick")
        uses += f" --use {role}=runs/{maker}"
    more = f" {rule.more}" if rule is not None and rule.more else ""
    commands.append(f"scantling train {card.name} --data {on} --out runs/{card.name} --preset quick{uses}{more}")
    return tuple(commands)


def _without_test(dataset: Dataset) -> Dataset:
    """The data set without its test cases; classes that are not declared are found once, in some other masks."""
    cases = tuple(case for case in dataset.cases if case.split != "test")
    masks = spread([*dict.fromkeys(address for case in cases for address in _masks(case))], LOOKED)
    return replace(dataset, cases=cases, label_source=_declared(dataset.label_source.only({*masks}, cases)))


def _declared(source: LabelSource) -> LabelSource:
    """A source whose labels were found, so that copies of it open no mask again."""
    if source.parts:
        return replace(source, parts=tuple(map(_declared, source.parts)))
    return replace(source, declared=source.labels) if source.masks else source


def _masks(case: Case) -> Iterator[Address]:
    for mask in case.masks:
        yield from (mask,) if isinstance(mask, Address) else mask.values()


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _broken(command: str) -> Iterator[str]:
    """A command in lines that a shell joins."""
    lines = [""]
    for part in command.replace(" --", "\n--").split("\n"):
        if len(lines[-1]) + len(part) + 5 > WIDTH and lines[-1]:
            lines.append("")
        lines[-1] += f" {part}" if lines[-1] else part
    for number, line in enumerate(lines):
        yield ("  " if number == 0 else "    ") + line + (" \\" if number < len(lines) - 1 else "")
