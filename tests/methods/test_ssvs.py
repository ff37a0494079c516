"""SSVS: what is painted onto what, what undoes what, and the ranges that its authors' code confuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from scantling.contract.method import build
from scantling.contract.step import Step
from scantling.core.errors import ArrayError
from scantling.core.samples import Batch, Intensity, Traits
from scantling.methods.without_labels.ssvs import SSVS, SSVSSettings
from scantling.networks.translator import Translator

TRAITS = Traits(
    dimensions=2, channels=("grey",), spacing=(1.0, 1.0), shape=(48, 50), smallest=(48, 50), pools=("background",),
    intensity=(Intensity(mean=0, std=1, low=-2, high=2, minimum=-3, maximum=3),),
)  # fmt: skip


def method(**changes: Any) -> SSVS:
    built = build(SSVS, SSVSSettings.preset("tiny", changes).resolve(TRAITS), TRAITS)
    assert isinstance(built, SSVS)
    return built.double()


def images(seed: int, **fields: Tensor) -> Batch:
    rows = torch.arange(2)
    drawn = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1
    return Batch(rows, rows, {"image": drawn, **fields})


def test_a_hard_mask_is_laid_onto_the_background_and_changes_nothing_beside() -> None:
    of, background = method(), images(0).image
    vessels = torch.zeros(2, 1, 32, 32, dtype=torch.bool)
    vessels[:, :, 10:14] = True
    masks = 2 * vessels.double() - 1
    painted = of.painted(masks, background)
    assert torch.equal(painted[~vessels], background[~vessels])
    torch.testing.assert_close(painted[vessels], of.painter(masks)[vessels])
    assert painted.abs().max() <= 1
    torch.testing.assert_close(of.painted(masks * 0, background), (of.painter(masks * 0) + background) / 2)


def test_the_losses_are_least_squares_and_both_cycles() -> None:
    of, seen = method(cycle=3.0), dict[str, list[Tensor]]()
    batches = {"angiograms": images(0), "backgrounds": images(1)}
    original = of.drawn
    of.drawn = lambda *a: seen.setdefault("drawn", list(original(*a))) and original(*a)  # type: ignore[method-assign]
    (player, terms), (other, judged) = ((name, dict(each)) for name, each in of.objectives(batches, Step(seed=5)))
    image, background, vessels = seen["drawn"]
    assert (player, other) == ("translators", "discriminators")
    assert vessels.any()
    masks = 2 * vessels.double() - 1
    painted, found = of.painted(masks, background), of.finder(image)
    p = (1 + of.finder(painted)) / 2
    torch.testing.assert_close(terms["cycle"], 3 * -torch.where(vessels, p, 1 - p).log().mean())
    torch.testing.assert_close(terms["image cycle"], 3 * F.l1_loss(of.painted(found, image), image))
    scores = {"masks": of.judges["masks"](found)[-1], "images": of.judges["images"](painted)[-1]}
    wanted = sum((each - 1).square().mean() for each in scores.values())
    torch.testing.assert_close(terms["adversarial"], wanted)
    real = of.judges["images"](image)[-1]  # the pool is not full yet, so the new fakes are shown
    torch.testing.assert_close(judged["images"], ((real - 1).square().mean() + scores["images"].square().mean()) / 2)


def test_both_translators_learn_from_both_cycles_and_discriminators_from_neither() -> None:
    of = method()
    (_, terms), _ = (
        (name, dict(each))
        for name, each in of.objectives({"angiograms": images(0), "backgrounds": images(1)}, Step(seed=5))
    )
    for term in ("cycle", "image cycle"):
        of.zero_grad()
        terms[term].backward(retain_graph=True)
        assert all(one.grad is not None for net in (of.painter, of.finder) for one in net.parameters())
        assert all(one.grad is None for one in of.judges.parameters())


def test_the_rate_is_whole_for_half_of_the_steps_and_falls_to_nothing() -> None:
    (stage,) = method().stages()
    schedule = stage.players[0].schedule
    assert callable(schedule)
    assert [schedule(done) for done in (0.0, 0.5, 0.75, 1.0)] == [1, 1, 0.5, 0]
    assert SSVSSettings().steps == 81050


@pytest.mark.parametrize("shape", [(32, 32), (37, 50), (4, 9)])
def test_a_translator_answers_images_of_any_size_in_range(shape: tuple[int, int]) -> None:
    network = Translator(2, 3, width=4, blocks=1)
    made = network(torch.randn(1, 2, *shape) * 9)
    assert made.shape == (1, 3, *shape)
    assert made.abs().max() <= 1
    with pytest.raises(ArrayError):
        network(torch.randn(1, 1, 8, 8))
