"""The switches of the papers' ablations: each takes away what it says, and the rest stays as it was."""

from __future__ import annotations

import pytest
import torch
from test_dtu_net import traits
from test_plain_diffusion import labelled, made, terms
from torch import Tensor

from scantling.contract.options import SegmentOptions
from scantling.contract.step import Inference
from scantling.methods.mask_diffusion.chains import MaskDiffusion
from scantling.methods.mask_diffusion.medsegdiff import SCALES, MedSegDiffSettings
from scantling.networks.conditioning import DynamicEncoding
from scantling.networks.spectral import Sine, SpectralAttention

SWITCHES = {
    "dtu-net": {"cross_attention": (False, "network.cross.")},
    "medsegdiff": {"parser": (False, ".parser."), "dynamic": (False, "encodings.")},
    "medsegdiff-v2": {"anchors": (0, "anchors."), "ss_former": (False, "former."), "ss_filter": ("sine", ".filter.")},
}
"""The settings, their other value, and the words that the names of the parameters have which are gone then."""
EACH = [(name, setting, *what) for name, settings in SWITCHES.items() for setting, what in settings.items()]


@pytest.mark.parametrize(("name", "setting", "value", "part"), EACH, ids=[f"{one[0]}-{one[1]}" for one in EACH])
def test_a_switch_takes_away_what_it_says_and_nothing_else(name: str, setting: str, value: object, part: str) -> None:
    whole, less = made(name), made(name, **{setting: value})
    kept = {key: tensor.shape for key, tensor in whole.state_dict().items() if part not in key}
    assert {key: tensor.shape for key, tensor in less.state_dict().items() if part not in key} == kept
    assert len(kept) < len(whole.state_dict()), "nothing was taken away"
    told = [terms(one, labelled()) for one in (less, whole)]
    assert told[0].keys() == told[1].keys()
    # all that is left learns as far as it does in the whole, and the image is still seen
    for found in told:
        torch.stack(list(found.values())).sum().backward()
    assert idle(less) == [key for key in idle(whole) if part not in key]
    answer = less.segment(labelled(), Inference(seed=0, options=SegmentOptions(samples=1, steps=1))).samples
    assert answer is not None
    assert not torch.allclose(answer[:, 0], answer[:, 1])


def idle(method: MaskDiffusion) -> list[str]:
    """The parameters without a gradient."""
    return [key for key, one in method.named_parameters() if one.grad is None or not one.grad.any()]


def test_without_dynamic_encoding_the_image_encoder_does_not_see_the_noisy_mask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for dynamic in (True, False):
        method, batch = made("medsegdiff", dynamic=dynamic), labelled()
        encoder, seen = method.image_encoder, list[Tensor]()
        forward = encoder.forward

        def noted(level: int, x: Tensor, forward=forward, seen=seen) -> Tensor:  # type: ignore[no-untyped-def]
            out: Tensor = forward(level, x)
            seen.append(out)
            return out

        monkeypatch.setattr(encoder, "forward", noted)
        for seed in (0, 1):
            noisy = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
            method.denoise(noisy, (batch.image,), torch.tensor([3, 5]))
        assert torch.equal(seen[1], seen[3]) is not dynamic


def test_an_encoding_without_parser_is_the_formula_without_it() -> None:
    encoding = DynamicEncoding(4, (8, 8), parser=False)
    image, noisy = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)

    def normal(x: Tensor) -> Tensor:
        return torch.nn.functional.layer_norm(x, x.shape[1:])

    torch.testing.assert_close(encoding(image, noisy), normal(image) * normal(noisy) * image)


def test_the_sine_is_of_both_parts_and_what_comes_back_to_space_is_real() -> None:
    spectrum = torch.fft.fftn(torch.randn(1, 2, 6, 6, dtype=torch.float64), dim=(2, 3))
    bent = Sine()(spectrum, torch.zeros(1, 4))
    assert torch.equal(bent.real, spectrum.real.sin())
    assert torch.equal(bent.imag, spectrum.imag.sin())
    assert torch.fft.ifftn(bent, dim=(2, 3)).imag.abs().max() < 1e-12
    small = 1e-4 * spectrum
    torch.testing.assert_close(Sine()(small, torch.zeros(1, 4)), small)  # where it is small nothing is filtered
    attention = SpectralAttention(4, (4, 4), heads=2, layers=1, hidden=4, code=4, kind="sine")
    assert isinstance(attention.filter, Sine)


def test_plus_plus_is_the_network_of_the_authors_page() -> None:
    of = MedSegDiffSettings(scale="++").resolve(traits(side=256))
    assert (of.widths[0], of.blocks, of.heads, of.scale_shift) == (512, 12, 8, True)
    assert of.model_copy(update={**SCALES["B"], "blocks": 2, "heads": 1, "scale_shift": False, "scale": None}) == (
        MedSegDiffSettings().resolve(traits(side=256))
    )
