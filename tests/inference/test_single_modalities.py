"""Models of single channels answer together: each sees its own, one without any is left out, and a sentence says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scantling.contract.method import build
from scantling.contract.options import ClassifyOptions, SegmentOptions
from scantling.core.case import Case, Geometry, Labels, Sample
from scantling.core.errors import DataError, RunError, SettingsError
from scantling.core.samples import Intensity, Traits
from scantling.data.channels import narrowed, unnamed
from scantling.fusion import fuse
from scantling.inference.answering import channels_of, seen_by, segment
from scantling.inference.classifying import classify
from scantling.inference.models import Models, models_of, open_models
from scantling.inference.prediction import Answerer
from scantling.inference.tiles import Tiler
from scantling.inference.unlike import likeness
from scantling.methods.supervised.classifier import VGGClassifier
from scantling.methods.supervised.unet import UNetSegmenter
from scantling.records.expectations import AppearanceRecord
from scantling.records.run_folder import save_model

SIDE = 24
CPU = torch.device("cpu")


def traits_of(channel: str, **changes: Any) -> Traits:
    one = Intensity(mean=0, std=1, low=-3, high=3, minimum=-5, maximum=5)
    known: dict[str, Any] = {"labels": Labels(names=("k",), values=((255,),)), **changes}
    return Traits(
        dimensions=2, channels=(channel,), spacing=(1.0, 1.0), shape=(SIDE, SIDE), smallest=(SIDE, SIDE),
        intensity=(one,), **known,
    )  # fmt: skip


def model(channel: str, seed: int, *, dropout: float = 0.0) -> UNetSegmenter:
    traits = traits_of(channel)
    settings = UNetSegmenter.Settings.preset("tiny", {"dropout": dropout}).resolve(traits)
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
    return segment(method, one, device=CPU, tiler=Tiler()).probabilities


def test_each_model_sees_its_own_channel_and_reliabilities_go_by_model() -> None:
    a, b = model("a", 1), model("b", 2)
    assert channels_of([a, b]) == ("a", "b")
    options = SegmentOptions(fuse="dempster", reliabilities=(0.9, 0.3))
    found = segment(a, sample(), device=CPU, tiler=Tiler(), others=[(b, Tiler())], options=options)
    each = torch.from_numpy(np.stack([alone(a, 0), alone(b, 1)]))[:, None]
    expected = fuse("dempster", each, exclusive=True, reliabilities=[0.9, 0.3])[0].numpy()
    assert np.allclose(found.probabilities, expected, atol=1e-5)


def test_the_samples_of_a_model_are_one_source_of_dempsters_rule() -> None:
    a, b = model("a", 1, dropout=0.3), model("b", 2, dropout=0.3)
    options = SegmentOptions(fuse="dempster", reliabilities=(0.9, 0.3), samples=2)
    found = segment(a, sample(), device=CPU, tiler=Tiler(), others=[(b, Tiler())], options=options)
    drawn = torch.from_numpy(np.stack(list(found.samples)))[:, None]
    assert len(drawn) == 4
    each = torch.stack([drawn[:2].mean(0), drawn[2:].mean(0)])
    expected = fuse("dempster", each, exclusive=True, reliabilities=[0.9, 0.3])[0].numpy()
    assert np.allclose(found.probabilities, expected, atol=1e-5)
    lonely = replace(sample(), image=sample().image[:1])
    one = segment(a, lonely, device=CPU, tiler=Tiler(), options=SegmentOptions(fuse="dempster", samples=2))
    assert np.allclose(one.probabilities, np.stack(list(one.samples)).mean(0), atol=1e-5)


@pytest.mark.parametrize(("lacking", "left"), [(0, "b"), (1, "a")])
def test_a_model_without_its_channel_is_left_out(lacking: int, left: str) -> None:
    a, b = model("a", 1), model("b", 2)
    found = segment(
        a, sample(lacking=lacking), device=CPU, tiler=Tiler(), others=[(b, Tiler())],
        options=SegmentOptions(fuse="dempster"),
    )  # fmt: skip
    expected = alone(a, 0) if left == "a" else alone(b, 1)
    assert np.allclose(found.probabilities, expected, atol=1e-5)


def test_a_sentence_says_which_modality_is_missing_and_from_what_all_were_answered() -> None:
    models = models_of([model("a", 1), model("b", 2)], {"fuse": "dempster"})
    answerer = Answerer(models=models, device=CPU)
    answerer.answer(sample(lacking=1))
    assert answerer.notes == ("none of 1 image has b: answered from a alone, as if b said nothing",)
    answerer.answer(sample())
    assert answerer.notes == ("1 image (p) without b: answered from a alone, as if b said nothing",)
    assert models.partial
    three = Answerer(models=models_of([model(name, 1) for name in "abc"], {"fuse": "vote", "votes": 3}), device=CPU)
    there = np.array([False, True, False])
    three.answer(replace(sample(), image=np.zeros((3, SIDE, SIDE), np.float32), channels=there))  # one vote is left
    assert three.notes == ("none of 1 image has a, c: answered from b alone, as if a, c said nothing",)
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


def test_one_model_has_nothing_to_be_weighed_against() -> None:
    with pytest.raises(SettingsError, match="found one; name others with --ensemble"):
        models_of([model("a", 1)], {"fuse": "dempster", "reliabilities": [0.5]})


def test_who_is_left_is_discounted_as_if_the_others_were_not_believed() -> None:
    a, b = model("a", 1), model("b", 2)
    options = SegmentOptions(fuse="dempster", reliabilities=(0.5, 0.9))
    found = segment(a, sample(lacking=1), device=CPU, tiler=Tiler(), others=[(b, Tiler())], options=options)
    each = torch.from_numpy(np.stack([alone(a, 0), alone(b, 1)]))[:, None]
    expected = fuse("dempster", each, exclusive=True, reliabilities=[0.5, 0.0])[0].numpy()
    assert np.allclose(found.probabilities, expected, atol=1e-5)
    assert not np.allclose(found.probabilities, alone(a, 0), atol=1e-3)


def test_a_case_that_has_no_channel_of_a_model_or_only_some_is_told_apart() -> None:
    a, b, both = model("a", 1), model("b", 2), model("a", 3)
    nothing = replace(sample(lacking=1), channels=np.zeros(2, bool))
    with pytest.raises(DataError, match="p: found no channel that a model reads; expected one of a, b"):
        seen_by([a, b], nothing)
    both.traits = both.traits.model_copy(update={"channels": ("a", "b"), "intensity": both.traits.intensity * 2})
    with pytest.raises(DataError, match="p: it lacks b, without which unet cannot answer"):
        seen_by([a, both], sample(lacking=1))


def test_an_image_without_the_channels_of_the_first_model_is_compared_with_nothing() -> None:
    known = AppearanceRecord(
        subjects=9, features=("intensity mean of a",), spread=(1.0,), images=((0.0,),), threshold=1.0
    )
    lacks, has = (narrowed(sample(lacking=n), ("a", "b"), ("a",)) for n in (0, 1))
    assert likeness(lacks, ("a",), known) == {}
    assert "distance" in likeness(has, ("a",), known)


def test_classifiers_of_single_channels_answer_together() -> None:
    each = []
    for seed, channel in enumerate("ab"):
        traits = traits_of(channel, labels=None, image_classes=("well", "ill"))
        settings = VGGClassifier.Settings.preset("tiny").resolve(traits)
        each.append(build(VGGClassifier, settings, traits, seed=seed).eval())

    def answered(methods: list[Any], of: Sample) -> float:
        found = classify(methods, of, tilers=[Tiler() for _ in methods], options=ClassifyOptions(), device=CPU)
        return float(found["classes"]["ill"])

    whole = sample()
    own = [answered([one], replace(whole, image=whole.image[[place]])) for place, one in enumerate(each)]
    assert answered(each, whole) == pytest.approx(sum(own) / 2, abs=1e-5)
    assert answered(each, sample(lacking=0)) == pytest.approx(own[1], abs=1e-5)


def test_channels_without_a_name_are_no_modalities(tmp_path: Path) -> None:
    for name in ("grey", "red"):
        save_model(model(name, len(name)), tmp_path / name / "model")
    with pytest.raises(RunError, match=r"reads the channels red, .*reads grey; an ensemble needs"):
        open_models([tmp_path / "grey", tmp_path / "red"], {})
    assert unnamed(("0", "1"))
    assert not unnamed(("flair", "t1"))
