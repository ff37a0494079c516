"""Mean teacher: the average, the consistency, and the uncertainty mask of UA-MT."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from scantling.contract.step import Step
from scantling.training.pretrained import load_pretrained
from semi_supervised import noise, played, segmenter, value_of

LATE = Step(seed=0, number=29, count=30)


def test_the_teacher_is_the_closed_form_average_of_all_that_the_student_has_been() -> None:
    method = segmenter("mean-teacher", norm="batch", decay=0.75)
    teacher, history = method.teacher, []
    for step in range(6):
        with torch.no_grad():
            for tensor in method.student.state_dict().values():
                tensor.add_(1)
        history.append({name: tensor.clone() for name, tensor in method.student.state_dict().items()})
        teacher.follow(step)
    # decays of 0, 1/2, 2/3, 3/4, 3/4, 3/4: the plain mean of the first four, then exponential
    weights = [0.25 * 0.75**2] * 4 + [0.25 * 0.75, 0.25]
    assert sum(weights) == pytest.approx(1)
    assert any("running_var" in name for name in history[0])  # the statistics of batch norm are averaged, too
    for name, tensor in method.network.state_dict().items():
        if tensor.is_floating_point():
            mean = sum(weight * each[name] for weight, each in zip(weights, history, strict=True))
            assert torch.allclose(tensor, mean, atol=1e-12), name


@pytest.mark.parametrize(("classes", "exclusive"), [(1, True), (3, True), (2, False)])
def test_the_consistency_is_the_mean_squared_difference_of_probabilities(classes: int, exclusive: bool) -> None:
    method = segmenter("mean-teacher", classes=classes, exclusive=exclusive, noise=0.0)
    method.network.eval()
    with torch.no_grad():
        for tensor in method.network.parameters():
            tensor.mul_(1.1)
    batch = {"labelled": noise(1, classes=1), "unlabelled": noise(2)}
    if not exclusive:
        batch["labelled"].fields["mask"] = torch.zeros(2, 2, 24, 24, dtype=torch.uint8)  # type: ignore[index]
    terms = played(method.objectives(batch, LATE))["unet"]
    image = batch["unlabelled"].image
    one, other = (method.distribution(network(image)) for network in (method.student, method.network))
    expected = 0.1 * math.exp(-5 * (1 / 30) ** 2) * (one - other).square().mean()
    assert value_of(terms["consistency"]) == pytest.approx(value_of(expected), rel=1e-9)
    first = played(method.objectives(batch, Step(seed=0, number=0, count=31)))["unet"]
    assert value_of(first["consistency"]) == 0  # off for the first thirtieth


def test_the_teacher_sees_noise_that_is_cut_off_and_the_student_sees_none() -> None:
    method, seen = segmenter("mean-teacher"), []
    method.network.eval().register_forward_hook(lambda module, given, found: seen.append(given[0]))
    batch = noise(2)
    method.target(batch, LATE)
    added = seen[0] - batch.image
    assert value_of(added.abs().max()) == pytest.approx(0.2)
    assert value_of(added.std()) == pytest.approx(0.1 * math.sqrt(0.774 + 4 * 0.0455), rel=0.1)  # of a clipped normal


def test_uncertain_pixels_are_those_above_three_quarters_of_the_greatest_entropy_at_first() -> None:
    method = segmenter("mean-teacher", classes=3, uncertainty=True, passes=2)
    even = torch.full((1, 4, 1, 1), 0.25, dtype=torch.float64)
    assert value_of(method.entropy(even)) == pytest.approx(math.log(4)) == pytest.approx(method.most_entropy(even))
    likely = torch.tensor([[0.97, 0.01, 0.01, 0.01], [0.4, 0.2, 0.2, 0.2]], dtype=torch.float64).view(2, 4, 1, 1)
    method.noisy = lambda image, step, purpose: likely  # what every pass of the teacher says
    certain = method.target(noise(1), Step(seed=0, number=0, count=30))[1]
    expected = [-sum(p * math.log(p) for p in row) < 0.75 * math.log(4) for row in likely.flatten(1).tolist()]
    early = math.exp(-5) / 4 * math.log(4)  # by which the threshold begins higher
    assert certain.flatten().tolist() == expected == [True, False]
    assert early < 0.01
    assert method.target(noise(1), Step(seed=0, number=30, count=30))[1].all()  # ln 4 itself, at the end


def test_uncertain_pixels_count_in_no_consistency_and_dropout_is_off_again() -> None:
    method = segmenter("mean-teacher", uncertainty=True, passes=2, dropout=0.5, noise=0.0)
    method.network.eval()
    with torch.no_grad():
        method.network.head.weight.zero_()
        method.network.head.bias.zero_()  # an even answer everywhere: nothing is certain before the end
    batch = {"labelled": noise(1, classes=1), "unlabelled": noise(2)}
    assert value_of(played(method.objectives(batch, LATE))["unet"]["consistency"]) == 0
    assert not any(layer.training for layer in method.network.modules())


def test_a_training_that_builds_on_a_run_begins_with_the_weights_of_its_teacher() -> None:
    base, method = segmenter("mean-teacher", seed=1), segmenter("mean-teacher", seed=2)
    found = load_pretrained(method, base, run=Path("run"), rate=None, inherited=())
    method.teacher.begin()
    for network in (method.student, method.network):
        assert all(
            torch.equal(tensor, base.network.state_dict()[name]) for name, tensor in network.state_dict().items()
        )
    assert "all" in found.summary
    several = segmenter("mean-teacher", classes=2, seed=2)
    found = load_pretrained(several, base, run=Path("run"), rate=None, inherited=())
    assert torch.equal(several.student.down[0][0].weight, base.network.down[0][0].weight)
    assert "student.head.weight" in found.new  # begins anew in part
    assert found.rates(several)["student.down.0.0.weight"] == 0.1
    assert "student.head.weight" not in found.rates(several)
