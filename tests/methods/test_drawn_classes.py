"""Masks that know only some classes: the others are unknown there, in losses, in scores and in what is counted."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scantling.core.case import Case, Labels
from scantling.core.errors import DataError
from scantling.core.fields import IGNORE
from scantling.data.dataset import open_dataset
from scantling.data.integrity import check
from scantling.data.loading import load
from scantling.data.partly_drawn import forget_classes
from scantling.evaluation.scores import marked_share, scores_of_arrays
from scantling.losses import cross_entropy, dice_loss
from scantling.methods.catalogue import CARDS
from scantling.testing.data import make_data
from scantling.testing.trainings import quiet
from scantling.training import Options, train
from scantling.training.validation import dice_of

THREE = Labels(names=("a", "b", "c"), values=((1,), (2,), (3,)))


def partly(root: Path, classes: dict[int, list[str]]) -> Path:
    """Toy pictures of two classes, of which some training masks know only some."""
    data = make_data(CARDS["unet"], root, dimensions=2, classes=2)
    facts = json.loads((data / "scantling.json").read_text())
    training = [case for case in facts["case"] if case["split"] == "train"]
    for number, names in classes.items():
        training[number]["drawn_classes"] = names
    (data / "scantling.json").write_text(json.dumps(facts))
    return data


def layers_of(numbers: list[int], knows: tuple[str, ...] | None) -> np.ndarray:
    mask = np.array(numbers, np.uint8).reshape(1, 1, -1)
    return forget_classes(mask, Case(id="x", subject="x", drawn_classes=knows), THREE, layered=True)


def test_a_layer_for_each_class_says_what_is_not_there_and_what_is_not_known() -> None:
    found = layers_of([0, 1, 2, 3, IGNORE], ("a", "b"))
    assert found[:, 0].tolist() == [
        [0, 1, 0, 0, IGNORE],
        [0, 0, 1, 0, IGNORE],
        [IGNORE] * 5,
    ]
    mask = np.array([[[0, 1, 2, 3, IGNORE]]], np.uint8)
    flat = forget_classes(mask, Case(id="x", subject="x", drawn_classes=("a", "b")), THREE)
    assert flat[0, 0].tolist() == [IGNORE, 1, 2, IGNORE, IGNORE], "what is not marked may be of the third class"
    every = Case(id="x", subject="x", drawn_classes=("a", "b", "c"))
    assert (forget_classes(mask, every, THREE) == mask).all(), "who knows all classes knows the background"


def test_the_cross_entropy_is_that_of_all_that_a_pixel_may_be() -> None:
    logits = torch.randn(1, 4, 1, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    likely = logits.softmax(1)[0, :, 0]
    target = torch.from_numpy(layers_of([0, 1, 2, 3, IGNORE], ("a", "b")))[None]
    may_be = [[0, 3], [1], [2], [0, 3]]
    expected = -sum(math.log(sum(float(likely[k, n]) for k in ks)) for n, ks in enumerate(may_be)) / 4
    assert cross_entropy(logits, target, ignore_index=IGNORE).item() == pytest.approx(expected)
    whole = torch.from_numpy(layers_of([0, 1, 2, 3, IGNORE], None))[None]
    flat = torch.tensor([0, 1, 2, 3, IGNORE]).view(1, 1, 1, 5)
    assert cross_entropy(logits, whole, ignore_index=IGNORE).item() == pytest.approx(
        cross_entropy(logits, flat, ignore_index=IGNORE).item()
    )
    found = logits.softmax(1)[:, 1:]
    assert dice_loss(found, whole, ignore_index=IGNORE).item() == pytest.approx(
        dice_loss(found, flat, ignore_index=IGNORE).item()
    )


def test_no_gradient_tells_an_unknown_class_from_the_background() -> None:
    logits = torch.zeros(1, 4, 1, 2, requires_grad=True)
    target = torch.from_numpy(layers_of([0, 0], ("a", "b")))[None]
    loss = cross_entropy(logits, target, ignore_index=IGNORE)
    loss = loss + dice_loss(logits.softmax(1)[:, 1:], target, ignore_index=IGNORE)
    (gradient,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(gradient[:, 0], gradient[:, 3])
    assert (gradient[:, 1] > 0).all()


def test_scores_are_of_the_classes_that_the_truth_knows() -> None:
    truth = layers_of([0, 1, 1, 3, 0], ("a",))
    answer = np.array([[[3, 1, 1, 2, 1]]], np.uint8)
    scores = scores_of_arrays(answer, truth, classes=THREE.names)
    assert scores.classes["a"]["dice"] == pytest.approx(2 * 2 / (3 + 2)), "a false alarm counts"
    assert math.isnan(scores.classes["b"]["dice"])
    assert scores.mean["dice"] == scores.classes["a"]["dice"]
    assert dice_of(answer[0], truth, THREE) == pytest.approx(scores.mean["dice"])
    assert marked_share(answer, truth, None) == 1, "that a mask is empty or full is seen all the same"


@pytest.mark.parametrize("method", ["unet", "copy-paste", "cross-pseudo"])
def test_a_training_learns_from_masks_of_different_classes(method: str, tmp_path: Path) -> None:
    data = partly(tmp_path / "data", {0: ["class-1"], 1: ["class-2"], 2: ["class-1"]})
    options = Options(preset="tiny", steps=2, validation=0.25)
    train(method, [data], tmp_path / "run", options, console=quiet())
    facts = json.loads((tmp_path / "run/run.json").read_text())
    assert facts["traits"]["partly_known"]
    dataset = open_dataset(data)
    case = next(case for case in dataset.cases if case.drawn_classes == ("class-1",))
    flat = load(case, labels=dataset.labels).masks[0]
    assert {*np.unique(flat).tolist()} <= {1, IGNORE}


def test_a_class_that_no_training_mask_knows_is_refused(tmp_path: Path) -> None:
    every: dict[int, list[str]] = {number: ["class-1"] for number in range(4)}
    data = partly(tmp_path / "data", every)
    with pytest.raises(DataError, match="the masks of no training case know the class 'class-2'"):
        train("unet", [data], tmp_path / "run", Options(preset="tiny", steps=1), console=quiet())


def test_a_method_that_would_see_no_background_is_refused(tmp_path: Path) -> None:
    data = partly(tmp_path / "data", {number: [f"class-{1 + number % 2}"] for number in range(4)})
    options = Options(preset="tiny", steps=1, settings={"features": "pyramid"})
    with pytest.raises(DataError, match=r"no training mask knows all classes .* and fedd takes the background from"):
        train("fedd", [data], tmp_path / "run", options, console=quiet())


def test_check_says_which_classes_are_known_where(tmp_path: Path) -> None:
    found = check(open_dataset(partly(tmp_path, {0: ["class-1"], 1: ["class-2"]})))
    sentences = [finding.sentence for finding in found.findings if finding.kind == "partly drawn"]
    assert any("2 masks know only some classes (class-1 in 1, class-2 in 1), 4 masks all" in one for one in sentences)


@pytest.mark.parametrize(("names", "match"), [(["spleen"], "found 'spleen'; expected some of"), ([], "found none")])
def test_a_class_that_is_none_is_refused_by_its_name(names: Any, match: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"key 'drawn_classes': {match}"):
        open_dataset(partly(tmp_path, {0: names}))
