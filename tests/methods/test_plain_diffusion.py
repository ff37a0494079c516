"""Plain diffusion of masks: two kinds of noise, none at all, and one network for all of them."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from test_dtu_net import traits
from torch import Tensor
from torch.nn import functional as F

from scantling.contract.method import build
from scantling.contract.options import SegmentOptions
from scantling.contract.step import Inference, Step
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch
from scantling.methods.catalogue import card_of, implementation_of
from scantling.methods.mask_diffusion.berdiff import BerDiff, BerDiffSettings
from scantling.methods.mask_diffusion.chains import Condition, MaskDiffusion
from scantling.methods.mask_diffusion.mb_diff import MBDiff
from scantling.methods.mask_diffusion.plain_diffusion import PlainDiffusion, PlainDiffusionSettings

SIDE = 32
NOISES = ("gaussian", "bernoulli")
SYSTEMS = ("plain-diffusion", "berdiff", "medsegdiff", "medsegdiff-v2", "dtu-net", "mb-diff")


def made(name: str = "plain-diffusion", *, classes: int = 1, **changes: Any) -> MaskDiffusion:
    """Tiny, in float64, with weights where it starts at zero."""
    kind, facts = implementation_of(card_of(name)), traits(classes=classes)
    method = cast("MaskDiffusion", build(kind, kind.Settings.preset("tiny", changes).resolve(facts), facts))
    generator = torch.Generator().manual_seed(0)
    for parameter in method.parameters():
        parameter.data = parameter.data + 0.1 * torch.randn(parameter.shape, generator=generator)
    return method.double().eval()


def labelled(count: int = 2) -> Batch:
    rows, generator = torch.arange(count), torch.Generator().manual_seed(0)
    mask = torch.zeros(count, 1, SIDE, SIDE, dtype=torch.uint8)
    mask[:, :, 8:20, 10:22] = 1
    mask[:, :, :2] = 255
    image = torch.randn(count, 3, SIDE, SIDE, generator=generator, dtype=torch.float64)
    return Batch(rows, rows, {"image": image, "mask": mask})


def terms(method: MaskDiffusion, batch: Batch, seed: int = 0) -> dict[str, Tensor]:
    ((_, found),) = method.objectives({"labelled": batch}, Step(seed=seed, count=len(batch.index)))
    return dict(found)


class Knowing(PlainDiffusion):
    """Has learned everything: it says the mask that is written in the image, or the noise beside it."""

    def denoise(self, noisy: Tensor, condition: Condition, timestep: Tensor) -> Tensor:
        mask = condition[0][:, :1]
        if self.settings.kernel == "bernoulli":
            log_odds = torch.logit(mask.clamp(1e-6, 1 - 1e-6))
            return (1 - 2 * noisy) * log_odds if self.settings.predicts == "noise" else log_odds
        if self.settings.predicts == "mask":
            return 2 * mask - 1
        process = cast("Any", self.kernel).process
        return cast("Tensor", process.eps_from(2 * mask - 1, noisy, timestep))


@pytest.mark.parametrize("kernel", NOISES)
@pytest.mark.parametrize("predicts", ["noise", "mask"])
def test_a_network_that_knows_the_mask_costs_nothing_and_its_chains_end_there(kernel: str, predicts: str) -> None:
    facts = traits()
    settings = PlainDiffusionSettings.preset("tiny", {"kernel": kernel, "predicts": predicts}).resolve(facts)
    method = build(Knowing, settings, facts).double().eval()
    plain = labelled()
    mask = (plain.mask == 1).double()
    batch = Batch(plain.index, plain.case, {"image": mask.expand(-1, 3, -1, -1), "mask": plain.mask})
    assert sum(term.item() for term in terms(method, batch).values()) == pytest.approx(0, abs=1e-3)
    answer = method.segment(batch, Inference(seed=0, options=SegmentOptions(samples=3, steps=4)))
    assert answer.samples is not None
    torch.testing.assert_close(answer.samples, mask.expand(3, -1, -1, -1, -1), atol=1e-4, rtol=0)


def test_the_kernel_is_the_only_thing_between_berdiff_and_its_gaussian_rival() -> None:
    facts, batch = traits(), labelled()
    for kernel, names in (("bernoulli", {"divergence", "cross_entropy"}), ("gaussian", {"denoising"})):
        ber = BerDiffSettings.preset("tiny", {"kernel": kernel}).resolve(facts)
        shared = {
            name: getattr(ber, name) for name in type(ber).model_fields if name in PlainDiffusionSettings.model_fields
        }
        plain = PlainDiffusionSettings(**{**shared, "predicts": "noise"}).resolve(facts)
        first, second = (
            build(BerDiff, ber, facts, seed=1).double(),
            build(PlainDiffusion, plain, facts, seed=1).double(),
        )
        assert first.state_dict().keys() == second.state_dict().keys()
        told = terms(first, batch)
        assert set(told) == names
        for name, value in terms(second, batch).items():
            torch.testing.assert_close(value, told[name])


@pytest.mark.parametrize("name", SYSTEMS)
def test_without_a_chain_the_network_is_shown_nothing_of_the_mask_and_answers_without_chance(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, batch = made(name, chain=0), labelled()
    denoise, seen = method.denoise, list[tuple[Tensor, Tensor]]()

    def noted(noisy: Tensor, condition: Condition, timestep: Tensor) -> Tensor:
        seen.append((noisy, timestep))
        return denoise(noisy, condition, timestep)

    monkeypatch.setattr(method, "denoise", noted)
    total = torch.stack(list(terms(method, batch).values())).sum()
    total.backward()
    answers = [method.segment(batch, Inference(seed=seed)) for seed in (0, 1)]
    assert all(not noisy.any() and not timestep.any() for noisy, timestep in seen)
    assert answers[0].samples is not None
    assert answers[0].samples.shape == (1, 2, 1, SIDE, SIDE)
    assert torch.equal(answers[0].samples, cast("Tensor", answers[1].samples))
    assert not torch.allclose(answers[0].samples[:, 0], answers[0].samples[:, 1]), "it does not see the image"
    for flag, options in (("--samples 4", SegmentOptions(samples=4)), ("--sampling-steps 2", SegmentOptions(steps=2))):
        with pytest.raises(SettingsError, match=f"{flag}: this {name} was trained with --settings.chain 0"):
            method.segment(batch, Inference(seed=0, options=options))


@pytest.mark.parametrize("kernel", NOISES)
def test_direct_regression_has_the_same_network_and_a_loss_of_known_pixels_alone(kernel: str) -> None:
    direct, chain, batch = made(chain=0, kernel=kernel), made(kernel=kernel), labelled()
    shapes = [{name: value.shape for name, value in one.state_dict().items()} for one in (direct, chain)]
    assert shapes[0] == shapes[1]
    said = direct.denoise(torch.zeros(2, 1, SIDE, SIDE), (batch.image,), torch.zeros(2))[:, :, 2:]
    mask = (batch.mask[:, :, 2:] == 1).double()
    wanted = (
        F.mse_loss(said, 2 * mask - 1)
        if kernel == "gaussian"
        else F.binary_cross_entropy_with_logits(said, mask) / torch.log(torch.tensor(2.0))
    )
    (found,) = terms(direct, batch).values()
    torch.testing.assert_close(found, wanted.to(found.dtype))


@pytest.mark.parametrize("kernel", NOISES)
def test_several_classes_share_a_pixel(kernel: str) -> None:
    answer = made(classes=2, kernel=kernel).segment(labelled(), Inference(seed=0))
    assert answer.samples is not None
    assert answer.samples.shape == (2, 2, 2, SIDE, SIDE)
    assert answer.samples.sum(2).max() <= 1 + 1e-6


def test_mb_diff_without_evolution_says_one_mask_and_no_variance() -> None:
    method = made("mb-diff", chain=0)
    assert isinstance(method, MBDiff)
    assert method.settings.learned_variance
    assert method.outputs == 1
    assert set(terms(method, labelled())) == {"regression"}
    assert method.segment(labelled(), Inference(seed=0)).uncertainty == {}
