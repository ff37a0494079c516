"""`instances/ID.json`: the objects that were found in an image, with their classes, scores, boxes and masks."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from scantling.records.record import FileRecord, Number, Record


class PredictedObject(Record):
    """An object.

    Attributes:
        class_name: in the file "class".
        score: None where objects have none.
        box: for each axis of the file where it starts and stops, in pixels.
        number: in the label map beside the file; None where masks overlap.
        at, shape, run_lengths: the mask, where there is no label map: the corner and the size of its box, and how many
            pixels are off, on, off, ... in it, the last axis fastest.
    """

    class_name: str = Field("", alias="class")
    score: Number = None
    box: tuple[tuple[float, float], ...] = ()
    number: int | None = Field(None, ge=1)
    at: tuple[int, ...] = ()
    shape: tuple[int, ...] = ()
    run_lengths: tuple[int, ...] = ()

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if len(self.at) != len(self.shape) or min(self.shape, default=0) < 0 or min(self.run_lengths, default=0) < 0:
            raise ValueError("a mask that does not fit its box")
        if self.shape and sum(self.run_lengths) != int(np.prod(self.shape, dtype=object)):
            raise ValueError("run lengths that do not fill their box")
        return self

    def mask(self) -> NDArray[np.bool_]:
        """The pixels in its box, (*shape) bool."""
        on = np.arange(len(self.run_lengths)) % 2 == 1
        return np.repeat(on, self.run_lengths).reshape(self.shape)


class PredictedObjectsRecord(FileRecord):
    """The contents of the file; `shape` is that of the image in the order of the file's axes."""

    what: ClassVar[str] = "list of objects"
    writer: ClassVar[str] = "scantling predict"

    id: str = ""
    shape: tuple[int, ...] = ()
    objects: tuple[PredictedObject, ...] = ()

    @model_validator(mode="after")
    def _listed(self) -> Self:
        if "objects" not in self.model_fields_set:
            raise ValueError("objects: field required")
        return self
