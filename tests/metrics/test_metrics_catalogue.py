"""The catalogue of metrics: what it promises of each is what the metric does."""

from __future__ import annotations

import math

import numpy as np
import pytest

from scantling.evaluation.scores import scores_of_arrays
from scantling.metrics.catalogue import METRICS, chosen

NAMES = [
    *("dice", "found", "false_alarm", "iou", "precision", "sensitivity", "specificity", "accuracy", "dice_or_empty"),
    *("auc", "average_precision"),
    *("cldice", "vca", "log_vca", "betti0_error", "betti1_error", "hd95", "assd", "nsd"),
    *("volume_difference", "relative_volume_difference", "absolute_volume_difference", "ece", "brier"),
    *("ged", "hm_iou", "max_dice", "soft_dice", "uncertainty_auc"),
]
OBJECTS = ["pq", "sq", "dq", "f1_75", "f1_90", "dsb_ap", "aji", "aji_plus", "object_f1", "object_dice"]
OBJECTS += ["object_hausdorff", "count_error"]
PIECES = ["lesion_f1", "lesion_dice", "lesion_hd95", "width_ratio"]
SEVERAL = {"ged", "hm_iou", "max_dice", "soft_dice"}


def scores(
    prediction: np.ndarray, truth: np.ndarray, probability: np.ndarray, uncertainty: np.ndarray
) -> dict[str, float]:
    """All metrics; the components of the masks stand for objects."""
    found = scores_of_arrays(
        prediction[None],
        truth[None],
        classes=["vessel"],
        others=[truth[None]],
        probability=probability[None],
        uncertainty=uncertainty,
        metrics=METRICS,
    )
    return dict(found.mean)


def test_the_catalogue_has_the_measures_under_their_names() -> None:
    assert list(METRICS) == NAMES + OBJECTS + PIECES
    assert all(name == metric.name for name, metric in METRICS.items())


def test_every_value_lies_in_the_range_that_the_catalogue_states() -> None:
    for seed in range(30):
        draw = np.random.default_rng(seed)
        prediction, truth = (draw.random((2, 12, 13)) < draw.random((2, 1, 1)) ** 2).astype(np.uint8)
        for name, value in scores(prediction, truth, draw.random((12, 13)), draw.random((12, 13))).items():
            low, high = METRICS[name].range
            assert math.isnan(value) or low <= value <= high, name


def test_a_perfect_prediction_has_the_best_value_and_a_poor_one_a_worse_one() -> None:
    truth = np.zeros((20, 20), np.uint8)
    truth[5, 2:18] = truth[10:14, 10:14] = 1
    truth[11, 11] = 0
    poor = np.roll(truth, 3, axis=0)
    poor[5, 6:9] = poor[18, 2] = poor[19, 19] = 1
    poor[1, 1] = 1
    poor[13:17, 10:14] = 1
    perfect = scores(truth, truth, truth.astype(float), truth.astype(float))
    worse = scores(poor, truth, np.where(poor, 0.9, 0.2), truth.astype(float))
    assert math.isnan(perfect["uncertainty_auc"]), "where nothing is wrong there are no errors to find"
    perfect["uncertainty_auc"] = scores(poor, truth, poor.astype(float), poor != truth)["uncertainty_auc"]
    assert (perfect.pop("found"), worse["found"]) == (1, 1), "both share a pixel with the truth"
    assert math.isnan(perfect.pop("false_alarm")), "there is something to find"
    assert (perfect.pop("width_ratio"), worse["width_ratio"]) == (1, 1), "both are as wide where they meet"
    for name, metric in ((name, METRICS[name]) for name in perfect):
        best = {"higher": metric.range[1], "lower": metric.range[0], "ideal 1": 1.0, "ideal 0": 0.0}[metric.direction]
        assert perfect[name] == best, name
        assert metric.better(perfect[name], worse[name]), name
        assert not metric.better(worse[name], perfect[name]), name


def test_vca_below_one_is_as_bad_as_above() -> None:
    assert METRICS["vca"].better(1.1, 0.5)
    assert METRICS["vca"].better(0.9, 1.5)


def test_conventions_are_sentences() -> None:
    for metric in METRICS.values():
        assert metric.convention[0].isupper() or metric.convention[0] == "|" or metric.name == "cldice"
        assert metric.convention.endswith(".")


def test_measures_are_chosen_by_name_in_the_order_of_the_catalogue() -> None:
    assert [metric.name for metric in chosen(["hd95", "dice"], probability=False)] == ["dice", "hd95"]
    everything = chosen(None, probability=True, annotators=True, uncertainty=True)
    assert [metric.name for metric in everything] == NAMES
    apart = chosen(None, probability=True, annotators=True, uncertainty=True, instances=True)
    assert [metric.name for metric in apart] == NAMES + OBJECTS, "others are measured where they are named"
    assert [metric.name for metric in chosen(["lesion_f1", "aji"], probability=False)] == ["aji", "lesion_f1"]
    one_mask = {metric.name for metric in chosen(None, probability=True)}
    assert set(NAMES) - one_mask == SEVERAL | {"uncertainty_auc"}
    without = {metric.name for metric in chosen(None, probability=False)}
    assert one_mask - without == {"auc", "average_precision", "ece", "brier"}


def test_a_measure_that_is_unknown_or_cannot_be_computed_is_refused() -> None:
    with pytest.raises(ValueError, match="no metric is called dize; expected some of dice"):
        chosen(["dize"], probability=True)
    with pytest.raises(ValueError, match="auc needs probability maps"):
        chosen(["dice", "auc"], probability=False)
    with pytest.raises(
        ValueError, match="ged, hm_iou needs masks by several annotators, and no case has more than one"
    ):
        chosen(["hm_iou", "ged"], probability=True)
    with pytest.raises(ValueError, match="uncertainty_auc needs uncertainty maps"):
        chosen(["uncertainty_auc"], probability=True)
