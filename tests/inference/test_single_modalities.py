"""Models of single channels answer together: each sees its own, one without any is left out, and a sentence says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from scantling.contract.method import build
from scantling.contract.options import SegmentOptions
from scantling.core.case import Case, Geometry, Labels, Sample
from scantling.core.errors import SettingsError
from scantling.core.samples import Intensity, Traits
from scantling.fusion import fuse
from scantling.inference.answering import channels_of, segment
from scantling.inference.models import Models, models_of
from scantling.inference.prediction import Answerer
from scantling.inference.tiles import Tiler
from scantling.methods.supervised.unet import UNetSegmenter

SIDE = 24


def model(channel: str, seed: int) -> UNetSegmenter:
    one = Intensity(mean=0, std=1, low=-3, high=3, minimum=-5, maximum=5)
    traits = Traits(
        dimensions=2, channels=(channel,), labels=Labels(names=("k",), values=((255,),)), spacing=(1.0, 1.0),
        shape=(SIDE, SIDE), smallest=(SIDE, SIDE), intensity=(one,),
    )  # fmt: skip
    settings = UNetSegmenter.Settings.preset("tiny").resolve(traits)
    made = build(UNetSegmenter, settings, traits, seed=seed).eval()
    assert isinstance(made, UNetSegmenter)
    return made


def sample(*, lacking: int | None = None) -> Sample:
    image = np.random.default_rng(0).normal(size=(2, SIDE, SIDE)).astype(np.float32)
    there = np.array([number != lacking for number in range(2)])
    image[~there] = 0
    return Sample(
        case=Case(id="p", subject="p"), image=image, geometry=Geometry((SIDE, SIDE), (1.0, 1.0)),
        channels=None if there.all() else there,
    )  # fmt: skip


def alone(method: UNetSegmenter, number: int) -> np.ndarray:
    whole = sample()
    one = replace(whole, image=whole.image[number : number + 1])
    return segment(method, one, device=torch.device("cpu"), tiler=Tiler()).probabilities


def test_each_model_sees_its_own_channel_and_reliabilities_go_by_model() -> None:
    a, b = model("a", 1), model("b", 2)
    assert channels_of([a, b]) == ("a", "b")
    options = SegmentOptions(fuse="dempster", reliabilities=(0.9, 0.3))
    found = segment(a, sample(), device=torch.device("cpu"), tiler=Tiler(), others=[(b, Tiler())], options=options)
    each = torch.from_numpy(np.stack([alone(a, 0), alone(b, 1)]))[:, None]
    expected = fuse("dempster", each, exclusive=True, reliabilities=[0.9, 0.3])[0].numpy()
    assert np.allclose(found.probabilities, expected, atol=1e-5)


@pytest.mark.parametrize(("lacking", "left"), [(0, "b"), (1, "a")])
def test_a_model_without_its_channel_is_left_out(lacking: int, left: str) -> None:
    a, b = model("a", 1), model("b", 2)
    found = segment(
        a, sample(lacking=lacking), device=torch.device("cpu"), tiler=Tiler(), others=[(b, Tiler())],
        options=SegmentOptions(fuse="dempster"),
    )  # fmt: skip
    expected = alone(a, 0) if left == "a" else alone(b, 1)
    assert np.allclose(found.probabilities, expected, atol=1e-5)


def test_a_sentence_says_which_modality_is_missing_and_from_what_all_were_answered() -> None:
    models = models_of([model("a", 1), model("b", 2)], {"fuse": "dempster"})
    answerer = Answerer(models=models, device=torch.device("cpu"))
    answerer.answer(sample(lacking=1))
    assert answerer.notes == ("none of 1 image has b: answered from a alone, as if b said nothing",)
    answerer.answer(sample())
    assert answerer.notes == ("1 image (p) without b: answered from a alone, as if b said nothing",)
    assert models.partial
    assert not Models(methods=(model("a", 1),)).partial


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fuse": "dempster", "reliabilities": [0.5]}, "found 1 for 2 models"),
        ({"fuse": "mean", "reliabilities": [0.5, 0.5]}, "only the rule dempster"),
        ({"fuse": "dempster", "reliabilities": [0.5, 1.5]}, "reliabilities"),
    ],
)
def test_reliabilities_that_no_models_have_are_refused_before_anything_is_read(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        models_of([model("a", 1), model("b", 2)], options)
