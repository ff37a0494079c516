"""What is done to the answers of a trained segmenter: a temperature, a threshold and a rule of components by class.

All of it is learnt on validation cases (`training.postprocessing`) and applied in one place (`inference`).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from scantling.core.case import Frozen

Size = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Rule = Literal["largest"] | Size | None
"""Which components of a class stay: the largest, those of at least this size, or all (None).

Sizes are areas and volumes: mm² or mm³ where `Traits.unit` is mm, else pixels. Pixels that touch at a corner belong to
one component, and components that are equally large are all the largest.
"""
Threshold = Annotated[float, Field(gt=0, lt=1)]


class Trial(Frozen):
    """What one part of the postprocessing did on validation subjects.

    Attributes:
        part: what was tried; `name` is its class, empty for the temperature, which all classes share.
        value: the best of those tried; None where the answer as it is was best.
        kept: whether the gain was beyond noise, so that it is applied.
        before, after: the mean over subjects without it, and with it as the *other* subjects would choose it: Dice, 1
            where truth and answer are empty, and of the temperature the negative log-likelihood of a pixel, in nats.
        error: the standard error of their mean difference.
        subjects: how many there are.
    """

    part: Literal["temperature", "threshold", "components"]
    name: str = ""
    value: Literal["largest"] | float | None = None
    kept: bool = False
    before: float
    after: float
    error: float
    subjects: int


class Postprocessing(Frozen):
    """What is done to the probabilities of a model and to the mask that they decide, in this order.

    The design is ours; of the temperature see Guo et al. (2017).

    Attributes:
        temperature: T; log-probabilities are divided by it, and normalised again. Above 1 they become less extreme.
        thresholds: the probability above which a class is found, after the temperature, one for each class; empty: one
            half, or of exclusive classes the most likely one. Several exclusive classes have none.
        components: the rule of each class; empty: all components stay.
        ece: the expected calibration error on validation cases, before and after the temperature.
        subjects, cases: of the validation, from which it was learnt; `of` is how many subjects there are. With too few
            to learn from, `subjects` is 0.
        trials: what was tried, kept or not.
    """

    temperature: float = Field(default=1.0, ge=0.1, le=100)
    thresholds: tuple[Threshold, ...] = ()
    components: tuple[Rule, ...] = ()
    ece: tuple[float, float] | None = None
    subjects: int = 0
    cases: int = 0
    of: int = 0
    trials: tuple[Trial, ...] = ()

    def fits(self, classes: int) -> bool:
        """Whether thresholds and rules are those of so many classes."""
        return all(len(values) in (0, classes) for values in (self.thresholds, self.components))

    @property
    def applied(self) -> dict[str, object]:
        """What changes answers, as a record says it; empty where nothing does."""
        values = self.model_dump(include={"temperature", "thresholds", "components"}, mode="json")
        return {name: value for name, value in values.items() if value not in (1.0, [])}


AS_ANSWERED = Postprocessing()
"""Nothing is done."""
