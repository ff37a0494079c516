"""The words of `odise`: those of its training, and a vocabulary that is chosen when it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scantling.core.case import Labels
from scantling.core.errors import DataError, SettingsError

BACKGROUND = "background"
"""The name of what belongs to no class, which is a segment too where classes exclude one another (ours)."""
MOST = 254
"""Classes of a mask with 8 bits, whose 0 is background and 255 unknown."""
VOCABULARY = "--options.vocabulary"


@dataclass(frozen=True)
class Vocabulary:
    """Classes by name, each with the words that stand for it.

    Attributes:
        classes: the words of each class, its name the first.
        learned: for each class its number in the training; None where it was not there.
    """

    classes: tuple[tuple[str, ...], ...]
    learned: tuple[int | None, ...]

    @classmethod
    def of(cls, names: Sequence[str], known: Sequence[str]) -> Vocabulary:
        """The vocabulary of names, each with its synonyms after bars ("tumour|lesion").

        Args:
            known: the classes of the training.

        Raises:
            SettingsError: there is no name, one is empty or there twice, or there are more than a mask can hold.
        """
        classes = tuple(tuple(word.strip() for word in name.split("|")) for name in names)
        check_names([word for words in classes for word in words], VOCABULARY)
        if BACKGROUND in {plain(word) for words in classes for word in words}:
            raise SettingsError(f"{VOCABULARY}: found {BACKGROUND!r}, which is always there; leave it out")
        if len(classes) > MOST:
            raise SettingsError(
                f"{VOCABULARY}: found {len(classes)} classes; a mask holds {MOST} at most; ask for fewer at once"
            )
        numbers = {plain(name): number for number, name in enumerate(known)}
        learned = tuple(next((numbers[w] for w in map(plain, words) if w in numbers), None) for words in classes)
        return cls(classes, learned)

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each class."""
        return tuple(words[0] for words in self.classes)

    @property
    def unseen(self) -> tuple[str, ...]:
        """The names of the classes that were not there in the training."""
        return tuple(name for name, number in zip(self.names, self.learned, strict=True) if number is None)

    @property
    def labels(self) -> Labels:
        """What the values of its masks mean: 1 for the first class, and so on."""
        return Labels(names=self.names, values=tuple((number,) for number in range(1, len(self.classes) + 1)))


def nouns_of(id: str, caption: str) -> tuple[str, ...]:
    """The nouns of the caption of a case, each once.

    Raises:
        DataError: it has none.
    """
    found = {plain(word): word.strip() for word in caption.split(",") if word.strip()}
    if not found:
        raise DataError(
            f"{id}: has no caption, from which --settings.supervision captions learns; expected nouns in its manifest, "
            'such as caption = "liver, tumour"'
        )
    return tuple(found.values())


def plain(name: str) -> str:
    """A name without what does not tell names apart: capitals, and blanks around and between words."""
    return " ".join(name.casefold().split())


def check_names(names: Sequence[str], where: str) -> None:
    """Make sure that names are words that can be told apart.

    Args:
        where: they come from, to begin a sentence with.

    Raises:
        SettingsError: there is none, one is empty, or two are alike but for capitals and blanks.
    """
    if not names:
        raise SettingsError(f"{where}: found no name; expected one at least")
    seen = dict[str, str]()
    for name in names:
        key = plain(name)
        if not key:
            raise SettingsError(f"{where}: found an empty name; expected a word for each class")
        if key in seen:
            alike = f"{name!r} twice" if seen[key] == name else f"{seen[key]!r} and {name!r}"
            raise SettingsError(f"{where}: found {alike}; expected names that differ by more than capitals and blanks")
        seen[key] = name
