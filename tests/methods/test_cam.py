"""Class activation maps: their formulas on maps whose answer is known, and what a classifier must hand out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from scantling.contract.method import build
from scantling.contract.step import Inference
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch, Intensity, Traits
from scantling.methods.supervised.classifier import ClassifierSettings, VGGClassifier
from scantling.methods.weakly_supervised.cam import CAM, CamOptions, CamSettings
from scantling.methods.weakly_supervised.class_activation import grad_cam, grad_cam_pp, layer_cam, score_cam

FACTS = Intensity(mean=0, std=1, low=0, high=1, minimum=0, maximum=255)
KINDS = ("grad-cam", "grad-cam++", "score-cam", "layer-cam")


def traits(**changes: Any) -> Traits:
    common: dict[str, Any] = {
        "dimensions": 2, "channels": ("image",), "spacing": (1.0, 1.0), "shape": (16, 16), "smallest": (16, 16),
        "intensity": (FACTS,), "image_classes": ("bright", "dark"), "classified": 4,
    }  # fmt: skip
    return Traits(**{**common, **changes})


def cam(**settings: Any) -> CAM:
    facts = traits()
    network = build(VGGClassifier, ClassifierSettings.preset("tiny").resolve(facts), facts, seed=2).eval()
    chosen = CamSettings.preset("tiny", settings).resolve(facts)
    return build(CAM, chosen, facts, uses={"classifier": network}).eval()


def maps_and_gradient() -> tuple[Tensor, Tensor]:
    """The first map lies left and speaks for the class, the second lies right and speaks against it."""
    maps = torch.zeros(1, 2, 4, 4)
    maps[0, 0, :, :2], maps[0, 1, :, 2:] = 1, 1
    gradient = torch.ones_like(maps)
    gradient[0, 1] = -2
    return maps, gradient


@pytest.mark.parametrize("kind", [grad_cam, grad_cam_pp, layer_cam])
def test_maps_show_what_speaks_for_a_class_and_not_what_speaks_against_it(kind: Any) -> None:
    maps, gradient = maps_and_gradient()
    found = kind(maps, gradient)
    assert found.shape == (1, 1, 4, 4)
    assert (found[..., :2] > 0).all()
    assert not found[..., 2:].any()


def test_of_a_score_that_is_linear_in_the_means_grad_cam_is_the_map_of_zhou() -> None:
    maps = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    weights = torch.tensor([1.0, -2.0, 0.5])
    score = (weights * maps.mean((2, 3))).sum()
    (gradient,) = torch.autograd.grad(score, maps)
    expected = torch.relu((weights.view(1, 3, 1, 1) * maps).sum(1, keepdim=True)) / 16
    torch.testing.assert_close(grad_cam(maps, gradient), expected)


def test_the_weights_of_grad_cam_plus_plus_are_those_of_its_equation() -> None:
    maps, gradient = maps_and_gradient()
    gradient[0, 0, 0, 0] = 3
    alpha = gradient[0, 0] ** 2 / (2 * gradient[0, 0] ** 2 + gradient[0, 0] ** 3 * 8)  # its map sums to 8
    weight = (alpha * gradient[0, 0]).sum()
    torch.testing.assert_close(grad_cam_pp(maps, gradient)[..., :2], weight * maps[:, :1, :, :2])
    assert grad_cam_pp(maps, torch.zeros_like(maps)).abs().max() == 0, "no gradient, no map"


def test_score_cam_weighs_a_map_by_what_the_image_scores_where_it_shows() -> None:
    image = torch.zeros(1, 1, 8, 8)
    image[..., :4] = 1
    maps = torch.zeros(1, 3, 8, 8)
    maps[0, 0, :, :4], maps[0, 1, :, 4:], maps[0, 2] = 1, 1, 5  # the last hides nothing
    found = score_cam(lambda seen: seen.sum((1, 2, 3)), image, maps)
    weights = torch.tensor([32.0, 0.0]).softmax(0)
    torch.testing.assert_close(found[0, 0, 0, 0], weights[0])
    torch.testing.assert_close(found[0, 0, 0, 7], weights[1])
    assert not score_cam(lambda seen: seen.sum((1, 2, 3)), image, torch.ones(1, 2, 8, 8)).any()


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_has_one_map_whatever_stands_beside_it_at_every_level(kind: str) -> None:
    of = cam(kind=kind)
    images = torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    index = torch.arange(3)
    for level in (0, 1):
        ask = Inference(seed=0, options=CamOptions(level=level))
        with torch.no_grad():
            together = of.segment(Batch(index, index, {"image": images}), ask).maps["evidence"]
            alone = of.segment(Batch(index[:1], index[:1], {"image": images[:1]}), ask).maps["evidence"]
        assert together.shape == (3, 1, 16, 16)
        assert together.min() >= 0
        torch.testing.assert_close(together[:1], alone)


def test_a_level_that_is_not_there_and_a_classifier_of_other_data_are_refused() -> None:
    of, index = cam(), torch.arange(1)
    with pytest.raises(SettingsError, match="the level is 2; the classifier has the levels 0 to 1"):
        of.segment(
            Batch(index, index, {"image": torch.zeros(1, 1, 16, 16)}), Inference(seed=0, options=CamOptions(level=2))
        )
    network, other = of.classifier, traits(channels=("t1",))
    with pytest.raises(SettingsError, match="it knows the channels image, the data have t1"):
        build(CAM, CamSettings(shown=("bright",)), other, uses={"classifier": network})
    named = traits(image_classes=("ill", "well"))
    with pytest.raises(SettingsError, match="does not know the image class 'ill'; it knows bright, dark"):
        build(CAM, CamSettings(shown=("ill",)), named, uses={"classifier": network})
