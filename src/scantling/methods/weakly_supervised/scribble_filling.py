"""From scribbles to labels of most pixels, without training, for what learns from scribbles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from scantling.contract.capabilities import Annotator
from scantling.contract.results import Annotation
from scantling.contract.settings import Settings
from scantling.core.case import Labels, Sample
from scantling.core.errors import DataError
from scantling.core.fields import IGNORE
from scantling.mending.random_walk import edge_weights, spread
from scantling.methods.catalogue import CARDS


class ScribbleFillingSettings(Settings):
    """Settings of `scribble-filling`; the values are ours.

    Attributes:
        edges: how much a difference of the image stops the walker, in units of the mean one in the planes.
        certain: pixels that are no more likely than this of their class stay unknown; 0 leaves none.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"tiny": {}}
    edges: Annotated[float, Field(ge=0)] = 0.3
    certain: Annotated[float, Field(ge=0, lt=1)] = 0.9


class ScribbleFilling(Annotator):
    """A random walker (Grady, 2006) from scribbles; where it is sure of a class, that is drawn too."""

    card = CARDS["scribble-filling"]
    Settings = ScribbleFillingSettings
    settings: ScribbleFillingSettings

    def annotate(self, sample: Sample, labels: Labels, generator: np.random.Generator) -> Annotation:
        """Scribbles of most pixels, and how unlikely their classes are; the effort is that of the scribbles."""
        del generator
        if sample.scribbles is None:
            raise DataError(
                f"case {sample.case.id}: it has no scribbles; draw some with `scantling synthesize scribbles`"
            )
        drawn = sample.scribbles[0]
        held = drawn != IGNORE
        classes = np.unique(drawn[held])
        if not len(classes):
            raise DataError(f"case {sample.case.id}: no pixel of its scribbles is drawn; draw some, or leave it out")
        weights = edge_weights(
            np.nan_to_num(sample.image.astype(np.float32)), spacing=sample.geometry.spacing, edges=self.settings.edges
        )
        likely = np.zeros((1 + len(labels.names), *drawn.shape), np.float32)
        for number in classes[1:]:
            start = np.where(held, drawn == number, 1 / len(classes))
            likely[number] = np.clip(spread(start, held, weights), 0, 1)
        likely[classes[0]] = np.clip(1 - likely[classes[1:]].sum(0), 0, 1)
        found, doubt = likely.argmax(0).astype(np.uint8), 1 - likely.max(0)
        found[doubt >= 1 - self.settings.certain] = IGNORE
        found[held], doubt[held] = drawn[held], 0
        return Annotation(scribbles=found[None], uncertainty={"filling": doubt})
