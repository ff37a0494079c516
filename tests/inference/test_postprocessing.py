"""Temperatures, thresholds and rules of components change answers as they say, and in one place."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from scantling.contract.capabilities import Segmenter
from scantling.contract.card import Card
from scantling.contract.options import SegmentOptions
from scantling.contract.results import Segmentation
from scantling.contract.settings import Settings
from scantling.contract.step import Inference
from scantling.core.case import Case, Geometry, Labels, Sample
from scantling.core.postprocessing import Postprocessing
from scantling.core.samples import Batch, Intensity, Preprocessing, Traits
from scantling.inference.answering import segment
from scantling.inference.bands import Decided, answer_in_bands
from scantling.inference.postprocessing import drop_components, with_temperature
from scantling.inference.tiles import Tiler
from scantling.metrics.confidence import dice_confidence

LABELS = Labels(names=("lesion",), values=((1,),))
FLAT = Intensity(mean=0, std=1, low=0, high=1, minimum=0, maximum=1)
CPU = torch.device("cpu")


class AsShown(Segmenter):
    """The image itself is the probability."""

    card = Card(
        name="as-shown", title="", authors="", year=2024, needs=(("image", "mask"),), gives=("segment",),
        dimensions=(2, 3), implementation="test_postprocessing:AsShown",
    )  # fmt: skip
    Settings = Settings

    @property
    def preprocessing(self) -> Preprocessing:
        return Preprocessing(dimensions=2, normalise="none")

    def segment(self, batch: Batch, inference: Inference) -> Segmentation:
        del inference
        return Segmentation(probabilities=batch.image)


def model(postprocessing: Postprocessing | None = None, *, spacing: float | None = None) -> AsShown:
    traits = Traits(
        dimensions=2, channels=("image",), labels=LABELS, spacing=(spacing or 1.0,) * 2, shape=(64, 64),
        smallest=(64, 64), intensity=(FLAT,), unit="mm" if spacing else "pixel",
    )  # fmt: skip
    found = AsShown(Settings(), traits)
    if postprocessing is not None:
        found.postprocessing = postprocessing
    return found


def sample_of(probabilities: np.ndarray, **how: Any) -> Sample:
    shape = probabilities.shape
    return Sample(Case(id="a", subject="a"), probabilities[None], Geometry(shape, **({"spacing": (1.0, 1.0)} | how)))


def answered(
    methods: Sequence[AsShown], sample: Sample, *, most: int | None = None, options: SegmentOptions | None = None
) -> Decided:
    about = partial(
        segment, methods[0], tiler=Tiler(), others=[(each, Tiler()) for each in methods[1:]], device=CPU,
        options=options or SegmentOptions(),
    )  # fmt: skip
    return answer_in_bands(about, sample, methods, exclusive=True, maps=True, most=most)


def specks(shape: tuple[int, int] = (400, 60)) -> np.ndarray:
    """Probabilities with one long piece through most of the image, a middling one and specks."""
    image = np.full(shape, 0.1, np.float32)
    image[20:380, 10:20] = 0.9
    image[100:110, 30:40] = 0.8
    image[5:400:37, 55] = 0.7
    return image


@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize("temperature", [0.5, 2.0, 7.0])
def test_a_temperature_divides_logits(exclusive: bool, temperature: float) -> None:
    logits = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(0)) * 3
    if exclusive:
        before, after = logits.softmax(0)[1:], (logits / temperature).softmax(0)[1:]
    else:
        before, after = logits.sigmoid(), (logits / temperature).sigmoid()
    np.testing.assert_allclose(
        with_temperature(before.numpy(), temperature, exclusive=exclusive), after, atol=1e-4
    )  # 1 - Σ p in float32


def test_a_temperature_leaves_certainty_and_the_decision() -> None:
    likely = np.array([[0.0, 1.0, 0.5, 0.49, 0.51]], np.float32)
    found = with_temperature(likely, 3.0, exclusive=True)
    assert found[0, :3].tolist() == [0, 1, 0.5]
    assert ((found > 0.5) == (likely > 0.5)).all()


def test_components_stay_by_their_size_in_the_unit_of_the_rule() -> None:
    mask = (specks() > 0.5).astype(np.uint8)
    sizes = np.bincount(ndimage.label(mask)[0].ravel())[1:]
    assert sorted(sizes)[-2:] == [100, 3600]
    assert sizes.min() == 1
    for rule, pixel, left in ((None, 1.0, sizes.sum()), ("largest", 1.0, 3600), (2.0, 1.0, 3700), (26.0, 0.25, 3600)):
        cleaned = drop_components(mask, [rule], exclusive=True, pixel=pixel)
        assert cleaned.sum() == left
    assert mask.sum() == sizes.sum()  # left as it was


def test_each_class_has_its_own_rule() -> None:
    both = np.zeros((2, 30, 30), np.uint8)
    both[:, 2:12, 2:12] = both[:, 20:22, 20:22] = 1
    cleaned = drop_components(both, ["largest", None], exclusive=False, pixel=1.0)
    assert cleaned.sum((1, 2)).tolist() == [100, 104]
    numbers = np.zeros((30, 30), np.uint8)
    numbers[2:12, 2:12], numbers[20:22, 20:22], numbers[12:14, 12:14] = 1, 1, 2
    cleaned = drop_components(numbers, [50.0, None], exclusive=True, pixel=1.0)
    assert [int((cleaned == value).sum()) for value in (1, 2)] == [100, 4]


def test_bands_drop_the_components_of_the_whole_mask() -> None:
    """The long piece, cut by bands, is smaller than the rule in each of them."""
    method, sample = model(Postprocessing(components=(3000.0,))), sample_of(specks())
    whole, banded = (answered([method], sample, most=most) for most in (None, 20 * 60 * 200))
    assert (whole.decision == banded.decision).all()
    np.testing.assert_allclose(whole.confidence_sums, banded.confidence_sums, rtol=1e-5)
    assert whole.decision.sum() == 3600


def test_a_mask_of_which_no_component_stays_is_expected_to_score_nothing() -> None:
    """As any empty mask is."""
    method, sample = model(Postprocessing(components=(5000.0,))), sample_of(specks())
    for most in (None, 20 * 60 * 200):
        found = answered([method], sample, most=most)
        assert not found.decision.any()
        assert found.confidence_sums is not None
        assert dice_confidence(found.confidence_sums) is None


def test_a_size_in_mm_counts_by_the_spacing_of_the_file() -> None:
    method = model(Postprocessing(components=(50.0,)), spacing=1.0)
    coarse, fine = ({"spacing": (each, each), "unit": "mm"} for each in (1.0, 0.5))
    assert answered([method], sample_of(specks(), **coarse)).decision.sum() == 3700
    assert answered([method], sample_of(specks(), **fine)).decision.sum() == 3600
    assert answered([method], sample_of(specks())).decision.sum() == 3700  # unknown: that of the training images


def test_postprocessing_can_be_left_out() -> None:
    rules = Postprocessing(temperature=2.0, thresholds=(0.85,), components=("largest",))
    sample = sample_of(specks())
    plain = answered([model()], sample)
    left_out = answered([model(rules)], sample, options=SegmentOptions(postprocess=False))
    assert (left_out.decision == plain.decision).all()
    assert left_out.probabilities is not None
    assert (left_out.probabilities == sample.image).all()
    assert not answered([model(rules)], sample).decision.any()  # 0.9 is 0.75 at a temperature of 2


def test_an_ensemble_has_each_models_temperature_and_no_rules() -> None:
    sample = sample_of(specks())
    methods = [model(Postprocessing(temperature=value, components=("largest",))) for value in (2.0, 0.5)]
    found = answered(methods, sample)
    wanted = np.mean([with_temperature(sample.image, value, exclusive=True) for value in (2.0, 0.5)], axis=0)
    np.testing.assert_allclose(found.probabilities, wanted, atol=1e-6)
    assert (found.decision == (wanted[0] > 0.5)).all()
    assert found.decision.sum() > 3700
