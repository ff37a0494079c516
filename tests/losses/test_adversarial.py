"""What generators and discriminators minimise, against values by hand and closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from scantling.core.errors import ArrayError, SettingsError
from scantling.losses import feature_matching_loss, fooling_loss, r1_penalty, slope_penalty, telling_loss

REAL, FAKE = torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 0.25])


@pytest.mark.parametrize(
    ("kind", "told", "fooled"),
    [
        ("hinge", ((0 + 0.5) / 2 + (0 + 1.25) / 2) / 2, -(-3 + 0.25) / 2),
        ("least-squares", ((1 + 0.25) / 2 + (9 + 0.0625) / 2) / 2, (16 + 0.5625) / 2),
        ("wasserstein", (-3 + 0.25) / 2 - (2 + 0.5) / 2, -(-3 + 0.25) / 2),
        (
            "logistic",
            (math.log1p(math.exp(-2)) + math.log1p(math.exp(-0.5))) / 2
            + (math.log1p(math.exp(-3)) + math.log1p(math.exp(0.25))) / 2,
            (math.log1p(math.exp(3)) + math.log1p(math.exp(-0.25))) / 2,
        ),
    ],
)
def test_losses_are_what_their_formulas_say_by_hand(kind: str, told: float, fooled: float) -> None:
    assert float(telling_loss(REAL, FAKE, kind=kind)) == pytest.approx(told)  # type: ignore[arg-type]
    assert float(fooling_loss(FAKE, kind=kind)) == pytest.approx(fooled)  # type: ignore[arg-type]


def test_an_unknown_loss_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match="hinge, least-squares, wasserstein, logistic"):
        fooling_loss(FAKE, kind="relative")  # type: ignore[arg-type]


def test_feature_matching_teaches_the_fakes_alone_and_is_zero_of_equal_maps() -> None:
    real, fake = torch.ones(1, 2, 3, requires_grad=True), torch.zeros(1, 2, 3, requires_grad=True)
    loss = feature_matching_loss([real, real], [fake, real.detach()])
    assert loss.item() == 0.5
    loss.backward()
    assert real.grad is None
    assert fake.grad is not None
    with pytest.raises(ArrayError, match="same layers"):
        feature_matching_loss([real], [])


def test_the_penalty_on_slopes_of_a_linear_judge_is_half_the_square_of_its_weights() -> None:
    weights, real = torch.tensor([3.0, 4.0]), torch.randn(5, 2, requires_grad=True)
    assert r1_penalty(real @ weights, real).item() == pytest.approx(12.5)


def test_the_penalty_between_images_is_zero_of_a_linear_critic_with_slope_one_and_sixteen_with_slope_five() -> None:
    real, fake, share = torch.randn(4, 2), torch.randn(4, 2), torch.rand(4)
    for weights, penalty in ((torch.tensor([0.6, 0.8]), 0.0), (torch.tensor([3.0, 4.0]), 16.0)):
        found = slope_penalty(lambda x, w=weights: x @ w, real, fake, share)
        assert found.item() == pytest.approx(penalty, abs=1e-6)


def test_the_penalty_looks_between_a_real_image_and_its_fake() -> None:
    seen = []

    def critic(images: torch.Tensor) -> torch.Tensor:
        seen.append(images.detach())
        return images.square().flatten(1).sum(1)

    slope_penalty(critic, torch.ones(2, 1), torch.zeros(2, 1), torch.tensor([0.25, 1.0]))
    assert seen[0].flatten().tolist() == [0.25, 1.0]
