"""The arms of a curve: a method, and the data set whose labels it learns from where they are not those of the curve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scantling.contract.method import Method
from scantling.core.errors import DataError, SettingsError
from scantling.data.contents import some
from scantling.data.dataset import Dataset
from scantling.data.division import within_budget
from scantling.methods.catalogue import card_of

AT = "@"
"""Between a method and a folder: "partial@data/scribbled"."""


@dataclass(frozen=True)
class Arm:
    """A method with labels.

    Attributes:
        name: of the method, or "partial@scribbled" with the name of the folder.
        data: the folder with its labels, or with corrected masks; None: the data of the curve.
    """

    name: str
    data: Path | None = None


def method_of(arm: str) -> str:
    """The method in the name of an arm."""
    return arm.partition(AT)[0]


def arms_of(words: Sequence[str | type[Method]]) -> list[Arm]:
    """The arms that a command names, the control first.

    Raises:
        SettingsError: there is none, one is named twice, cannot segment or is built on another model, or a folder is
            none.
    """
    if not words:
        raise SettingsError("found no method; name at least one, the control first")
    arms = list[Arm]()
    for word in words:
        name, at, folder = word.partition(AT) if isinstance(word, str) else (word, "", "")
        card = card_of(name)
        if at and not (folder and Path(folder).exists()):
            raise SettingsError(
                f"{word}: there is no {folder or 'folder'!r}; expected METHOD@FOLDER, with a data set of other labels "
                "of the same images, or a folder of corrections"
            )
        arm = Arm(card.name, None)
        if at:
            arm = Arm(f"{card.name}{AT}{Path(folder).resolve().name}", Path(folder))
        if arm.name in (other.name for other in arms):
            rename = "; rename one of the folders" if at else ""
            raise SettingsError(f"{arm.name}: is named twice; name each method once{rename}")
        if "segment" not in card.gives:
            raise SettingsError(f"{card.name}: cannot segment; it can {', '.join(card.gives)}; leave it out")
        if card.uses:
            raise SettingsError(
                f"{card.name}: is built on another model ({', '.join(card.uses)}), which may have seen more labels; "
                "a curve takes methods that are trained alone"
            )
        arms.append(arm)
    return arms


def check_arm(name: str, own: Dataset, tested: Dataset) -> None:
    """Make sure that an arm learns of no test subject, and what its answers are scored for.

    Args:
        own: the data set of the arm.
        tested: that of the curve.

    Raises:
        DataError: it does, it shares no training subject with the curve, or has other classes.
    """
    held = {case.subject for case in tested.split("test")} | {case.id for case in tested.split("test")}
    learnt = [case for case in own.cases if case.split != "test" and case.images]
    if leaked := [case.id for case in learnt if case.subject in held or case.id in held]:
        raise DataError(
            f"{name}: {own.root} has {some(leaked)} for training, which {tested.root} tests; make it from the training "
            "cases alone (`scantling synthesize … --split train`), or give both the same split"
        )
    if not {case.subject for case in learnt} & {case.subject for case in tested.cases if case.split != "test"}:
        raise DataError(
            f"{name}: {own.root} has no training subject of {tested.root}; expected other labels of the same images, "
            f"as `scantling synthesize scribbles --from {tested.root}` makes them"
        )
    found, expected = own.label_source.resolved, within_budget(tested).labels  # no test mask is opened
    if (
        found is not None
        and expected is not None
        and found.names != expected.names
        and max(len(found.names), len(expected.names)) > 1
    ):
        raise DataError(
            f"{name}: {own.root} has the classes {some(found.names, most=9)}; expected those of {tested.root}: "
            f"{some(expected.names, most=9)}; name and order them alike in a manifest"
        )
