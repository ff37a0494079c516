"""What semi-supervised segmenters share with `unet`, and what they do where every image has a mask."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from scantling.contract.method import build
from scantling.contract.step import Step
from scantling.core.case import IGNORE
from scantling.methods.semi_supervised.base import apart, in_one_pass, interleaved
from scantling.methods.supervised.unet import UNetSegmenter
from scantling.methods.supervised.unet_settings import UNetSettings
from semi_supervised import noise, played, segmenter, value_of

NAMES = ("mean-teacher", "cross-pseudo", "fixmatch", "copy-paste", "self-training")


@pytest.mark.parametrize("name", NAMES)
def test_the_plan_the_network_and_the_patches_of_a_step_are_those_of_unet(name: str) -> None:
    method = segmenter(name)
    traits, settings = method.traits, UNetSettings.preset("tiny", {"batch": 4}).resolve(method.traits)
    unet = build(UNetSegmenter, settings, traits, seed=3)
    own = method.settings.model_dump()
    assert {key: own[key] for key in settings.model_dump()} == settings.model_dump()
    first = unet.network.state_dict()
    assert all(torch.equal(tensor, first[key].double()) for key, tensor in method.network.state_dict().items())
    assert sum(stage.steps for stage in method.stages()) == settings.steps
    stream = unet.stages()[0].streams[0]
    for stage in method.stages():
        trained = [each for each in stage.streams if "blocks" not in each.name]
        assert sum(each.batch for each in trained) == stream.batch
        assert {each.augment for each in stage.streams} == {stream.augment}
        for player in stage.players:
            same = replace(unet.stages()[0].players[0], name=player.name, modules=player.modules)
            assert player.__dict__ == {**same.__dict__, "average": player.average}


@pytest.mark.parametrize("name", NAMES)
def test_where_every_image_has_a_mask_all_patches_have_and_the_loss_is_that_of_masks(name: str) -> None:
    method = segmenter(name, unlabelled=0)
    assert "learns from masks alone" in method.settings.explain(method.traits)[-1]
    stage = method.stages()[-1]
    batch = {each.name: noise(place, classes=1) for place, each in enumerate(stage.streams) if "mask" in each.reads}
    assert {stream.batch for stream in stage.streams if "mask" in stream.reads} == {4}
    terms = played(stage.objectives(batch, Step(seed=0, count=4)))["unet"]
    assert set(terms) <= {"cross_entropy", "overlap", "cross"}


def test_batches_in_one_pass_share_the_statistics_of_batch_norm_and_come_back_in_order() -> None:
    one, other = torch.randn(3, 2, 5, 5), torch.randn(3, 2, 5, 5)
    norm = torch.nn.BatchNorm2d(2)
    expected = norm(torch.cat([one, other]))
    found = in_one_pass(norm, one, other)
    assert torch.allclose(torch.cat(found), expected, atol=1e-6)
    assert torch.equal(interleaved(one, other)[3], other[1])
    assert torch.equal(apart(interleaved(one, other), 2)[0], one)


def test_pseudo_labels_are_the_most_likely_labels_with_their_probability() -> None:
    exclusive = segmenter("fixmatch", classes=2)
    logits = torch.tensor([[0.0, 1.0, 3.0], [2.0, 0.0, -1.0]], dtype=torch.float64).view(2, 3, 1, 1)
    labels, confidence = exclusive.pseudo_labels(logits)
    assert labels.flatten().tolist() == [2, 0]
    assert labels.dtype == torch.uint8
    p = logits.exp() / logits.exp().sum(1, keepdim=True)
    assert torch.allclose(confidence.flatten(), torch.stack([p[0, 2, 0, 0], p[1, 0, 0, 0]]))
    overlapping = segmenter("fixmatch", classes=2, exclusive=False)
    labels, confidence = overlapping.pseudo_labels(torch.tensor([2.0, -1.0], dtype=torch.float64).view(1, 2, 1, 1))
    assert labels.flatten().tolist() == [1, 0]
    assert torch.allclose(confidence.flatten(), torch.tensor([2.0, 1.0], dtype=torch.float64).sigmoid())


@pytest.mark.parametrize("name", NAMES)
def test_what_lies_beyond_an_unlabelled_image_teaches_nothing(name: str) -> None:
    method = segmenter(name)
    stage = method.stages()[-1]
    batch = {}
    for place, stream in enumerate(stage.streams):
        companions = tuple(each.name for each in stream.companions)
        one = noise(place, classes=int("mask" in stream.reads), companions=companions)
        pseudo = {field: torch.full_like(one.region, IGNORE, dtype=torch.uint8) for field in stream.reads[1:]}
        if "mask" not in stream.reads:  # self-training leaves it out of its pseudo-labels
            one = replace(one, fields={**one.fields, **pseudo, "region": torch.zeros_like(one.region)})
        batch[stream.name] = one
    (terms, *_) = played(stage.objectives(batch, Step(seed=0, number=3, count=4))).values()
    extra = [terms[key] for key in ("consistency", "strong", "dropped", "pseudo overlap") if key in terms]
    assert all(value_of(value) == pytest.approx(0, abs=1e-12) for value in extra)
    assert extra or name in ("cross-pseudo", "copy-paste")
