"""MedSegDiff-V2: the anchor's gate, attention between spectra, and who is taught by which timestep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from scantling.contract.method import build
from scantling.contract.options import SegmentOptions
from scantling.contract.step import Inference, Step
from scantling.core.case import Labels
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch, Intensity, Traits
from scantling.losses.overlap import cross_entropy, dice_loss
from scantling.methods.mask_diffusion.medsegdiff_v2 import MedSegDiffV2, MedSegDiffV2Settings
from scantling.networks.conditioning import Anchor, ConditionUNet
from scantling.networks.spectral import BandPass, SpectralAttention, SSFormer
from toys import looked_at_once_and_at_every_step

DOUBLE = torch.float64
ONE = Labels(names=("lesion",), values=((1,),))
EXCLUSIVE = Labels(names=("liver", "spleen"), values=((1,), (2,)))
OVERLAPPING = Labels(names=("disc", "cup"), values=((1, 2), (2,)))


def traits(labels: Labels = ONE, *, channels: int = 1) -> Traits:
    return Traits(
        dimensions=2,
        channels=tuple("abcd"[:channels]),
        labels=labels,
        spacing=(1.0, 1.0),
        shape=(40, 44),
        smallest=(40, 44),
        intensity=(Intensity(mean=90, std=40, low=0, high=250, minimum=0, maximum=255),) * channels,
    )


def method(facts: Traits, **changes: Any) -> MedSegDiffV2:
    built = build(MedSegDiffV2, MedSegDiffV2Settings.preset("tiny", changes).resolve(facts), facts)
    assert isinstance(built, MedSegDiffV2)
    return drawn(built)


def drawn(network: Any) -> Any:
    """All parameters moved away from where they start, so that nothing is 0; in float64 and evaluation mode."""
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.data = parameter.data + 0.1 * torch.randn(parameter.shape, generator=generator)
    return network.double().eval()


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def mask_of(labels: Labels, count: int, side: int = 32) -> Tensor:
    channels, values = (1, len(labels.names)) if labels.exclusive else (len(labels.names), 1)
    shape = (count, channels, side, side)
    return torch.randint(0, 1 + values, shape, generator=torch.Generator().manual_seed(1)).to(torch.uint8)


def batch(image: Tensor, mask: Tensor | None = None) -> Batch:
    rows = torch.arange(len(image))
    return Batch(rows, rows, {"image": image} | ({} if mask is None else {"mask": mask}))


def terms(of: MedSegDiffV2, labelled: Batch, step: Step) -> dict[str, Tensor]:
    ((player, told),) = of.objectives({"labelled": labelled}, step)
    assert player == "medsegdiff-v2"
    return dict(told)


# The anchor


def test_the_gate_of_an_anchor_without_weights_is_a_half_and_closes_with_its_bias() -> None:
    anchor = drawn(Anchor(4, radius=2))
    f_c, f_d = numbers(2, 4, 9, 8), numbers(2, 6, 9, 8, seed=1)
    assert ((anchor(f_c) > 0) & (anchor(f_c) < 1)).all()  # f_d is multiplied by 1 to 2
    nn.init.zeros_(anchor.conv.weight)
    nn.init.zeros_(anchor.conv.bias)
    torch.testing.assert_close(anchor(f_c) * f_d + f_d, 1.5 * f_d)
    nn.init.constant_(anchor.conv.bias, -1e4)
    assert torch.equal(anchor(f_c) * f_d + f_d, f_d)


def test_the_anchors_gaussian_is_that_of_scipy() -> None:
    anchor = Anchor(1, radius=3).double()
    anchor.log_deviation.data = torch.tensor([0.9, 1.7], dtype=DOUBLE).log()
    f_c = numbers(1, 1, 12, 11)
    smooth = gaussian_filter(f_c[0, 0].numpy(), (0.9, 1.7), radius=3, mode="nearest")
    wanted = torch.maximum(torch.from_numpy(smooth), f_c[0, 0])
    torch.testing.assert_close(anchor.anchored(f_c)[0, 0], wanted)


def test_the_anchors_gaussian_has_positive_weights_of_sum_one_and_a_mean_that_is_learned() -> None:
    anchor = drawn(Anchor(3, radius=2))
    kernel = anchor.kernel()
    assert (kernel > 0).all()
    torch.testing.assert_close(kernel.sum(), torch.ones((), dtype=DOUBLE))
    constant = torch.full((1, 3, 7, 6), -2.0, dtype=DOUBLE)
    torch.testing.assert_close(anchor.anchored(constant), constant)
    f_c = numbers(2, 3, 7, 6)
    assert (anchor.anchored(f_c) >= f_c).all()
    anchor.mean.data[:] = torch.tensor([1.0, -1.0])
    assert anchor.kernel().argmax() == 3 * 5 + 1  # one row down, one column to the left of the middle


# Attention between spectra


def attention(width: int = 6, size: tuple[int, int] = (4, 5), heads: int = 2) -> SpectralAttention:
    built = drawn(SpectralAttention(width, size, heads=heads, layers=2, hidden=4, code=8))
    assert isinstance(built, SpectralAttention)
    return built


def spatial(of: SpectralAttention, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values (B, heads, d, N)."""
    x, y = of.norms[0](x), of.norms[1](y)
    q, k, v = (m.unflatten(1, (of.heads, -1)).flatten(3) for m in (of.query(x), of.key(y), of.value(y)))
    return q, k, v


@pytest.mark.parametrize("size", [(4, 5), (4, 4), (3, 2), (1, 1)])
def test_a_filter_that_passes_all_leaves_the_plain_product_and_one_that_passes_none_leaves_nothing(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    of = attention()
    x, y, code = numbers(2, 6, *size), numbers(2, 6, *size, seed=1), numbers(2, 8)
    q, k, v = spatial(of, x, y)
    product = (v @ (q.transpose(2, 3) @ k / 3**0.5).transpose(2, 3)).reshape(x.shape)  # each query, over keys
    monkeypatch.setattr(of.filter, "passed", lambda affinity, code: torch.ones_like(affinity.real))
    torch.testing.assert_close(of.message(x, y, code), product)
    monkeypatch.setattr(of.filter, "passed", lambda affinity, code: torch.zeros_like(affinity.real))
    assert not of.message(x, y, code).any()


@pytest.mark.parametrize("size", [(4, 5), (4, 4)])
def test_half_of_the_affinity_is_enough(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    # All of M, with the filter mirrored onto what `message` leaves out, and the real part of the inverse.
    of = attention()
    (height, width), half = size, size[1] // 2 + 1
    x, y = numbers(1, 6, *size), numbers(1, 6, *size, seed=1)
    passed = numbers(1, 2, *size, height, half).sigmoid()
    monkeypatch.setattr(of.filter, "passed", lambda affinity, code: passed.reshape(affinity.shape))
    mirrored = passed
    for axis, n in ((2, height), (3, width), (4, height)):
        mirrored = mirrored.index_select(axis, -torch.arange(n) % n)
    whole = torch.cat([passed, mirrored[..., 1 : width - half + 1].flip(-1)], -1)
    q, k, v = spatial(of, x, y)
    of_q, of_k = (torch.fft.fft2(m.unflatten(3, size), norm="ortho").flatten(3) for m in (q, k))
    affinity = (of_q.transpose(2, 3) @ of_k / 3**0.5).unflatten(3, size).unflatten(2, size)
    weights = torch.fft.ifftn(affinity * whole, dim=(2, 3, 4, 5), norm="ortho").real.flatten(4).flatten(2, 3)
    wanted = (v @ weights.transpose(2, 3)).reshape(x.shape)
    torch.testing.assert_close(of.message(x, y, numbers(1, 8)), wanted)


def test_the_filter_keeps_the_phase_and_adds_nothing() -> None:
    of = drawn(BandPass(2, layers=2, width=4, code=8))
    affinity = torch.complex(numbers(1, 2, 6, 4), numbers(1, 2, 6, 4, seed=1))
    kept = of(affinity, numbers(1, 8))
    torch.testing.assert_close(kept.angle(), affinity.angle())
    assert (kept.abs() < affinity.abs()).all()


def test_the_timestep_alters_the_filter_and_the_former() -> None:
    former = drawn(SSFormer(6, (4, 4), blocks=2, heads=2, layers=2, hidden=4))
    e, c = numbers(1, 6, 4, 4), numbers(1, 6, 4, 4, seed=1)
    one, other = (former(e, c, torch.tensor([t])) for t in (3, 700))
    assert (one - other).abs().mean() > 1e-3 * one.abs().mean()
    affinity, band_pass = torch.complex(numbers(1, 2, 6, 4), numbers(1, 2, 6, 4, seed=1)), former.of_noise[0].filter
    assert not torch.allclose(band_pass.passed(affinity, numbers(1, 6)), band_pass.passed(affinity, numbers(1, 6) + 1))


def test_a_block_asks_the_image_first_and_the_noise_after() -> None:
    former = drawn(SSFormer(6, (4, 4), blocks=2, heads=2, layers=1, hidden=4))
    e, c, t = numbers(1, 6, 4, 4), numbers(1, 6, 4, 4, seed=1), torch.tensor([5])
    codes: list[Tensor] = []
    former.time.register_forward_hook(lambda _, __, out: codes.append(out))
    said = former(e, c, t)
    for ask_image, ask_noise in zip(former.of_noise, former.of_image, strict=True):
        c = ask_noise(ask_image(e, c, codes[0]), e, codes[0])
    assert torch.equal(said, c)


# The objective


@pytest.mark.parametrize("labels", [ONE, EXCLUSIVE, OVERLAPPING], ids=["one", "exclusive", "overlapping"])
def test_each_sample_teaches_the_anchor_by_its_own_timestep(labels: Labels) -> None:
    of = method(traits(labels), every=2, cross_entropy=3.0)
    labelled, step = batch(numbers(6, 1, 32, 32), mask_of(labels, 6)), Step(seed=3)
    _, timestep = of.noised(labelled, step)
    taught = timestep % 2 == 0
    assert 0 < taught.sum() < 6
    logits = of.condition_network(labelled.image).logits.detach()
    overlap, entropy = 0.0, 0.0
    for row in torch.nonzero(taught).flatten():
        said, mask = logits[row : row + 1], labelled.mask[row : row + 1]
        probabilities = said.softmax(1)[:, 1:] if labels is EXCLUSIVE else said.sigmoid()
        overlap += float(dice_loss(probabilities, mask, ignore_index=255)) / 6
        entropy += 3 * float(cross_entropy(said, mask, ignore_index=255)) / 6
    told = terms(of, labelled, step)
    assert told["anchor_overlap"].item() == pytest.approx(overlap)
    assert told["anchor_cross_entropy"].item() == pytest.approx(entropy)


def test_without_a_multiple_of_a_the_anchor_is_taught_nothing_but_by_the_denoiser() -> None:
    of = method(traits(), every=20)  # the chain has 20 steps: 0 alone
    labelled = batch(numbers(2, 1, 32, 32), mask_of(ONE, 2))
    step = next(step for step in (Step(seed=seed) for seed in range(9)) if (of.noised(labelled, step)[1] > 0).all())
    told = terms(of, labelled, step)
    assert told["anchor_overlap"].item() == told["anchor_cross_entropy"].item() == 0
    sum(told.values()).backward()  # type: ignore[union-attr]
    for name, parameter in of.condition_network.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.any() == (not name.startswith("head")), name  # the gradient flows into the rest


@pytest.mark.parametrize("changes", [{}, {"anchors": 2, "ss_blocks": 2, "learned_variance": True}])
def test_every_parameter_has_a_gradient(changes: dict[str, Any]) -> None:
    of = method(traits(channels=3), every=1, **changes)
    told = terms(of, batch(numbers(2, 3, 32, 32), mask_of(ONE, 2)), Step(seed=0))
    sum(told.values()).backward()  # type: ignore[union-attr]
    for name, parameter in of.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


# The whole


class Figure(nn.Module):
    """In place of the denoiser: hands known features to the guide and keeps what goes on."""

    def __init__(self, features: list[Tensor]) -> None:
        super().__init__()
        self.features, self.on = features, [torch.empty(0)]

    def forward(self, x: Tensor, timestep: Tensor, *, guide: Callable[[int, Tensor], Tensor]) -> Tensor:
        self.on = [guide(level, h) for level, h in enumerate(self.features)]
        return x


@pytest.mark.parametrize("anchors", [1, 2])
def test_the_first_stages_are_anchored_and_the_deepest_goes_through_the_former(anchors: int) -> None:
    of = method(traits(), anchors=anchors)
    image, t = numbers(2, 1, 32, 32), torch.tensor([3, 4])
    features = [numbers(2, 8, side, side, seed=side) for side in (32, 16, 8)]
    figure = Figure(features)
    of.network = figure  # type: ignore[assignment]
    of.denoise(numbers(2, 1, 32, 32), of.condition(image), t)
    seen = of.condition_network(image)
    for level in range(2):
        gate = of.anchors[level](seen.decoded[level]) if level < anchors else 0
        torch.testing.assert_close(figure.on[level], features[level] * (1 + gate))
    torch.testing.assert_close(figure.on[2], of.former(features[2], seen.deepest, t))


def test_the_condition_unet_hands_out_maps_that_fit_the_denoisers_levels_at_any_size() -> None:
    seen = ConditionUNet(2, 3, widths=(4, 6, 8), blocks=1)(torch.zeros(1, 2, 37, 21))
    assert [tuple(f.shape[1:]) for f in seen.decoded] == [(4, 40, 24), (6, 20, 12), (8, 10, 6)]
    assert seen.deepest.shape == (1, 8, 10, 6)
    assert seen.logits.shape == (1, 3, 37, 21)


def test_an_image_is_looked_at_once_whatever_the_number_of_samples_and_steps() -> None:
    of, image = method(traits()), numbers(2, 1, 37, 30)
    inference = Inference(seed=0, options=SegmentOptions(samples=3, steps=4))
    looks = []
    of.condition_network.register_forward_hook(lambda *_: looks.append(1))
    looked_at_once_and_at_every_step(of, batch(image), inference)
    assert len(looks) == 2 + 2 * 4  # once an image, and then once a step


@pytest.mark.parametrize("labels", [EXCLUSIVE, OVERLAPPING], ids=["exclusive", "overlapping"])
def test_several_classes_have_a_channel_each(labels: Labels) -> None:
    of = method(traits(labels))
    with torch.no_grad():
        samples = of.segment(batch(numbers(1, 1, 32, 32)), Inference(seed=0)).samples
        logits = of.condition_network(numbers(1, 1, 32, 32)).logits
    assert samples is not None
    assert samples.shape == (2, 1, 2, 32, 32)
    assert logits.shape[1] == (3 if labels is EXCLUSIVE else 2)  # exclusive classes have a background beside them
    if labels is EXCLUSIVE:
        assert samples.sum(2).max() <= 1 + 1e-6


def test_the_defaults_are_the_papers() -> None:
    paper = MedSegDiffV2Settings()
    assert (paper.size, paper.chain, paper.sampling_steps, paper.samples) == (256, 1000, 100, 10)
    assert (paper.fuse, paper.rate, paper.batch) == ("staple", 1e-4, 32)
    assert (paper.every, paper.cross_entropy) == (5, 10)


def test_settings_that_contradict_one_another_are_refused() -> None:
    with pytest.raises(SettingsError, match="ss_heads 3: they share the 8 channels"):
        MedSegDiffV2Settings.preset("tiny", {"ss_heads": 3}).resolve(traits())
    with pytest.raises(SettingsError, match="there is one level"):
        MedSegDiffV2Settings.preset("tiny", {"anchors": 2, "widths": (8,)}).resolve(traits())
