"""From a point in each object to labels of most pixels, without training, for what learns from scribbles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from scantling.contract.capabilities import Annotator
from scantling.contract.results import Annotation
from scantling.contract.settings import Settings
from scantling.core.case import Labels, Sample
from scantling.core.errors import DataError
from scantling.mending.around_points import cluster_labels, voronoi_labels
from scantling.methods.catalogue import CARDS


class PointFillingSettings(Settings):
    """Settings of `point-filling`; lengths in pixels, the values are those of the authors' code.

    Attributes:
        rule: "clusters", or its control "voronoi", points and the borders half-way between them alone.
        radius: around a point within which all is of its class.
        far: from the points beyond which distances are equal.
        least: pixels of the smallest piece of an object.
        border: inside of the border of an object that stays unknown.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"tiny": {}}
    rule: Literal["clusters", "voronoi"] = "clusters"
    radius: Annotated[float, Field(ge=0)] = 2.0
    far: Annotated[float, Field(gt=0)] = 20.0
    least: Annotated[int, Field(ge=1)] = 30
    border: Annotated[int, Field(ge=0)] = 2


class PointFilling(Annotator):
    """The Voronoi and cluster labels of points (Qu et al., MIDL 2019) as scribbles."""

    card = CARDS["point-filling"]
    Settings = PointFillingSettings
    settings: PointFillingSettings
    wants = ("scribbles",)  # points of the background

    def annotate(self, sample: Sample, labels: Labels, generator: np.random.Generator) -> Annotation:
        """Scribbles of most pixels; the effort is that of the points."""
        del generator
        if not labels.exclusive:
            raise DataError(
                f"case {sample.case.id}: the classes ({', '.join(labels.names)}) may overlap, and each pixel is given "
                "one; expected classes that exclude one another; give each a value of its own in the manifest"
            )
        if sample.points is None:
            raise DataError(f"case {sample.case.id}: it has no points; draw some with `scantling synthesize points`")
        of, spacing, shape = self.settings, sample.geometry.spacing, sample.image.shape[1:]
        outside = np.logical_or(sample.points < -0.5, sample.points > np.array(shape) - 0.5).any(1)
        if outside.any():
            place = ", ".join(f"{value:g}" for value in sample.points[outside][0])
            raise DataError(
                f"case {sample.case.id}: the point ({place}) lies outside of an image of "
                f"{' x '.join(map(str, shape))} pixels; correct 'points'"
            )
        classes = sample.classes["points"]
        if of.rule == "voronoi":
            found = voronoi_labels(sample.points, classes, shape, spacing=spacing, radius=of.radius)
        else:
            found = cluster_labels(
                np.nan_to_num(sample.image.astype(np.float32)), sample.points, classes, spacing=spacing,
                radius=of.radius, far=of.far, least=of.least, border=of.border,
            )  # fmt: skip
        if sample.scribbles is not None:
            found[sample.scribbles[0] == 0] = 0
        return Annotation(scribbles=found[None])
