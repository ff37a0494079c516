"""Every metric by name: what it is called, which way is better, what it needs, and what empty masks get."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from scantling.core.case import Unit

Family = Literal[
    "overlap",
    "ranking",
    "topology",
    "distance",
    "volume",
    "calibration",
    "several",
    "uncertainty",
    "instances",
    "lesions",
    "classification",
    "detection",
]
MetricUnit = Literal["mm", "pixel", "mL", "mm²"]
VOLUME: MetricUnit = "mL"
AREA: MetricUnit = "mm²"
Direction = Literal["higher", "lower", "ideal 1", "ideal 0"]
Need = Literal[
    "mask",
    "probability",
    "spacing",
    "samples",
    "annotators",
    "uncertainty",
    "instances",
    "class",
    "class probabilities",
    "boxes",
]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of a prediction.

    Attributes:
        name: as it stands in JSON and CSV, and as the property of its family's comparison.
        title: as a reader would call it.
        direction: which way is better.
        needs: what it compares beside the true mask.
        range: the smallest and the largest value that it can take.
        family: the module that computes it.
        convention: how it is defined where that is not obvious, and what empty masks get, as a sentence.
        definition: its number, which grows when the same masks get other values.
        on_request: whether it is measured only where it is named.
    """

    name: str
    title: str
    direction: Direction
    needs: tuple[Need, ...]
    range: tuple[float, float]
    family: Family
    convention: str
    definition: int = 1
    on_request: bool = False

    @property
    def is_length(self) -> bool:
        """Whether its values depend on the unit of length, mm or pixels."""
        return "spacing" in self.needs

    @property
    def is_volume(self) -> bool:
        """Whether its values are volumes, or areas of pictures."""
        return self.family == "volume" and self.is_length

    @property
    def ideal(self) -> float | None:
        """The best value, where values on both sides of it are worse."""
        return {"ideal 1": 1.0, "ideal 0": 0.0}.get(self.direction)

    def in_unit(self, unit: str | None) -> Metric:
        """The metric with the unit of its values (`unit_of`) in its title, if they are lengths or volumes.

        Args:
            unit: None where it is not known: in evaluations of early versions.
        """
        return replace(self, title=f"{self.title} ({unit_name(unit)})") if self.is_length else self

    def unit_of(self, unit: Unit | None, *, axes: int | None) -> MetricUnit | None:
        """The unit of its values where lengths are in `unit`; None where either is not known.

        Args:
            axes: of the images, which tell areas from volumes.
        """
        if self.is_volume and unit == "mm":
            return {2: AREA, 3: VOLUME}.get(axes or 0)
        return unit

    def better(self, one: float, other: float) -> bool:
        """Whether `one` is a better value than `other`."""
        if self.ideal is not None:
            return abs(one - self.ideal) < abs(other - self.ideal)
        return one > other if self.direction == "higher" else one < other


def unit_name(unit: str | None) -> str:
    """A unit as it stands behind a number: "mm", "mL", "mm²", "pixels", or "mm or pixels" where it is not known."""
    if unit is None:
        return "mm or pixels"
    return "pixels" if unit == "pixel" else unit


def length_of(unit: str | None) -> str | None:
    """The unit of length that a unit rests on: that of mL and mm² is mm."""
    return "mm" if unit in (VOLUME, AREA) else unit


_MASK: tuple[Need, ...] = ("mask",)
_PROBABILITY: tuple[Need, ...] = ("probability",)
_SPACED: tuple[Need, ...] = ("mask", "spacing")
_SEVERAL: tuple[Need, ...] = ("samples", "annotators")
_UNIT = (0.0, 1.0)
_POSITIVE = (0.0, math.inf)
_LENGTH = "in mm where the files or the manifest say how large a pixel is, else in pixels"
_VOLUME = "in mL (of pictures the area in mm²) where the size of a pixel is known, else in pixels"
_EMPTY = "undefined if the truth is empty, 0 if the prediction alone is."
_DIAGONAL = (
    "undefined if the truth is empty, the diagonal of the image if the prediction alone is, so that missing a "
    "structure altogether is never rewarded."
)
_SET = "a prediction without samples is its mask alone; undefined where one annotator alone marked the case."
_COUNTED = (
    "over the whole image or region, not averaged over patches; undefined if the truth is empty; an empty prediction "
    "has none."
)

_OBJECTS: tuple[Need, ...] = ("instances",)
_OBJECT_EMPTY = "undefined if there is no true object, 0 if there is no predicted one."

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("dice", "Dice", "higher", _MASK, _UNIT, "overlap", f"Dice: {_EMPTY}"),
        Metric(
            "found", "Structures found", "higher", _MASK, _UNIT, "overlap",
            "Structures found: 1 if prediction and truth share at least one pixel (ours), 0 if they do not; undefined "
            "if the truth is empty.",
        ),
        Metric(
            "false_alarm", "False alarms", "lower", _MASK, _UNIT, "overlap",
            "False alarms: 1 if the truth is empty and the prediction is not, 0 if both are empty; undefined if the "
            "truth has something.",
        ),
        Metric("iou", "Intersection over union", "higher", _MASK, _UNIT, "overlap", f"IoU: {_EMPTY}"),
        Metric("precision", "Precision", "higher", _MASK, _UNIT, "overlap", f"Precision: {_EMPTY}"),
        Metric("sensitivity", "Sensitivity", "higher", _MASK, _UNIT, "overlap", f"Sensitivity: {_EMPTY}"),
        Metric(
            "specificity", "Specificity", "higher", _MASK, _UNIT, "overlap",
            "Specificity: where the truth fills everything, 1 if the prediction does too, otherwise 0.",
        ),
        Metric(
            "accuracy", "Accuracy", "higher", _MASK, _UNIT, "overlap",
            "Accuracy: always defined; a small structure hardly moves it.",
        ),
        Metric(
            "dice_or_empty", "Dice, both empty is 1", "higher", _MASK, _UNIT, "overlap",
            "Dice, both empty is 1: as in tables where an empty truth answered by an empty mask counts 1, and one "
            "answered by anything else 0; a model that marks nothing scores the share of empty images.",
        ),
        Metric(
            "auc", "Area under the ROC curve", "higher", _PROBABILITY, _UNIT, "ranking",
            "AUC: exact, equal probabilities count one half; undefined if the truth is empty or fills everything.",
        ),
        Metric(
            "average_precision", "Average precision", "higher", _PROBABILITY, _UNIT, "ranking",
            "Average precision: exact, without interpolation; undefined if the truth is empty.",
        ),
        Metric(
            "cldice", "Centre-line Dice", "higher", _MASK, _UNIT, "topology",
            "clDice: skeletons by scikit-image's skeletonize, Zhang in 2-D and Lee in 3-D (the deepest voxels "
            f"stand in for pieces that it loses); {_EMPTY}",
        ),
        Metric(
            "vca", "Components per true component", "ideal 1", _MASK, _POSITIVE, "topology",
            "VCA: components of the prediction over components of the truth, with 8 or 26 neighbours, the background "
            f"excluded; {_EMPTY}",
        ),
        Metric(
            "log_vca", "|log VCA|", "lower", _MASK, _POSITIVE, "topology",
            "|log VCA|: natural logarithm; undefined if the truth is empty; an empty prediction counts half a "
            "component (ours), so that it is worse than a single one.",
        ),
        Metric(
            "betti0_error", "Betti-0 error", "lower", _MASK, _POSITIVE, "topology",
            f"Betti-0 error: the difference in the number of components (8 or 26 neighbours), {_COUNTED}",
        ),
        Metric(
            "betti1_error", "Betti-1 error", "lower", _MASK, _POSITIVE, "topology",
            f"Betti-1 error: the difference in the number of holes (2-D) or tunnels (3-D), {_COUNTED}",
        ),
        Metric(
            "hd95", "95 % Hausdorff distance", "lower", _SPACED, _POSITIVE, "distance",
            "HD95: the larger of the two directed 95th percentiles of the distances between border pixels, "
            f"{_LENGTH}; {_DIAGONAL}",
        ),
        Metric(
            "assd", "Average surface distance", "lower", _SPACED, _POSITIVE, "distance",
            "ASSD: the mean distance over the border pixels of both masks together, "
            f"{_LENGTH}; {_DIAGONAL}",
        ),
        Metric(
            "nsd", "Normalised surface Dice at 2", "higher", _SPACED, _UNIT, "distance",
            "NSD: the share of the border pixels of both masks that lie within 2 mm of the other border (2 pixels "
            "where no file and no manifest says how large a pixel is); undefined if the truth is empty, 0 if the "
            "prediction alone is.",
        ),
        Metric(
            "volume_difference", "Volume difference", "ideal 0", _SPACED, (-math.inf, math.inf), "volume",
            f"Volume difference: of the prediction minus that of the truth, {_VOLUME}; above 0 where too much is "
            "marked; in the mean of several classes too much of one makes up for too little of another.",
        ),
        Metric(
            "relative_volume_difference", "Relative volume difference", "ideal 0", _MASK, (-1.0, math.inf), "volume",
            "Relative volume difference: the same as a share of the true volume, signed; -1 where nothing is marked; "
            "undefined if the truth is empty.",
        ),
        Metric(
            "absolute_volume_difference", "Absolute volume difference", "lower", _SPACED, _POSITIVE, "volume",
            "Absolute volume difference: without its sign, so that too much in one case does not make up for too "
            f"little in another, {_VOLUME}; always defined.",
        ),
        Metric(
            "ece", "Expected calibration error", "lower", _PROBABILITY, _UNIT, "calibration",
            "ECE: 15 equal bins of the foreground probability over all pixels; always defined.",
        ),
        Metric(
            "brier", "Brier score", "lower", _PROBABILITY, _UNIT, "calibration",
            "Brier: the mean squared error of the foreground probability over all pixels; always defined.",
        ),
        Metric(
            "ged", "Generalised energy distance", "lower", _SEVERAL, (0.0, 2.0), "several",
            "GED: squared, with the distance 1 - IoU, which is 0 if both masks are empty; over all pairs of samples "
            f"and annotators, a mask with itself among them, so it depends on the number of samples; {_SET}",
        ),
        Metric(
            "hm_iou", "Hungarian-matched IoU", "higher", _SEVERAL, _UNIT, "several",
            "HM-IoU: the mean IoU of the best matching of samples and annotators, both repeated up to the least common "
            f"multiple of their numbers; the IoU is 1 if both masks are empty; {_SET}",
        ),
        Metric(
            "max_dice", "Dice of the nearest sample", "higher", _SEVERAL, _UNIT, "several",
            "Max-Dice: the mean over annotators of the best Dice among the samples, so it grows with their number; the "
            f"Dice is 1 if both masks are empty; {_SET}",
        ),
        Metric(
            "soft_dice", "Soft Dice", "higher", _SEVERAL, _UNIT, "several",
            "Soft Dice: the mean over the thresholds 0.1, 0.3, 0.5, 0.7 and 0.9 of the Dice between the mean of the "
            "samples and the mean of the annotators where they exceed the threshold, 1 where neither does; without "
            "samples the probability stands for their mean, without either the mask; undefined where one annotator "
            "alone marked the case.",
        ),
        Metric(
            "uncertainty_auc", "Errors found by uncertainty", "higher", ("mask", "uncertainty"), _UNIT, "uncertainty",
            "Errors found by uncertainty: the area under the ROC curve of the uncertainty of each pixel, of the first "
            "map that is listed, against whether the mask is wrong there; undefined if no pixel is wrong, or all are.",
        ),
        Metric(
            "pq", "Panoptic quality", "higher", _OBJECTS, _UNIT, "instances",
            f"PQ: detection times segmentation quality, of each class by itself; {_OBJECT_EMPTY}",
        ),
        Metric(
            "sq", "Segmentation quality", "higher", _OBJECTS, _UNIT, "instances",
            "SQ: the mean IoU of the objects that match with IoU above 0.5; undefined if there is no true object, 0 "
            "if none matches.",
        ),
        Metric(
            "dq", "Detection quality (F1 at IoU .50)", "higher", _OBJECTS, _UNIT, "instances",
            f"DQ: F1 of objects that match with IoU above 0.5; {_OBJECT_EMPTY}",
        ),
        Metric(
            "f1_75", "F1 at IoU .75", "higher", _OBJECTS, _UNIT, "instances",
            f"F1 at IoU .75: objects match with IoU above 0.75; {_OBJECT_EMPTY}",
        ),
        Metric(
            "f1_90", "F1 at IoU .90", "higher", _OBJECTS, _UNIT, "instances",
            f"F1 at IoU .90: objects match with IoU above 0.9; {_OBJECT_EMPTY}",
        ),
        Metric(
            "dsb_ap", "Mean precision, IoU .50 to .95", "higher", _OBJECTS, _UNIT, "instances",
            "Mean precision, IoU .50 to .95: TP / (TP + FP + FN), the mean over IoU above 0.50, 0.55, ..., 0.95, as in "
            f"the Data Science Bowl 2018, which calls it average precision; {_OBJECT_EMPTY}",
        ),
        Metric(
            "aji", "Aggregated Jaccard index", "higher", _OBJECTS, _UNIT, "instances",
            "AJI: several true objects may take the same predicted one, as its authors have it; pixels of predicted "
            f"objects that none takes count as wrong; {_OBJECT_EMPTY}",
        ),
        Metric(
            "aji_plus", "AJI+", "higher", _OBJECTS, _UNIT, "instances",
            f"AJI+: AJI of the best one-to-one assignment; {_OBJECT_EMPTY}",
        ),
        Metric(
            "object_f1", "Object F1 (GlaS)", "higher", _OBJECTS, _UNIT, "instances",
            "Object F1 (GlaS): a predicted object is right if it holds at least half of the true object that it shares "
            f"most pixels with; {_OBJECT_EMPTY}",
        ),
        Metric(
            "object_dice", "Object Dice (GlaS)", "higher", _OBJECTS, _UNIT, "instances",
            "Object Dice (GlaS): of each object and the one of the other side that shares most pixels with it, "
            f"weighted by size, the mean of both directions; {_OBJECT_EMPTY}",
        ),
        Metric(
            "object_hausdorff", "Object Hausdorff distance (GlaS)", "lower", ("instances", "spacing"), _POSITIVE,
            "instances",
            "Object Hausdorff distance (GlaS): weighted as object Dice, of an object that shares no pixel to the "
            f"nearest one by that distance, {_LENGTH}; undefined if there is no true object, the diagonal of the image "
            "if there is no predicted one.",
        ),
        Metric(
            "count_error", "Count error", "lower", _OBJECTS, _POSITIVE, "instances",
            "Count error: by how many the numbers of objects differ; always defined.",
        ),
        Metric(
            "lesion_f1", "F1 of pieces", "higher", _MASK, _UNIT, "lesions",
            "F1 of pieces: a piece of one mask is found if it shares a pixel with the other, as in ISLES 2022; "
            f"{_EMPTY}",
            on_request=True,
        ),
        Metric(
            "lesion_dice", "Dice by piece", "higher", _MASK, _UNIT, "lesions",
            "Dice by piece: the mean over the pieces of the truth, each in its Voronoi region (the pixels that are "
            f"nearer to it than to any other); {_EMPTY}",
            on_request=True,
        ),
        Metric(
            "lesion_hd95", "95 % Hausdorff distance by piece", "lower", _SPACED, _POSITIVE, "lesions",
            f"HD95 by piece: in the same regions, {_LENGTH}; the diagonal of the image for a piece in whose region "
            "nothing is predicted; undefined if the truth is empty.",
            on_request=True,
        ),
        Metric(
            "width_ratio", "Width ratio", "ideal 1", _MASK, _POSITIVE, "topology",
            "Width ratio (ours): the mean width of the prediction over that of the truth, each along its part of the "
            "common centre line, 2 d - 1 at a distance of d pixels to the background; undefined without such a line.",
            on_request=True,
        ),
    )
}  # fmt: skip

_CLASS: tuple[Need, ...] = ("class",)
_CLASSES: tuple[Need, ...] = ("class", "class probabilities")
_MACRO = "the mean over the classes that the truth has, each of them against the rest"

CLASS_METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "accuracy", "Accuracy", "higher", _CLASS, _UNIT, "classification",
            "Accuracy: the share of cases whose class is right; a rare class hardly moves it.",
        ),
        Metric(
            "balanced_accuracy", "Balanced accuracy", "higher", _CLASS, _UNIT, "classification",
            "Balanced accuracy: the mean of the sensitivities of the classes that the truth has; 1 / K by chance.",
        ),
        Metric(
            "f1", "F1", "higher", _CLASS, _UNIT, "classification",
            f"F1: {_MACRO} (macro average); a class that the truth lacks is undefined, also where it was predicted.",
        ),
        Metric(
            "auc", "Area under the ROC curve", "higher", _CLASSES, _UNIT, "classification",
            f"AUC: {_MACRO} (macro average), exact, equal probabilities count one half; undefined if all cases are of "
            "one class.",
        ),
        Metric(
            "ece", "Expected calibration error", "lower", _CLASSES, _UNIT, "classification",
            "ECE: 15 equal bins of the probability of the predicted class against whether it is right; of few cases it "
            "is too large.",
        ),
        Metric(
            "brier", "Brier score", "lower", _CLASSES, (0.0, 2.0), "classification",
            "Brier: the mean over cases of the squared errors of the probabilities, summed over the classes.",
        ),
    )
}  # fmt: skip
"""The metrics of image classes, over all cases together."""

_BOXES: tuple[Need, ...] = ("boxes",)
_MATCHED = (
    "in the order of their scores each box takes the true box of its class in its image that it overlaps most of those "
    "that are left, where that is 0.5 or more"
)
_OF_CLASSES = "the mean over the classes that the truth has"

BOX_METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "ap50", "Average precision at 0.5", "higher", _BOXES, _UNIT, "detection",
            f"AP at 0.5: over all cases together, {_MATCHED}; the mean of the precision at 101 sensitivities, each the "
            f"best at any that is as high, as COCO has it; {_OF_CLASSES}; undefined if it has no box.",
        ),
        Metric(
            "ap", "Average precision at 0.5 to 0.95", "higher", _BOXES, _UNIT, "detection",
            "AP at 0.5 to 0.95: the same, the mean over the overlaps 0.5, 0.55, ... 0.95.",
        ),
        Metric(
            "box_iou", "IoU of matched boxes", "higher", _BOXES, _UNIT, "detection",
            f"IoU of matched boxes: the mean over boxes that have found a true one: {_MATCHED}; whatever their scores; "
            f"{_OF_CLASSES}; undefined where nothing is matched, so that it says nothing of what was missed.",
        ),
        Metric(
            "froc", "Sensitivity at 1 false alarm an image", "higher", _BOXES, _UNIT, "detection",
            "Sensitivity at 1 false alarm an image: the share of true boxes that are found at the lowest score with at "
            f"most so many false alarms of its class, boxes of one score together: {_MATCHED}; {_OF_CLASSES}.",
        ),
    )
}  # fmt: skip
"""The metrics of boxes, over all cases together."""

BOX_METRICS_OF_A_CASE: dict[str, Metric] = {
    name: replace(
        metric,
        title=f"{metric.title}, by image",
        convention=f"{metric.convention.rstrip('.')}; here of each image by itself, then the mean over images: of an "
        "image without a true box undefined, so that false alarms there do not count.",
    )
    for name, metric in BOX_METRICS.items()
}
"""The same of each image by itself, so that images can be paired; see `experiments.boxes_by_case`."""

_ABSENT: dict[Need, str] = {
    "probability": "probability maps, and there are none",
    "annotators": "masks by several annotators, and no case has more than one",
    "uncertainty": "uncertainty maps, and the predictions list none",
}


def chosen(
    names: Iterable[str] | None,
    *,
    probability: bool,
    annotators: bool = False,
    uncertainty: bool = False,
    instances: bool = False,
) -> tuple[Metric, ...]:
    """The metrics called `names` in the order of the catalogue; None takes all that can be computed.

    Args:
        probability: whether there are probability maps.
        annotators: whether a case was marked by several annotators.
        uncertainty: whether there are uncertainty maps.
        instances: whether both sides tell objects apart; where they do not, metrics of objects are taken if named, and
            components stand for objects.

    Raises:
        ValueError: a name is unknown, or needs what there is not.
    """
    there = {"probability": probability, "annotators": annotators, "uncertainty": uncertainty}
    absent = {need: sentence for need, sentence in _ABSENT.items() if not there[need]}
    if names is None:
        lacking = absent.keys() | (set[Need]() if instances else {"instances"})
        every = (metric for metric in METRICS.values() if not metric.on_request)
        return tuple(metric for metric in every if lacking.isdisjoint(metric.needs))
    wanted = set(names)
    unknown = sorted(wanted - METRICS.keys())
    if unknown:
        raise ValueError(f"no metric is called {', '.join(unknown)}; expected some of {', '.join(METRICS)}")
    taken = tuple(metric for metric in METRICS.values() if metric.name in wanted)
    for need, sentence in absent.items():
        if without := [metric.name for metric in taken if need in metric.needs]:
            raise ValueError(f"{', '.join(without)} needs {sentence}")
    return taken
