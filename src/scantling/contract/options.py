"""What may change from one answer of a trained model to the next: a type for each capability, extended by methods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError

from scantling.core.case import Frozen
from scantling.core.errors import SettingsError


class InferenceOptions(Frozen):
    """What every capability takes; None is the method's own choice.

    A method extends the type of its capability by values of its own (a guidance scale, a noise level, a vocabulary), as
    it extends `Settings`: they are checked before anything is read, listed by `scantling methods NAME` and written into
    the record.

    Attributes:
        seed: what the randomness of an answer is a function of, with the id of the case.
        memory: GiB that a forward pass may take; larger canvases go in blended tiles. None: half of what is free.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    seed: int = 0
    memory: float | None = Field(default=None, gt=0, lt=2**30)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """The options of these values, by name.

        Raises:
            SettingsError: an unknown option, or a value out of range.
        """
        try:
            return cls.model_validate(dict(given))
        except ValidationError as error:
            first = error.errors()[0]
            flag = flag_of(".".join(str(part) for part in first["loc"]))
            if first["type"] == "extra_forbidden":
                known = ", ".join(flag_of(name) for name in cls.model_fields)
                raise SettingsError(f"{flag}: this model has no such option; it has: {known}") from None
            raise SettingsError(f"{flag}: found {first['input']!r}; {first['msg']}") from None


LEARN = "learn"
"""In place of reliabilities: they are to be learnt on validation cases."""


def _reliabilities(given: Any) -> Any:
    """`LEARN`, or a row of numbers in [0, 1] for each model, a single number being a row of one.

    Raises:
        ValueError: it is neither.
    """
    if given == LEARN:
        return given
    whole = isinstance(given, list | tuple)
    rows = [tuple(row) if isinstance(row, list | tuple) else (row,) for row in given] if whole else [()]
    numbers = [b for row in rows for b in row]
    known = all(isinstance(b, int | float) and not isinstance(b, bool) and 0 <= b <= 1 for b in numbers)
    if not known or len({len(row) for row in rows}) > 1 or (rows and not numbers):
        raise ValueError(f"expected numbers in [0, 1], one for each model such as 0.9,0.4, or the word {LEARN}")
    return tuple(rows)


class SegmentOptions(InferenceOptions):
    """How a segmentation is made.

    Attributes:
        samples: masks that are drawn for each image.
        steps: of the chain that each of them ends, for methods that run one.
        fuse: how they become one mask: a name of `fusion.RULES`.
        votes: for the rules "vote" and "sum", how many samples have to agree; None: half of them, rounded up.
        reliabilities: for the rule "dempster", how far each model of an ensemble is to be believed, in their order: a
            number for each, or for each one for the background and each class (without the background where classes
            overlap); "learn": they are learnt on validation cases that all runs held out; none: all of them alike.
        views: average over the mirrored and turned views of each image that the training showed, unless they hurt on
            validation; None: as `Segmenter.uses_views` says.
        scale: how many times as large as the training images the images are, in pixels for the same thing: they are
            answered on a grid that is so much coarser; 1: as they are; None: pictures that show clear evidence of
            another scale at that of the training images.
        postprocess: apply what was learnt on validation cases (`core.postprocessing`): the temperature to the
            probabilities of each model, thresholds and rules of components where one answer alone decides.
    """

    samples: int | None = Field(default=None, ge=1)
    steps: int | None = Field(default=None, ge=1)
    fuse: Literal["mean", "vote", "staple", "uncertainty", "sum", "dempster"] | None = None
    votes: int | None = None
    reliabilities: Annotated[tuple[tuple[float, ...], ...] | Literal["learn"], BeforeValidator(_reliabilities)] = ()
    views: bool | None = None
    scale: float | None = Field(default=None, ge=1 / 16, le=16)
    postprocess: bool = True


class ClassifyOptions(InferenceOptions):
    """How an image is classified.

    Attributes:
        samples: answers whose mean is taken: those of dropout, left on.
    """

    samples: int | None = Field(default=None, ge=1)


class GenerateOptions(InferenceOptions):
    """How cases are made.

    Attributes:
        steps: of the chain that draws each, for methods that run one.
    """

    steps: int | None = Field(default=None, ge=1)


class AnnotateOptions(InferenceOptions):
    """How an image is labelled by a rule."""


class RegisterOptions(InferenceOptions):
    """How two images are registered.

    Attributes:
        start: how the moving image is laid onto the fixed one before: through the "world" (by the affines of both
            files), by "shape" (as if both showed the same region), or "auto", whichever makes them clearly more alike.
    """

    start: Literal["auto", "world", "shape"] = "auto"


class EncodeOptions(InferenceOptions):
    """How an image is encoded."""


SEGMENT_DEFAULTS = SegmentOptions()

FLAGS: Mapping[str, str] = {
    "seed": "--seed",
    "memory": "--memory",
    "samples": "--samples",
    "steps": "--sampling-steps",
    "fuse": "--fuse",
    "views": "--views",
    "scale": "--scale",
}
"""Options that are flags of their own on the command line; all others are `--options.NAME`."""


def flag_of(name: str) -> str:
    """How an option is given on the command line."""
    return FLAGS.get(name, f"--options.{name}")
