"""The arms of `worth`: how much real and how much made data a training gets, and in which order; their grammar."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from scantling.core.errors import SettingsError
from scantling.data.contents import some
from scantling.training.readers import Ordering

CONTROL = "real"
DEFAULT = (CONTROL, "real+50%", "real+100%", "synthetic x1", "synthetic-first x1")
"""With these the advice of the thesis can be put to the test: a small share, synthetic first, never synthetic alone."""
AT = "@"
"""Between an arm and the made data that it takes: "real+100%@painted"."""
GRAMMAR = (
    "real, half, real+50%, real+x2, real+2000, real+all, synthetic x1, synthetic x1 then 10%, synthetic-first x1, "
    "real-first x1, mix-80/20, augmented+100%"
)
"""An example of each form."""
_PERCENT, _AMOUNT = r"(\d{1,3}(?:\.\d{1,3})?)%", r"(\d{1,5}%|x\d{1,3}|\d{1,7}|all)"


@dataclass(frozen=True)
class Amount:
    """How many cases: a multiple of the real training cases of the budget, a number, or, with neither, all."""

    times: Fraction | None = None
    cases: int | None = None

    @classmethod
    def of(cls, word: str) -> Amount:
        """From "50%", "x2", "2000", "all".

        Raises:
            SettingsError: it is of nothing.
        """
        if word == "all":
            return cls()
        if not int(word.strip("x%")):
            raise SettingsError(f"--arms: found the amount {word}; expected more than 0; `real` has no made cases")
        if word.endswith("%"):
            return cls(times=Fraction(word[:-1]) / 100)
        return cls(times=Fraction(word[1:])) if word.startswith("x") else cls(cases=int(word))

    def number(self, real: int, there: int) -> int:
        """So many cases.

        Args:
            real: the real training cases of the budget.
            there: those that there are.
        """
        if self.times is not None:
            return max(1, round(self.times * real))
        return there if self.cases is None else self.cases

    def __str__(self) -> str:
        if self.times is not None:
            whole = self.times.denominator == 1
            return f"x{self.times}" if whole else f"{float(100 * self.times):g}%"
        return "all" if self.cases is None else str(self.cases)


@dataclass(frozen=True, kw_only=True)
class WorthArm:
    """What a training gets of a budget of real subjects, and beside it.

    Attributes:
        name: as it is written, with the made data that it takes: "real+100%@painted".
        real: the share of the budget's training subjects; 0: none.
        made: how many made cases; None: none.
        augmented: how many of the samples are changed by ordinary augmentation, counted as if they were cases beside
            the real ones, where no other sample is changed; None: all samples, or none.
        order: see `training.readers.Sampling`.
        source: the name of the made data.
    """

    name: str
    real: Fraction = Fraction(1)
    made: Amount | None = None
    augmented: Amount | None = None
    order: Ordering = "shuffled"
    source: str = ""


def parsed(word: str) -> WorthArm:
    """An arm from its name, without made data; the name in one form.

    Raises:
        SettingsError: it is none.
    """
    text, _, source = " ".join(word.lower().split()).partition(AT)
    del source
    if text in ("real", "half"):
        return WorthArm(name=text, real=Fraction(1, 2) if text == "half" else Fraction(1))
    if match := re.fullmatch(rf"real ?\+ ?{_AMOUNT}", text):
        made = Amount.of(match[1])
        return WorthArm(name=f"real+{_percent(made)}", made=made)
    if match := re.fullmatch(rf"augmented ?\+ ?{_AMOUNT}", text):
        augmented = Amount.of(match[1])
        return WorthArm(name=f"augmented+{_percent(augmented)}", augmented=augmented)
    if match := re.fullmatch(rf"(synthetic|real)-first(?: {_AMOUNT})?", text):
        made = Amount.of(match[2] or "x1")
        order: Ordering = "synthetic-first" if match[1] == "synthetic" else "real-first"
        return WorthArm(name=f"{order} {made}", made=made, order=order)
    if match := re.fullmatch(rf"synthetic(?: {_AMOUNT})?", text):
        made = Amount.of(match[1] or "x1")
        return WorthArm(name=f"synthetic {made}", made=made, real=Fraction(0))
    if match := re.fullmatch(rf"synthetic {_AMOUNT} then {_PERCENT}", text):
        made, share = Amount.of(match[1]), Fraction(match[2]) / 100
        if 0 < share <= 1:
            name = f"synthetic {made} then {float(100 * share):g}%"
            return WorthArm(name=name, made=made, real=share, order="synthetic-first")
    if match := re.fullmatch(r"mix-(\d{1,2})/(\d{1,2})", text):
        real, synthetic = int(match[1]), int(match[2])
        if real and synthetic and real + synthetic == 100:
            share = Fraction(real, 100)
            return WorthArm(name=f"mix-{real}/{synthetic}", real=share, made=Amount(times=1 - share))
    raise SettingsError(f"--arms {word}: is no arm; expected one such as {GRAMMAR}")


def _percent(amount: Amount) -> str:
    return f"{float(100 * amount.times):g}%" if amount.times is not None else str(amount)


def arms_of(words: Sequence[str], sources: Sequence[str], *, augment: str) -> dict[str, WorthArm]:
    """The arms by name, the control first; each that takes made data once for each source, or for that behind its @.

    Args:
        sources: the names of the made data.
        augment: of all arms; see `Sampling`.

    Raises:
        SettingsError: an arm is none, names made data that there are not, or needs the other augmentation.
    """
    found = {CONTROL: parsed(CONTROL)}
    for word in words:
        arm, asked = parsed(word), " ".join(word.split()).partition(AT)[2]
        if asked and asked not in sources:
            raise SettingsError(f"--arms {word}: there are no made data {asked!r}; there are: {some(sources, most=9)}")
        if arm.augmented is not None and augment != "none":
            raise SettingsError(
                f"--arms {word}: every sample of every arm is changed already (--augment {augment}); pass --augment "
                "none, with which the other arms have no augmentation"
            )
        if arm.made is None:
            if asked:
                raise SettingsError(f"--arms {word}: {arm.name} takes no made data; leave out {AT}{asked}")
            found[arm.name] = arm
            continue
        for source in [asked] if asked else sources:
            name = f"{arm.name}{AT}{source}"
            found[name] = replace(arm, name=name, source=source)
    return found
