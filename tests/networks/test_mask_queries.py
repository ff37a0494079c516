"""Queries that become masks: what lies under a mask, how alike it is to words, and an implicit caption."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from scantling.networks.captioner import ImplicitCaptioner
from scantling.networks.mask_queries import (
    MaskDecoder,
    MaskEmbedding,
    Words,
    fused,
    likest,
    pooled_under,
    unseen,
    with_nothing,
)
from scantling.networks.pixel_decoder import DeformableAttention, FeatureAdapters, PixelDecoder, centres, positions


def test_what_lies_under_a_mask_of_a_constant_map_is_the_constant_and_under_an_empty_mask_nothing() -> None:
    logits = torch.randn(2, 3, 5, 7)
    logits[0, 1] = -1
    found = pooled_under(torch.full((2, 4, 5, 7), 3.5), logits)
    expected = torch.full((2, 3, 4), 3.5)
    expected[0, 1] = 0
    torch.testing.assert_close(found, expected)
    features = torch.randn(2, 4, 5, 7)
    torch.testing.assert_close(
        pooled_under(features, logits)[1, 2], features[1][:, logits[1, 2] > 0].mean(1), atol=1e-5, rtol=1e-5
    )


def test_an_empty_mask_sees_all_and_another_one_sees_itself() -> None:
    logits = torch.full((1, 2, 4, 4), -1.0)
    logits[0, 1, :2] = 1
    hidden = unseen(logits, (2, 2))
    assert hidden.tolist() == [[[False] * 4, [False, False, True, True]]]


def test_the_geometric_mean_of_two_opinions() -> None:
    torch.manual_seed(0)
    ours, theirs = torch.rand(2, 5, 4).softmax(-1), torch.rand(2, 5, 4).softmax(-1)
    nought, one = torch.zeros(4), torch.ones(4)
    torch.testing.assert_close(fused(ours, theirs, nought), ours)
    torch.testing.assert_close(fused(ours, theirs, one), theirs)
    weight = torch.tensor([0.3, 0.3, 0.7, 0.7])
    torch.testing.assert_close(fused(ours, theirs, weight).sum(-1), torch.ones(2, 5))
    torch.testing.assert_close(fused(ours, ours, weight), ours)
    expected = ours ** (1 - weight) * theirs**weight
    torch.testing.assert_close(fused(ours, theirs, weight), expected / expected.sum(-1, keepdim=True))
    certain = torch.tensor([1.0, 0, 0, 0])
    torch.testing.assert_close(fused(certain, certain, weight), certain)


def test_classes_and_nothing_are_one_distribution() -> None:
    nothing = torch.rand(3, 1)
    both = with_nothing(torch.rand(3, 6).softmax(-1), nothing)
    torch.testing.assert_close(both.sum(-1), torch.ones(3))
    torch.testing.assert_close(both[:, -1:], nothing)


def test_one_more_word_never_lowers_a_class() -> None:
    torch.manual_seed(0)
    words, z = Words(6), torch.randn(4, 6)
    embedded = torch.randn(3, 6)
    before = words(z, embedded, torch.tensor([0, 1, 2]))
    after = words(z, torch.cat([embedded, torch.randn(1, 6)]), torch.tensor([0, 1, 2, 1]))
    assert bool((after >= before - 1e-6).all())
    torch.testing.assert_close(after[:, [0, 2, 3]], before[:, [0, 2, 3]])
    torch.testing.assert_close(likest(torch.tensor([[1.0, 5, 3]]), torch.tensor([0, 1, 0])), torch.tensor([[3.0, 5]]))


def test_the_factor_of_the_cosine_is_that_of_clip_and_has_an_end() -> None:
    words = Words(2, 1)
    z = torch.tensor([[2.0, 0]])
    words.requires_grad_(False)
    assert float(words.alike(z, z)) == pytest.approx(1 / 0.07, rel=1e-5)
    words.scale.fill_(math.log(1e4))
    assert float(words.alike(z, z)) == pytest.approx(100)


def test_a_caption_begins_as_the_empty_prompt_and_learns_from_its_gate_on() -> None:
    torch.manual_seed(0)
    captioner = ImplicitCaptioner(5, tokens=3, features=4, time=6)
    prompt, embedding = torch.randn(1, 3, 4), torch.randn(2, 5)
    caption, offset = captioner(embedding, prompt)
    assert torch.equal(caption, prompt.expand(2, -1, -1))
    assert torch.equal(offset, torch.zeros(2, 6))
    (caption.square().sum() + offset.sum()).backward()
    assert captioner.gate.grad is not None
    assert float(captioner.gate.grad.abs().min()) > 0
    with torch.no_grad():
        captioner.gate.fill_(20)
    torch.testing.assert_close(
        captioner(embedding, prompt)[0], prompt + captioner.words(embedding)[:, None] + captioner.places
    )


def test_a_token_that_looks_at_its_own_place_sees_its_own_value() -> None:
    torch.manual_seed(0)
    attention = DeformableAttention(8, levels=1, heads=2, points=3)
    with torch.no_grad():
        attention.offsets.bias.zero_()
    shape, x = (3, 5), torch.randn(2, 15, 8)
    found = attention(x, centres(shape, like=x), x, [shape])
    torch.testing.assert_close(found, attention.out(attention.value(x)), atol=1e-5, rtol=1e-5)


def test_an_offset_of_one_looks_at_the_neighbour() -> None:
    torch.manual_seed(0)
    attention = DeformableAttention(4, levels=2, heads=1, points=1)
    with torch.no_grad():
        attention.offsets.bias.copy_(torch.tensor([1.0, 0, 0, 0]))  # to the right, on the first map
        attention.weights.bias.copy_(torch.tensor([50.0, -50]))  # the first map alone
    x = torch.randn(1, 6 + 1, 4)
    places = torch.cat([centres((2, 3), like=x), centres((1, 1), like=x)])
    found = attention(x, places, x, [(2, 3), (1, 1)])
    torch.testing.assert_close(found[0, 0], attention.out(attention.value(x[0, 1])), atol=1e-5, rtol=1e-5)


def test_places_are_told_apart() -> None:
    code = positions(torch.zeros(1, 12, 4, 5)).flatten(2)[0].T
    assert float((torch.cdist(code, code) + torch.eye(20)).min()) > 0.1


def decoder(queries: int = 5) -> tuple[FeatureAdapters, PixelDecoder, MaskDecoder]:
    torch.manual_seed(0)
    adapters = FeatureAdapters((3, 4, 5, 6, 2), (1, 2, 4, 8, 4), width=8)
    pixels = PixelDecoder(8, len(adapters.strides), width=8, layers=1, heads=2, points=2, inner=8)
    return adapters, pixels, MaskDecoder(8, queries=queries, levels=pixels.attended, layers=3, heads=2, inner=8)


def test_maps_of_one_stride_are_summed_and_each_layer_has_its_masks() -> None:
    adapters, pixels, queries = decoder()
    maps = [torch.randn(2, c, 16 // s, 16 // s) for c, s in zip((3, 4, 5, 6, 2), (1, 2, 4, 8, 4), strict=True)]
    adapted = adapters(maps)
    assert [one.shape[2] for one in adapted] == [16, 8, 4, 2]
    torch.testing.assert_close(adapted[2], adapters.each[2](maps[2]) + adapters.each[4](maps[4]))
    attended, features = pixels(adapted)
    assert [one.shape[2] for one in attended] == [2, 4, 8]
    said = queries(attended, features)
    assert [tuple(each.logits.shape) for each in said] == [(2, 5, 16, 16)] * 4


def test_queries_in_another_order_say_the_same() -> None:
    adapters, pixels, queries = decoder()
    maps = [torch.randn(1, c, 16 // s, 16 // s) for c, s in zip((3, 4, 5, 6, 2), (1, 2, 4, 8, 4), strict=True)]
    with torch.no_grad():
        attended, features = pixels(adapters(maps))
        before = queries(attended, features)[-1].logits
        order = torch.tensor([3, 0, 4, 1, 2])
        queries.queries, queries.codes = (nn.Parameter(each[order]) for each in (queries.queries, queries.codes))
        after = queries(attended, features)[-1].logits
    torch.testing.assert_close(after, before[:, order], atol=1e-5, rtol=1e-5)


def test_the_paper_trains_28_million_numbers() -> None:
    channels, strides = (512, 512, 2560, 1920, 960, 640, 512, 512), (4, 8, 32, 32, 16, 8, 8, 4)
    with torch.device("meta"):
        parts = (
            FeatureAdapters(channels, strides, width=512),
            PixelDecoder(512, 4),
            MaskDecoder(),
            MaskEmbedding(256, 768),
            Words(768),
            ImplicitCaptioner(768, tokens=77, features=768, time=1280),
        )
    count = sum(each.numel() for part in parts for each in part.parameters())
    assert count == pytest.approx(28.1e6, rel=5e-3), "28.1 M, as published (Xu et al., 2023)"
