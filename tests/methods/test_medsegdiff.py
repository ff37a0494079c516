"""MedSegDiff: its filter, its condition that follows the noisy mask, and what its formula says goes where."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scantling.contract.method import build
from scantling.contract.options import SegmentOptions
from scantling.contract.step import Inference, Step
from scantling.core.case import Labels
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch, Intensity, Traits
from scantling.methods.mask_diffusion.medsegdiff import MedSegDiff, MedSegDiffSettings
from scantling.networks.conditioning import DynamicEncoding, ImageEncoder, level_sizes
from scantling.networks.spectral import FFParser

DOUBLE = torch.float64
NOW = Step(seed=0)


def traits(*names: str, channels: int = 3, shape: tuple[int, int] = (40, 44)) -> Traits:
    names = names or ("lesion",)
    return Traits(
        dimensions=2,
        channels=tuple("abcd"[:channels]),
        labels=Labels(names=names, values=tuple((n,) for n in range(1, len(names) + 1))),
        spacing=(1.0, 1.0),
        shape=shape,
        smallest=shape,
        intensity=(Intensity(mean=90, std=40, low=0, high=250, minimum=0, maximum=255),) * channels,
    )


def method(facts: Traits, **changes: Any) -> MedSegDiff:
    built = build(MedSegDiff, MedSegDiffSettings.preset("tiny", changes).resolve(facts), facts)
    assert isinstance(built, MedSegDiff)
    return drawn(built)


def drawn(network: Any) -> Any:
    """All parameters moved away from where they start, so that nothing is 0 or 1; in float64 and evaluation mode."""
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.data = parameter.data + 0.1 * torch.randn(parameter.shape, generator=generator)
    return network.double().eval()


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def batch(image: Tensor, mask: Tensor | None = None) -> Batch:
    rows = torch.arange(len(image))
    return Batch(rows, rows, {"image": image} | ({} if mask is None else {"mask": mask}))


def parser(channels: int, size: tuple[int, int], weight: Tensor | None = None) -> FFParser:
    built = FFParser(channels, size).double()
    if weight is not None:
        built.weight.data = torch.stack([weight.real, weight.imag])
    return built


# The filter


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (16, 5), (1, 1)])
def test_a_fresh_parser_lets_everything_pass_at_any_size(size: tuple[int, int]) -> None:
    x = numbers(2, 3, *size)
    torch.testing.assert_close(parser(3, (8, 8))(x), x)


@pytest.mark.parametrize("size", [(8, 6), (7, 9)])
def test_a_parser_that_passes_the_zero_frequency_alone_gives_the_mean(size: tuple[int, int]) -> None:
    weight = torch.zeros(3, size[0], size[1] // 2 + 1, dtype=torch.complex128)
    weight[:, 0, 0] = 1
    x = numbers(2, 3, *size)
    torch.testing.assert_close(parser(3, size, weight)(x), x.mean((2, 3), keepdim=True).expand_as(x))


def test_a_parser_convolves_with_its_transform() -> None:
    # A = the transform of a kernel: filtering is the circular convolution with that kernel.
    kernel = numbers(2, 6, 8)
    x = numbers(1, 2, 6, 8, seed=1)
    wanted = torch.zeros_like(x)
    for row in range(6):
        for column in range(8):
            wanted += kernel[:, row, column, None, None] * x.roll((row, column), (2, 3))
    torch.testing.assert_close(parser(2, (6, 8), torch.fft.rfft2(kernel))(x), wanted)


def test_a_parser_is_real_and_linear() -> None:
    built = drawn(FFParser(2, (8, 8)))
    x, y = numbers(1, 2, 8, 8), numbers(1, 2, 8, 8, seed=1)
    assert built(x).dtype == DOUBLE
    torch.testing.assert_close(built(2 * x - 3 * y), 2 * built(x) - 3 * built(y))
    assert FFParser(2, (8, 8))(x.bfloat16()).dtype == torch.bfloat16


def test_a_parser_keeps_its_weight_of_a_frequency_whatever_the_size_of_the_image() -> None:
    built = drawn(FFParser(2, (8, 8)))
    stored, finer = built.at(8, 8), built.at(16, 24)  # rows and columns of 8 lie at every 2nd and 3rd
    torch.testing.assert_close(finer[:, ::2, ::3], stored)
    between = (stored[:, [0, 3, 7]] + stored[:, [1, 4, 0]]) / 2  # rows 1, 7 and 15; the last lies before 0
    torch.testing.assert_close(finer[:, [1, 7, 15]][:, :, ::3], between)
    torch.testing.assert_close(built.at(4, 4), stored[:, ::2, ::2])


# The condition


def test_dynamic_encoding_is_the_papers_formula() -> None:
    encoding = DynamicEncoding(4, (6, 6)).double()
    encoding.parser = drawn(encoding.parser)
    seen, noisy = numbers(2, 4, 6, 6), numbers(2, 4, 6, 6, seed=1)

    def layer_norm(x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[1:])

    wanted = (layer_norm(seen) * layer_norm(encoding.parser(noisy))) * seen
    torch.testing.assert_close(encoding(seen, noisy), wanted)


def test_nothing_seen_stays_nothing_and_the_noisy_mask_matters() -> None:
    encoding = drawn(DynamicEncoding(4, (6, 6)))
    seen, noisy = numbers(1, 4, 6, 6), numbers(1, 4, 6, 6, seed=1).requires_grad_()
    assert not encoding(torch.zeros_like(seen), noisy).any()
    (slope,) = torch.autograd.grad(encoding(seen, noisy).square().sum(), noisy)
    assert (slope != 0).all()


class Figure(nn.Module):
    """In place of the denoiser: hands known features to the guide and keeps what goes on."""

    def __init__(self, features: list[Tensor]) -> None:
        super().__init__()
        self.features, self.on = features, [torch.empty(0)]

    def forward(self, x: Tensor, timestep: Tensor, *, guide: Callable[[int, Tensor], Tensor]) -> Tensor:
        self.on = [guide(level, h) for level, h in enumerate(self.features)]
        self.entered = x
        return x


def test_each_level_attends_to_the_mask_and_the_deepest_embeddings_are_added() -> None:
    of = method(traits(), widths=(8, 16, 16), size=32)
    image, noisy = numbers(2, 3, 32, 32), numbers(2, 1, 32, 32, seed=1)
    features = [numbers(2, 8, 32, 32), numbers(2, 16, 16, 16), numbers(2, 16, 8, 8)]
    network, encoder = of.network, of.image_encoder
    figure = Figure(features)
    of.network = figure  # type: ignore[assignment]
    of.denoise(noisy, (image,), torch.zeros(2, dtype=torch.long))
    m_i = of.encodings[0](encoder.stages[0](encoder.stem(image)), features[0])
    m_i = of.encodings[1](encoder.stages[1](m_i), features[1])
    assert figure.on[0] is features[0]
    assert figure.on[1] is features[1]
    torch.testing.assert_close(figure.on[2], features[2] + encoder.stages[2](m_i))
    assert torch.equal(figure.entered, noisy)
    assert len(of.encodings) == len(network.widths) - 1


def test_the_condition_follows_the_noisy_mask() -> None:
    of = method(traits())
    timestep = torch.zeros(1, dtype=torch.long)
    embeddings = []
    stage = of.image_encoder.stages[-1]
    stage.register_forward_hook(lambda _, __, out: embeddings.append(out))
    for seed in (1, 2):
        of.denoise(numbers(1, 1, 32, 32, seed=seed), (numbers(1, 3, 32, 32),), timestep)
    assert (embeddings[0] - embeddings[1]).abs().mean() > 1e-3 * embeddings[0].abs().mean()


@pytest.mark.parametrize("beside", [False, True])
def test_beside_lets_the_image_pass_the_bottleneck(beside: bool) -> None:
    of = method(traits(), beside=beside)
    for parameter in of.image_encoder.stages[-1].parameters():
        nn.init.zeros_(parameter)  # E_I = 0
    noisy, timestep = numbers(1, 1, 32, 32), torch.zeros(1, dtype=torch.long)
    one, other = (of.denoise(noisy, (numbers(1, 3, 32, 32, seed=seed),), timestep) for seed in (1, 2))
    assert torch.equal(one, other) is not beside


def test_nothing_is_made_anew_in_a_forward_pass() -> None:
    of = method(traits())
    given = numbers(1, 1, 37, 33), (numbers(1, 3, 37, 33, seed=1),), torch.tensor([3])  # sizes no level divides
    said = of.denoise(*given)
    assert said.shape == (1, 1, 37, 33)
    assert torch.equal(said, of.denoise(*given))


@pytest.mark.parametrize("changes", [{}, {"learned_variance": True, "beside": True}], ids=["plain", "all"])
def test_every_parameter_has_a_gradient(changes: dict[str, Any]) -> None:
    of = method(traits(), **changes)
    labelled = batch(numbers(2, 3, 32, 32), (numbers(2, 1, 32, 32) > 0).to(torch.uint8))
    ((player, terms),) = of.objectives({"labelled": labelled}, NOW)
    assert player == "medsegdiff"
    assert set(terms) == ({"denoising", "variance"} if changes else {"denoising"})
    sum(terms.values()).backward()  # type: ignore[union-attr]
    for name, parameter in of.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("shape", [(32, 32), (37, 37), (64, 40), (9, 64)])
def test_filters_are_stored_at_the_sizes_that_the_levels_have(shape: tuple[int, int]) -> None:
    encoder = ImageEncoder(1, widths=(4, 4, 4), blocks=1)
    seen, sizes = encoder.start(torch.zeros(1, 1, *shape)), []
    for level in range(3):
        seen = encoder(level, seen)
        sizes.append(tuple(seen.shape[2:]))
    assert level_sizes(shape, levels=3) == sizes


# The whole


def test_ddim_with_a_network_that_knows_the_noise_gives_the_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    of = method(traits(), predicts="eps", sampler="ddim", chain=100)
    mask = (numbers(1, 1, 32, 32) > 0).double()

    def knows(noisy: Tensor, condition: tuple[Tensor, ...], timestep: Tensor) -> Tensor:
        return of.process.eps_from(2 * mask - 1, noisy, timestep)

    monkeypatch.setattr(of, "denoise", knows)
    inference = Inference(seed=0, options=SegmentOptions(samples=3, steps=7))
    samples = of.segment(batch(numbers(1, 3, 32, 32)), inference).samples
    assert samples is not None
    torch.testing.assert_close(samples, mask.expand(3, 1, 1, 32, 32), rtol=0, atol=1e-6)


def test_samples_are_hypotheses_of_their_own() -> None:
    of = method(traits())
    with torch.no_grad():
        samples = of.segment(batch(numbers(2, 3, 32, 32)), Inference(seed=0, options=SegmentOptions(samples=3))).samples
    assert samples is not None
    assert samples.shape == (3, 2, 1, 32, 32)
    assert np.unique(samples[:, 0].flatten(1).numpy(), axis=0).shape[0] == 3


@pytest.mark.parametrize(("scale", "downsamplings"), [("S", 4), ("B", 5), ("L", 6)])
def test_the_scales_halve_four_to_six_times(scale: str, downsamplings: int) -> None:
    facts = traits(shape=(300, 300))
    settings = MedSegDiffSettings.preset("paper", {"scale": scale}).resolve(facts)
    assert settings.divisor == 2**downsamplings
    assert settings.resolve(facts) == settings


def test_the_defaults_are_the_papers() -> None:
    paper = MedSegDiffSettings()
    assert (paper.size, paper.chain, paper.schedule, paper.sampling_steps) == (256, 1000, "linear", 100)
    assert (paper.samples, paper.fuse, paper.rate, paper.batch) == (25, "staple", 1e-4, 32)
    assert paper.predicts == "eps"


def test_several_classes_and_images_below_the_deepest_level_are_refused() -> None:
    with pytest.raises(SettingsError, match="one class only; the data have 2"):
        MedSegDiffSettings.preset("tiny").resolve(traits("cup", "disc"))
    with pytest.raises(SettingsError, match="7 levels need images of 64 pixels"):
        MedSegDiffSettings.preset("paper", {"scale": "L", "size": 48}).resolve(traits())
