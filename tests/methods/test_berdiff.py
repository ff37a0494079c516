"""BerDiff: what its loss says before and after anything is learned, and what its chains draw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from scantling.contract.method import build
from scantling.contract.options import SegmentOptions
from scantling.contract.step import Inference, Step
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch
from scantling.methods.mask_diffusion.berdiff import BerDiff, BerDiffSettings
from scantling.methods.mask_diffusion.bernoulli_masks import BernoulliKernel
from scantling.methods.mask_diffusion.chains import Condition
from toys import small_berdiff

SIZE = 32


def made(**settings: Any) -> BerDiff:
    return small_berdiff(size=SIZE, **settings)


def labelled(count: int = 4) -> Mapping[str, Batch]:
    mask = torch.zeros(count, 1, SIZE, SIZE, dtype=torch.uint8)
    mask[:, :, 8:20, 10:22] = 1
    numbers = torch.arange(count)
    return {"labelled": Batch(numbers, numbers, {"image": torch.randn(count, 1, SIZE, SIZE), "mask": mask})}


class Knowing(BerDiff):
    """Has learned everything: of every pixel it says the probability that is written in the image."""

    def denoise(self, noisy: Tensor, condition: Condition, timestep: Tensor) -> Tensor:
        (image,) = condition
        log_odds = torch.logit(image.clamp(1e-6, 1 - 1e-6))
        return (1 - 2 * noisy) * log_odds if self.settings.predicts == "flips" else log_odds


def knowing(**settings: Any) -> Knowing:
    like = made(**settings)
    method = build(Knowing, like.settings, like.traits, seed=3)
    assert isinstance(method, Knowing)
    return method.eval()


def test_a_network_that_has_learned_nothing_pays_one_bit_a_pixel() -> None:
    for name, terms in made().objectives(labelled(), Step(seed=0, count=4)):
        assert name == "berdiff"
        assert terms["cross_entropy"].item() == pytest.approx(1, abs=1e-6)


def test_a_network_that_knows_the_mask_pays_nothing() -> None:
    plain = labelled()["labelled"]
    known = Batch(plain.index, plain.case, {"image": plain.mask.float(), "mask": plain.mask})
    for step in range(5):
        for _, terms in knowing().objectives({"labelled": known}, Step(seed=0, number=step)):
            assert sum(term.item() for term in terms.values()) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("predicts", ["flips", "mask"])
@pytest.mark.parametrize("rule", ["sub-sequence", "plug-in", "mixture"])
def test_chains_of_a_network_that_knows_the_mask_end_there(predicts: str, rule: str) -> None:
    method = knowing(predicts=predicts, rule=rule)
    mask = labelled(1)["labelled"].mask.float()
    batch = Batch(torch.arange(1), torch.arange(1), {"image": mask})
    answer = method.segment(batch, Inference(seed=0, options=SegmentOptions(samples=3, steps=4)))
    assert answer.samples is not None
    assert torch.allclose(answer.samples, mask.expand(3, 1, 1, SIZE, SIZE), atol=1e-5)


def test_half_of_the_background_has_flipped_at_the_end_of_the_chain() -> None:
    """In the authors' code none ever does: a line break loses the term."""
    method = made()
    assert isinstance(method.kernel, BernoulliKernel)
    process = method.kernel.process
    noisy = process.noised(torch.zeros(1, 1, 200, 200), method.settings.chain - 1, torch.rand(1, 1, 200, 200))
    assert float(noisy.mean()) == pytest.approx(0.5, abs=0.02)


def test_pixels_of_which_nothing_is_known_cost_nothing() -> None:
    batch = labelled()
    batch["labelled"].mask.fill_(255)
    for _, terms in made().objectives(batch, Step(seed=0)):
        assert sum(term.item() for term in terms.values()) == 0


def test_a_training_without_a_loss_is_refused() -> None:
    with pytest.raises(SettingsError, match="nothing would be learned; raise one of them"):
        made(divergence=0, cross_entropy=0)


def test_several_values_have_a_form_that_a_wrong_one_is_told() -> None:
    with pytest.raises(SettingsError, match=r"--settings\.widths: found '8,8'; .*; write several values as 32,64"):
        BerDiffSettings.preset("tiny", {"widths": "8,8"})
