"""The classifier: what it refuses, and that its answer depends on no other image of the batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from scantling.contract.method import build
from scantling.contract.step import Inference
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch, Intensity, Traits
from scantling.methods.supervised.classifier import ClassifierSettings, VGGClassifier

FACTS = Intensity(mean=0, std=1, low=0, high=1, minimum=0, maximum=255)


def traits(*classes: str) -> Traits:
    return Traits(
        dimensions=2, channels=("image",), spacing=(1.0, 1.0), shape=(16, 16), smallest=(16, 16), intensity=(FACTS,),
        image_classes=classes, classified=5,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("classes", "settings", "sentence"),
    [(("one",), {}, "two or more"), (("one", "two"), {"size": 16, "halvings": 5}, "5 halvings need 32 pixels")],
)
def test_one_class_and_images_that_are_too_small_are_refused(
    classes: tuple[str, ...], settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(SettingsError, match=sentence):
        ClassifierSettings.preset("tiny", settings).resolve(traits(*classes))


@pytest.mark.parametrize("settings", [{}, {"pooled": 3, "hidden": ()}])
def test_an_image_gets_one_answer_whatever_stands_beside_it(settings: dict[str, Any]) -> None:
    known = traits("ill", "well", "odd")
    model = build(VGGClassifier, ClassifierSettings.preset("tiny", settings).resolve(known), known).eval()
    images, none = torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(0)), torch.zeros(3).long()
    with torch.no_grad():
        together = model.classify(Batch(none, none, {"image": images}), Inference(seed=0)).probabilities
        alone = model.classify(Batch(none[:1], none[:1], {"image": images[:1]}), Inference(seed=0)).probabilities
    assert together.shape == (3, 3)
    torch.testing.assert_close(together[:1], alone)
    torch.testing.assert_close(together.sum(1), torch.ones(3))
