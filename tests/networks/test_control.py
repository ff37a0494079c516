"""A ControlNet: silent at first, a copy of its own, and an addition to every skip connection and the middle."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from scantling.networks.control import ControlNet
from scantling.networks.denoiser import Denoiser


def denoiser(dimensions: int = 2) -> Denoiser:
    """One whose every parameter matters: nothing is at zero."""
    torch.manual_seed(0)
    network = Denoiser(2, 2, widths=(4, 8), blocks=2, attention=(1,), spatial_dims=dimensions)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.3)
    return network.eval()


def noisy(*sides: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 2, *sides, generator=generator)
    return x, torch.tensor([3, 700]), torch.randn(2, 3, *sides, generator=generator)


@pytest.mark.parametrize("sides", [(16, 16), (13, 18), (6, 7, 8)])
def test_a_control_that_has_learned_nothing_leaves_the_answer_bit_identical(sides: tuple[int, ...]) -> None:
    network = denoiser(len(sides))
    x, timestep, hint = noisy(*sides)
    control = ControlNet(network, hints=3)
    alone = network(x, timestep)
    assert alone.shape == x.shape
    assert torch.equal(network(x, timestep, added=control(x, timestep, hint)), alone)


def test_what_is_added_are_the_features_of_the_copy() -> None:
    network = denoiser()
    x, timestep, hint = noisy(16, 16)
    control = ControlNet(network, hints=3)
    with torch.no_grad():
        for out in control.out:
            assert isinstance(out, nn.Conv2d)
            out.weight.copy_(torch.eye(len(out.weight))[..., None, None])
    skips, middle = network.encode(x, network.code_of(timestep))
    for added, feature in zip(control(x, timestep, hint), [*skips, middle], strict=True):
        assert torch.equal(added, feature)
    # the decoder then sees each of them twice
    doubled = network(x, timestep, added=[*skips, middle])
    assert torch.allclose(doubled, network(x, timestep, added=control(x, timestep, hint)))
    assert not torch.allclose(doubled, network(x, timestep))


def test_the_copy_is_the_encoder_as_it_is_when_it_is_imitated_and_stays_so() -> None:
    network = denoiser()
    control = ControlNet(network, hints=3)
    with torch.no_grad():
        network.stem.weight.add_(1)
    assert not torch.equal(control.copy.stem.weight, network.stem.weight)
    control.imitate(network)
    own = dict(control.copy.named_parameters())
    theirs = dict(network.named_parameters())
    assert {name.split(".")[0] for name in theirs.keys() - own.keys()} == {"up", "finer", "head"}
    for name, parameter in own.items():
        assert torch.equal(parameter, theirs[name]), name
        assert parameter is not theirs[name]
    assert all(not out.weight.any() for out in control.out if isinstance(out, nn.Conv2d))


def test_learning_starts_at_the_zero_convolutions_and_then_reaches_all_of_the_control() -> None:
    network = denoiser().requires_grad_(False)
    x, timestep, hint = noisy(16, 16)
    control = ControlNet(network, hints=3)
    control.requires_grad_(True)
    optimiser = torch.optim.Adam(control.parameters(), 1e-2)
    reached: list[set[str]] = []
    for _ in range(4):
        optimiser.zero_grad()
        (network(x, timestep, added=control(x, timestep, hint)) - x).square().mean().backward()
        reached.append({n for n, p in control.named_parameters() if p.grad is not None and p.grad.any()})
        optimiser.step()
    assert reached[0] == {name for name, _ in control.named_parameters() if name.startswith("out.")}
    assert reached[-1] == {name for name, _ in control.named_parameters()}
    assert all(parameter.grad is None for parameter in network.parameters())
