"""One case, scored: every class by itself, and the mean over the classes."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from scantling.core.case import IGNORE, Unit
from scantling.core.pieces import spans
from scantling.evaluation.objects import Pair, layer_of
from scantling.metrics.arrays import mean_of_defined
from scantling.metrics.calibration import Calibration, calibration
from scantling.metrics.catalogue import chosen
from scantling.metrics.distance import surface_distances
from scantling.metrics.instances import Instances
from scantling.metrics.lesions import lesions
from scantling.metrics.overlap import confusion
from scantling.metrics.ranking import ranking
from scantling.metrics.several import several
from scantling.metrics.topology import topology
from scantling.metrics.uncertainty import error_ranking
from scantling.metrics.volume import volumes

Array = NDArray[np.generic]


@dataclass(frozen=True)
class Scores:
    """The metrics of one case; NaN where one is undefined.

    Attributes:
        mean: by metric, the mean over the classes in which it is defined.
        classes: by class and metric.
        calibration: the reliability table of all classes together, where there are probabilities.
        objects: by class what was counted of objects, where metrics of objects were wanted.
    """

    mean: Mapping[str, float]
    classes: Mapping[str, Mapping[str, float]]
    calibration: Calibration | None = None
    objects: Mapping[str, Instances] = field(default_factory=dict)


def scores_of_arrays(
    prediction: Array,
    truth: Array,
    *,
    classes: Sequence[str],
    others: Sequence[Array] = (),
    samples: Sequence[Array] = (),
    probability: Array | None = None,
    uncertainty: Array | None = None,
    region: Array | None = None,
    spacing: Sequence[float] | None = None,
    unit: Unit = "pixel",
    objects: Pair | None = None,
    metrics: Iterable[str] | None = ("dice",),
) -> Scores:
    """Score arrays that are in memory, in the form of `Sample.masks`.

    Args:
        prediction: (1, *S) class numbers, 0 background and 1..K, or (K, *S) of 0 and 1 where classes overlap.
        truth: the same, with `IGNORE` where nothing is known; those pixels do not count.
        classes: the K names of the classes.
        others: what further annotators marked, in the form of `truth`; without any, the metrics of several are
            undefined, and pixels that one of them does not know do not count there.
        samples: in the form of `prediction`, which stands for them if there are none.
        probability: (K, *S) in [0, 1].
        uncertainty: (*S), any finite range.
        region: (*S), the pixels that count; all of them if None.
        spacing: the distance between neighbours along each axis, whose unit lengths have; 1 if None.
        unit: of the spacing; of volumes in "pixel" pixels are counted.
        objects: of both sides; None, as of a side that has none: components of the masks stand for them.
        metrics: names of the catalogue; None takes all that can be computed.

    Raises:
        ValueError: a metric is unknown, there is no pixel to compare, or the arrays do not fit each other.
    """
    _check_shapes(prediction, truth, *others, *samples, classes=len(classes), probability=probability)
    named = metrics is not None
    several_of, doubted = named or bool(others), named or uncertainty is not None
    wanted = chosen(
        metrics,
        probability=probability is not None,
        annotators=several_of,
        uncertainty=doubted,
        instances=objects is not None,
    )
    families = {metric.family for metric in wanted}
    scores: dict[str, dict[str, float]] = {}
    tables: list[Calibration] = []
    by_object: dict[str, Instances] = {}
    seen = [_counted(truth, number, region) for number in range(len(classes))]
    unknown = {number for number, pixels in enumerate(seen) if pixels is not None and not pixels.any()}
    unknown = set() if len(unknown) == len(classes) else unknown  # of which the truth says nothing at all
    for number, name in enumerate(classes):
        counted = _counted(truth, number, region)
        if counted is not None and not counted.any() and number not in unknown:
            raise ValueError("there is no pixel to compare; expected at least one that the truth knows")
        if number in unknown:
            scores[name] = {each.name: math.nan for each in wanted}
            continue
        masks = (layer_of(prediction, number), layer_of(truth, number))
        compared = _of_masks(*masks, families, spacing=spacing, unit=unit, region=counted)
        if probability is not None:
            tables.append(calibration(probability[number], masks[1], region=counted))
            compared["calibration"] = tables[-1]
            if "ranking" in families:
                compared["ranking"] = ranking(probability[number], masks[1], region=counted)
        if uncertainty is not None and "uncertainty" in families:
            compared["uncertainty"] = error_ranking(uncertainty, *masks, region=counted)
        if others and "several" in families:
            compared["several"] = several(
                [layer_of(each, number) for each in samples or (prediction,)],
                [layer_of(each, number) for each in (truth, *others)],
                mean=None if samples or probability is None else probability[number],
                region=_all([counted, *(_counted(each, number, None) for each in others)]),
            )
        if "instances" in families:
            by_object[name] = (objects or Pair()).compare(
                number,
                (prediction, truth),
                classes=len(classes),
                known=_known(truth, number),
                region=region,
                spacing=spacing,
                distances=any(each.name == "object_hausdorff" for each in wanted),
            )
            compared["instances"] = by_object[name]
        scores[name] = {each.name: float(getattr(compared.get(each.family), each.name, math.nan)) for each in wanted}
    return Scores(
        mean={each.name: mean_of_defined(one[each.name] for one in scores.values()) for each in wanted},
        classes=scores,
        calibration=sum(tables[1:], start=tables[0]) if tables else None,
        objects=by_object,
    )


def _check_shapes(prediction: Array, truth: Array, *further: Array, classes: int, probability: Array | None) -> None:
    """Make sure that masks, each of one layer or of one a class, and probabilities are of one size.

    Raises:
        ValueError: they are not.
    """
    shape, every = truth.shape[1:], (prediction, truth, *further)
    if {each.shape[1:] for each in every} != {shape} or {len(each) for each in every} - {1, classes}:
        raise ValueError(f"the masks have shapes {prediction.shape} and {truth.shape} for {classes} classes")
    if probability is not None and probability.shape != (classes, *shape):
        raise ValueError(f"the probabilities have shape {probability.shape}; expected {(classes, *shape)}")


def _of_masks(
    prediction: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    families: Collection[str],
    *,
    spacing: Sequence[float] | None,
    unit: Unit,
    region: NDArray[np.bool_] | None,
) -> dict[str, object]:
    """What one class is worth by mask alone, by family."""
    compared: dict[str, object] = {}
    if "overlap" in families:
        compared["overlap"] = confusion(prediction, truth, region=region)
    if "topology" in families:
        compared["topology"] = topology(prediction, truth, spatial_dims=truth.ndim, region=region)
    if "distance" in families:
        compared["distance"] = surface_distances(
            prediction, truth, spatial_dims=truth.ndim, spacing=spacing, region=region
        )
    if "volume" in families:
        compared["volume"] = volumes(prediction, truth, spacing=spacing, unit=unit, region=region)
    if "lesions" in families:
        compared["lesions"] = lesions(prediction, truth, spatial_dims=truth.ndim, spacing=spacing, region=region)
    return compared


def marked_share(masks: Array, truth: Array, region: Array | None) -> float:
    """The share of the pixels that count which belong to any class.

    Args:
        masks: what is asked about, in the form of `scores_of_arrays`.
        truth: says which pixels are known, of one class at least.
        region: (*S), the pixels that count; all of them if None.
    """
    size, marked, counted = math.prod(truth.shape[1:]), 0, 0
    layers, true = masks.reshape(len(masks), size), truth.reshape(len(truth), size)
    inside = None if region is None else np.asarray(region, dtype=np.bool_).reshape(size)
    for span in spans(size):
        known = (true[:, span] != IGNORE).any(axis=0)
        if inside is not None:
            known &= inside[span]
        some = layers[:, span]
        counted += int(np.count_nonzero(known))
        marked += int(np.count_nonzero(((some != 0) & (some != IGNORE)).any(axis=0) & known))
    return marked / counted if counted else math.nan


def _all(parts: Sequence[NDArray[np.bool_] | None]) -> NDArray[np.bool_] | None:
    """The pixels that lie in all parts; None is everywhere."""
    limits = [part for part in parts if part is not None]
    return np.logical_and.reduce(limits) if limits else None


def _counted(truth: Array, number: int, region: Array | None) -> NDArray[np.bool_] | None:
    """(*S) bool: `region` without the pixels of which the truth knows nothing; None if all count."""
    known = _known(truth, number)
    if known.all():
        return None if region is None else np.asarray(region, dtype=np.bool_)
    return known if region is None else known & np.asarray(region, dtype=np.bool_)


def _known(truth: Array, number: int) -> NDArray[np.bool_]:
    """(*S) bool: where the truth knows of class `number`, counted from 0."""
    return np.asarray(truth[0 if len(truth) == 1 else number] != IGNORE)
