"""DTU-Net: windows, cross-attention and the arithmetic of its multi-size blocks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scantling.contract.method import build
from scantling.contract.options import SegmentOptions
from scantling.contract.step import Inference
from scantling.core.case import Labels
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch, Intensity, Traits
from scantling.methods.mask_diffusion.dtu_net import DTUNet, DTUNetSettings
from scantling.networks.dtu_net import (
    CrossAttention,
    DiffusionTransformerUNet,
    MultiSizeBlock,
    positions,
)
from scantling.networks.windows import PatchExpanding, PatchMerging, WindowAttention, together
from toys import looked_at_once_and_at_every_step


def traits(channels: int = 3, side: int = 64, classes: int = 1) -> Traits:
    one = Intensity(mean=0, std=1, low=-3, high=3, minimum=-5, maximum=5)
    return Traits(
        dimensions=2,
        channels=tuple(f"c{n}" for n in range(channels)),
        labels=Labels(names=tuple(f"k{n}" for n in range(classes)), values=tuple((n + 1,) for n in range(classes))),
        spacing=(1.0, 1.0),
        shape=(side, side),
        smallest=(side, side),
        intensity=(one,) * channels,
    )


def network(**changes: object) -> DiffusionTransformerUNet:
    torch.manual_seed(0)
    of: dict[str, object] = {
        "widths": (8, 16), "heads": 2, "windows": (2, 4), "blocks": 1, "features": (6, 4), "depths": (1, 1),
        "stride": 2, "token": 2, "partition": 2,
    }  # fmt: skip
    made = DiffusionTransformerUNet(3, 1, 1, **{**of, **changes}).double()
    nn.init.normal_(made.head.weight)  # it starts at zero
    return made


def fixed(module: nn.Module) -> nn.Module:
    """With weights of size one, so that nothing is hidden by being small."""
    torch.manual_seed(1)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module.double().eval()


def by_hand(attention: WindowAttention, x: Tensor, shift: tuple[int, int]) -> Tensor:
    """Window attention token by token, written from its definition: who shares a shifted window, and lies near."""
    height, width = x.shape[1:3]
    side = [min(attention.window, n) for n in (height, width)]
    flat = attention.norm(x).flatten(1, 2)
    query, key, value = attention.tell(flat).chunk(3, -1)
    places = [(row, column) for row in range(height) for column in range(width)]
    out = torch.zeros_like(flat)
    depth = x.shape[-1] // attention.heads
    for i, one in enumerate(places):

        def window(place: tuple[int, int]) -> tuple[int, int]:
            # without wrapping around, the first window of a shifted axis is the part before the first cut
            return tuple((p - s + w) // w if s else p // w for p, s, w in zip(place, shift, side, strict=True))

        near = [j for j, other in enumerate(places) if window(other) == window(one)]
        for head in range(attention.heads):
            part = slice(head * depth, (head + 1) * depth)
            at = attention.window - 1
            bias = torch.stack(
                [attention.bias[one[0] - places[j][0] + at, one[1] - places[j][1] + at, head] for j in near]
            )
            scores = query[:, i, None, part] @ key[:, near, part].transpose(1, 2) / depth**0.5 + bias
            out[:, i, part] = (scores.softmax(-1) @ value[:, near, part])[:, 0]
    done: Tensor = attention.out(out).view_as(x)
    return done


@pytest.mark.parametrize("size", [(8, 8), (5, 7), (3, 9), (2, 2)])
@pytest.mark.parametrize("shifted", [False, True])
def test_windows_are_what_their_definition_says_on_any_map(size: tuple[int, int], shifted: bool) -> None:
    attention = fixed(WindowAttention(6, window=4, heads=2, shifted=shifted))
    assert isinstance(attention, WindowAttention)
    x = torch.randn(2, *size, 6, dtype=torch.float64)
    shift = tuple(min(4, n) // 2 if shifted and n > 4 else 0 for n in size)
    expected = by_hand(attention, x, shift)
    assert torch.allclose(attention(x), expected, rtol=0, atol=1e-12)


def test_a_token_of_another_region_changes_nothing() -> None:
    attention = fixed(WindowAttention(4, window=4, heads=1, shifted=True))
    x = torch.randn(1, 8, 8, 4, dtype=torch.float64)
    other = x.clone()
    # wraps into the window of the first two rows and columns; not the same in all channels, which a norm takes out
    other[:, 6:, 6:] += torch.tensor([5.0, -3.0, 2.0, 7.0], dtype=torch.float64)
    changed = (attention(x) - attention(other)).abs().amax((0, 3)) > 0
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[6:, 6:] = True
    assert torch.equal(changed, expected)


def test_regions_of_a_map_that_is_shifted_and_padded() -> None:
    # rows 0 1 2 3 4 and one of padding, rolled by 1: [1 2] [3 4] [padding 0]
    same = together((5, 2), (2, 2), (1, 0), (1, 0), torch.device("cpu"))
    assert same.shape == (3, 4, 4)
    assert same[0].all()
    assert same[1].all()
    assert torch.equal(same[2], torch.block_diag(torch.ones(2, 2), torch.ones(2, 2)).bool())


@pytest.mark.parametrize(("scaled", "times"), [(False, 3), (True, 1)])
def test_without_its_branches_a_block_is_the_identity_as_often_as_it_has_branches(scaled: bool, times: int) -> None:
    block = MultiSizeBlock(8, windows=(2, 4, 8), heads=2, scaled=scaled, dropout=0.0).double()
    for last in [*(a.out for a in block.attend), block.shifted.out, *(c[-1] for c in block.change), block.mlp[-1]]:
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
    x = torch.randn(2, 6, 9, 8, dtype=torch.float64)
    assert torch.allclose(block(x), times * x, rtol=1e-12)


def test_expanding_puts_back_what_merging_took_together() -> None:
    merge, expand = PatchMerging(3, 12), PatchExpanding(12, 3, 2)
    merge.norm, expand.norm = nn.Identity(), nn.Identity()
    nn.init.eye_(merge.reduce.weight)
    nn.init.eye_(expand.expand.weight)
    x = torch.randn(2, 4, 6, 3)
    assert torch.equal(expand(merge(x)), x)


def cross(width: int = 8) -> CrossAttention:
    made = fixed(CrossAttention(5, 6, width=width, side=2, heads=2, dropout=0.0))
    assert isinstance(made, CrossAttention)
    return made


def test_without_image_tokens_the_cross_attention_is_self_attention_of_the_mask() -> None:
    module = cross()
    tokens = torch.randn(2, 12, 8, dtype=torch.float64)
    other = nn.MultiheadAttention(8, 2, batch_first=True).double()
    with torch.no_grad():
        other.in_proj_weight.copy_(torch.cat([module.query.weight, module.key.weight, module.value.weight]))
        other.in_proj_bias.copy_(torch.cat([module.query.bias, module.key.bias, module.value.bias]))
        other.out_proj.weight.copy_(torch.eye(8))
        other.out_proj.bias.zero_()
    expected, _ = other(tokens, tokens, tokens)
    assert torch.allclose(module.attend(tokens, torch.cat([tokens, tokens[:, :0]], 1)), expected, rtol=0, atol=1e-12)


def test_the_order_of_the_image_tokens_does_not_matter_and_what_they_say_does() -> None:
    module = cross()
    features = torch.randn(1, 5, 6, 8, dtype=torch.float64)
    seen = module.image_tokens(torch.randn(1, 6, 6, 8, dtype=torch.float64))
    mixed = seen[:, torch.randperm(12, generator=torch.Generator().manual_seed(0))]
    assert torch.allclose(module(features, mixed), module(features, seen), rtol=0, atol=1e-12)
    assert not torch.allclose(module(features, seen + 0.1), module(features, seen))
    assert module(features, seen).shape == features.shape


def test_no_residual_goes_around_the_cross_attention() -> None:
    module = cross()
    for zero in (module.value, module.mlp[-1], module.project):
        nn.init.zeros_(zero.bias)
    nn.init.zeros_(module.value.weight)
    module.mlp[0].bias.data.zero_()
    nn.init.zeros_(module.mlp[-1].weight)
    features = torch.randn(1, 5, 6, 8, dtype=torch.float64)
    assert not module(features, torch.randn(1, 12, 8, dtype=torch.float64)).any()


@pytest.mark.parametrize(("width", "side", "heads"), [(96, 4, 3), (32, 2, 2)])
def test_a_token_first_looks_at_its_own_place_of_mask_and_image(width: int, side: int, heads: int) -> None:
    torch.manual_seed(3)
    module = CrossAttention(width, width, width=width, side=side, heads=heads, dropout=0.0)
    features, seen = torch.randn(2, 1, width, 16 * side, 16 * side)
    mask, image = module.mask_tokens(features), module.image_tokens(seen)
    both = torch.cat([mask, image], 1)
    # attention hands out values: one-hot values say who was looked at
    count = both.shape[1]
    query, key = (
        layer(tokens).unflatten(-1, (heads, -1)).transpose(1, 2)
        for layer, tokens in ((module.query, mask), (module.key, both))
    )
    looked = F.scaled_dot_product_attention(query, key, torch.eye(count).expand(1, heads, -1, -1))
    for half in (looked[..., : count // 2], looked[..., count // 2 :]):
        assert half.diagonal(dim1=-2, dim2=-1).mean() > 0.1  # of 512 tokens
        assert (half.argmax(-1) == torch.arange(count // 2)).float().mean() > 0.75


def test_every_place_has_a_position_of_its_own() -> None:
    told = positions(torch.zeros(1, 9, 13, 16)).flatten(0, 1)
    assert torch.cdist(told, told).fill_diagonal_(1).min() > 0.05


@pytest.mark.parametrize("size", [(32, 32), (31, 45), (16, 50), (9, 17)])
def test_any_size_comes_back_as_it_went(size: tuple[int, int]) -> None:
    net = network()
    seen = net.see(torch.randn(2, 3, *size, dtype=torch.float64))
    assert net(torch.randn(2, 1, *size, dtype=torch.float64), seen, torch.tensor([3, 900])).shape == (2, 1, *size)


def test_timestep_image_and_mask_all_matter() -> None:
    net = network()
    noisy, image = torch.randn(1, 1, 32, 32, dtype=torch.float64), torch.randn(1, 3, 32, 32, dtype=torch.float64)
    seen, first = net.see(image), torch.tensor([0])
    said = net(noisy, seen, first)
    assert not torch.allclose(said, net(noisy, seen, torch.tensor([500])))
    assert not torch.allclose(said, net(noisy, net.see(image + torch.randn_like(image)), first))
    assert not torch.allclose(said, net(noisy.flip(2), seen, first))


def test_what_the_image_says_is_computed_once_and_nothing_changes_by_it() -> None:
    method = build(DTUNet, DTUNetSettings.preset("tiny").resolve(traits()), traits()).double().eval()
    nn.init.normal_(method.network.head.weight)
    assert isinstance(method, DTUNet)
    calls, see = list[int](), method.network.see
    method.network.see = lambda image: (calls.append(1), see(image))[1]  # type: ignore[method-assign]
    image, rows = torch.randn(2, 3, 37, 53, dtype=torch.float64), torch.arange(2)
    asked = method.segment_options(SegmentOptions(samples=3, steps=4))
    once, _ = looked_at_once_and_at_every_step(
        method, Batch(rows, rows, {"image": image}), Inference(seed=0, options=asked)
    )
    assert once.shape == (3, 2, 1, 37, 53)
    assert len(calls) == 2 + 2 * 4  # once an image, and then once a step


def test_heads_that_do_not_divide_and_images_below_the_deepest_level_are_refused() -> None:
    with pytest.raises(SettingsError, match="96 channels for 5 heads"):
        DTUNetSettings.preset("paper", {"heads": 5}).resolve(traits())
    with pytest.raises(SettingsError, match="images of 32 pixels a side; found 16"):
        DTUNetSettings.preset("paper", {"size": 16}).resolve(traits())
    with pytest.raises(SettingsError, match="found 4 channels in the first level; expected 8 or more"):
        DTUNetSettings.preset("paper", {"widths": (4, 8), "heads": 2}).resolve(traits())
    with pytest.raises(SettingsError, match="attention"):
        DTUNetSettings.preset("paper", {"attention": (1,)})
    with pytest.raises(SettingsError, match="one class only"):
        DTUNetSettings().resolve(traits(classes=2))
