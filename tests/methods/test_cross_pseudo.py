"""Cross pseudo supervision: each network learns from the labels of the other, and from them alone."""

from __future__ import annotations

import pytest
import torch

from scantling.contract.step import Inference, Step
from scantling.losses.overlap import cross_entropy
from semi_supervised import noise, played, segmenter, value_of


def test_each_network_is_held_against_the_most_likely_labels_of_the_other() -> None:
    method = segmenter("cross-pseudo", classes=2, rise=0.0, weight=1.5)
    batch = {"labelled": noise(1, classes=2), "unlabelled": noise(2)}
    terms = played(method.objectives(batch, Step(seed=0)))
    logits = {name: [network(one.image) for one in batch.values()] for name, network in players(method).items()}
    for name, other in (("unet", "second"), ("second", "unet")):
        labels = [found.argmax(1, keepdim=True) for found in logits[other]]
        expected = 1.5 * sum(cross_entropy(a, b) for a, b in zip(logits[name], labels, strict=True))
        assert value_of(terms[name]["cross"]) == pytest.approx(value_of(expected), rel=1e-9)


def test_a_gradient_reaches_the_network_that_is_taught_and_not_the_one_that_teaches() -> None:
    method = segmenter("cross-pseudo", classes=2)
    terms = played(method.objectives({"labelled": noise(1, classes=2), "unlabelled": noise(2)}, Step(seed=0, count=9)))
    for name, network in players(method).items():
        method.zero_grad(set_to_none=True)
        terms[name]["cross"].backward(retain_graph=True)
        reached = {key for key, each in method.named_parameters() if each.grad is not None}
        assert reached == {
            key for key, each in method.named_parameters() if any(each is p for p in network.parameters())
        }


def test_the_networks_begin_differently_and_the_first_answers() -> None:
    method = segmenter("cross-pseudo")
    one, other = (torch.cat([p.flatten() for p in each.parameters()]) for each in players(method).values())
    assert not torch.equal(one, other)
    found = method.eval().segment(noise(3), Inference(seed=0)).probabilities
    assert torch.equal(found, method.network(noise(3).image).sigmoid())


def players(method: torch.nn.Module) -> dict[str, torch.nn.Module]:
    return {"unet": method.network, "second": method.second}  # type: ignore[dict-item]
