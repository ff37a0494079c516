"""The detector: default boxes, what each is to find, the loss by hand, where boxes come from, the commands."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

import scantling
from commands import command
from reported import Page
from scantling.contract.method import build
from scantling.core.case import Labels
from scantling.core.errors import SettingsError
from scantling.core.fields import IGNORE
from scantling.core.samples import Batch, Intensity, Traits
from scantling.losses.multibox import multibox_terms
from scantling.methods.supervised.ssd import Ssd
from scantling.networks.ssd import SSD, assigned, decoded, detected, encoded
from scantling.phantoms.weak_labels import boxes_of_instances, boxes_of_layers
from scantling.testing.data import make_data

FACTS = Intensity(mean=0, std=1, low=0, high=1, minimum=0, maximum=255)
ONE, TWO = Labels(names=("ball",), values=((1,),)), Labels(names=("a", "b"), values=((1,), (2,)))


def detector(labels: Labels = ONE, **settings: Any) -> Ssd:
    traits = Traits(
        dimensions=settings.pop("dimensions", 2), channels=("image",), spacing=(1.0, 1.0), shape=(16, 16),
        smallest=(16, 16), intensity=(FACTS,), labels=labels, labelled=3,
    )  # fmt: skip
    return build(Ssd, Ssd.Settings.preset("tiny", settings).resolve(traits), traits).eval()


def test_there_is_a_default_box_of_each_kind_at_every_place_of_every_map() -> None:
    network = SSD(1, 3, width=2, first=0, scales=(0.25, 0.5), ratios=(2.0,))
    logits, offsets = network(torch.zeros(2, 1, 16, 8))
    boxes = network.default_boxes((16, 8))
    assert len(boxes) == (8 * 4 + 4 * 2) * 4
    assert logits.shape == (2, len(boxes), 4)
    assert offsets.shape == (2, len(boxes), 4)
    side = math.sqrt(16 * 8)
    torch.testing.assert_close(boxes[0].mean(-1), torch.tensor([1.0, 1.0]))  # the middle of the first place
    lengths = (boxes[:4, :, 1] - boxes[:4, :, 0]) / side
    expected = [[0.25, 0.25], [math.sqrt(0.125)] * 2, [0.25 / math.sqrt(2), 0.25 * math.sqrt(2)]]
    torch.testing.assert_close(lengths[:3], torch.tensor(expected))
    areas = (boxes[..., 1] - boxes[..., 0]).prod(-1) / side**2
    torch.testing.assert_close(areas[[2, 3, -1]], torch.tensor([0.0625, 0.0625, 0.25]))


def test_offsets_lead_back_to_the_boxes_that_they_were_made_of() -> None:
    torch.manual_seed(0)
    defaults, boxes = (
        torch.rand(5, 2, 1) * 20 + torch.tensor([0.0, 7.0]) * (1 + torch.rand(5, 2, 1)) for _ in range(2)
    )
    torch.testing.assert_close(decoded(encoded(boxes, defaults), defaults), boxes)
    torch.testing.assert_close(encoded(defaults, defaults), torch.zeros(5, 4))


def test_each_true_box_is_found_by_somebody_and_by_all_that_overlap_it_enough() -> None:
    defaults = torch.tensor([[[0, 10], [0, 10]], [[0, 10], [0, 9]], [[40, 50], [40, 50]], [[80, 90], [80, 90]]]).float()
    truth = torch.tensor([[[0, 10], [0, 10]], [[44, 54], [44, 54]]]).float()  # the second overlaps by 36 of 164
    assert assigned(truth, defaults).tolist() == [0, 0, 1, -1]
    assert assigned(truth[:0], defaults).tolist() == [-1] * 4


def test_true_boxes_that_want_the_same_default_box_each_have_one_and_an_empty_box_has_none() -> None:
    defaults = torch.tensor([[[0, 10], [0, 10]], [[0, 30], [0, 30]], [[80, 90], [80, 90]]]).float()
    truth = torch.tensor([[[0, 6], [0, 6]], [[4, 10], [4, 10]], [[3, 3], [3, 3]], [[0, 9], [0, 9]]]).float()
    assert assigned(truth[[3, 0]], defaults).tolist() == [0, 1, -1]
    assert assigned(truth[[0, 3]], defaults).tolist() == [1, 0, -1]
    assert assigned(truth[[0, 1]], defaults).tolist() == [0, 1, -1]
    assert assigned(truth[[2]], defaults).tolist() == [-1, -1, -1]


def test_the_loss_counts_objects_and_the_hardest_of_the_background_by_hand() -> None:
    logits = torch.zeros(2, 6, 2)
    logits[0, 1, 1] = 3.0  # the worst of the background; then all alike
    labels = torch.tensor([[1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]])
    offsets = torch.zeros(2, 6, 4)
    offsets[0, 0, 0], offsets[0, 1, 0] = 2.0, 9.0  # of the background nothing is asked
    entropy, apart, count = multibox_terms(logits, offsets, labels, torch.zeros(2, 6, 4), negatives=2)
    log2 = math.log(2)
    assert entropy.item() == pytest.approx(log2 + math.log(1 + math.e**3) + log2 + 2 * log2, rel=1e-5)
    assert apart.item() == pytest.approx(1.5)
    assert count.item() == 2
    labels[0, 1] = -1  # nobody knows whether there is an object: the worst counts no more
    without, apart, count = multibox_terms(logits, offsets, labels, torch.zeros(2, 6, 4), negatives=2)
    assert without.item() == pytest.approx(5 * log2, rel=1e-5)
    assert (apart.item(), count.item()) == (1.5, 2)


def test_default_boxes_on_unknown_pixels_are_no_background() -> None:
    method = detector(boxes_from="mask")
    mask = torch.zeros(2, 1, 32, 32, dtype=torch.uint8)
    mask[1, :, :, :16] = IGNORE
    image, rows = torch.zeros(2, 1, 32, 32), torch.arange(2)
    defaults = method.defaults(image)
    found = method.unknown(Batch(rows, rows, {"image": image, "mask": mask}, {}), defaults)
    assert not found[0].any()
    assert torch.equal(found[1], defaults.mean(2)[:, 1] < 16)


def test_of_doubles_the_best_remains_and_classes_do_not_suppress_each_other() -> None:
    boxes = torch.tensor([[[0, 10], [0, 10]], [[0, 10], [0, 9]], [[50, 60], [50, 60]]]).float()
    probabilities = torch.tensor([[0.1, 0.8, 0.1], [0.05, 0.9, 0.05], [0.3, 0.1, 0.6]])
    found, scores, classes = detected(probabilities, boxes, score=0.2, overlap=0.45, most=9)
    assert scores.tolist() == pytest.approx([0.9, 0.6])
    assert classes.tolist() == [0, 1]
    assert torch.equal(found, boxes[[1, 2]])
    assert len(detected(probabilities, boxes, score=0.0, overlap=0.45, most=9)[0]) == 4
    assert len(detected(probabilities, boxes, score=0.95, overlap=0.45, most=9)[0]) == 0


def test_boxes_come_from_boxes_masks_or_instances_and_are_the_same() -> None:
    mask = torch.zeros(2, 1, 16, 16, dtype=torch.uint8)
    mask[0, 0, 2:5, 3:7], mask[0, 0, 10:12, 10:16] = 1, 1
    instances = mask.int()
    instances[0, 0, 10:12] *= 2
    boxes = torch.zeros(2, 2, 2, 2)
    boxes[0] = torch.tensor([[[2, 5], [3, 7]], [[10, 12], [10, 16]]])
    none = torch.zeros(2, dtype=torch.int64)
    batch = Batch(
        none, none, {"image": torch.zeros(2, 1, 16, 16), "mask": mask, "instances": instances, "boxes": boxes},
        counts={"boxes": torch.tensor([2, 0])}, classes={"boxes": torch.tensor([[0, 0], [-1, -1]])},
    )  # fmt: skip
    for source in ("boxes", "mask", "instances"):
        (found, classes), (nothing, _) = detector(boxes_from=source).truth(batch)
        assert torch.equal(found, boxes[0]), source
        assert classes.tolist() == [0, 0]
        assert nothing.shape == (0, 2, 2)
    assert detector(boxes_from="mask").card.needs == (("image", "mask"),)
    assert detector().card.needs == (("image", "boxes"),)


def test_boxes_around_masks_know_their_class_and_pass_over_what_is_unknown() -> None:
    layers = np.zeros((1, 8, 8), np.uint8)
    layers[0, 1:3, 1:3], layers[0, 5, 5], layers[0, 7] = 2, 1, 255
    boxes, classes = boxes_of_layers(layers)
    assert sorted(zip(classes.tolist(), boxes.tolist(), strict=True)) == [(0, [[5, 6], [5, 6]]), (1, [[1, 3], [1, 3]])]
    two = np.zeros((2, 8, 8), np.uint8)
    two[1, 2, 3] = 1
    assert boxes_of_layers(two)[1].tolist() == [1]
    assert boxes_of_instances(np.zeros((4, 4), np.int32))[0].shape == (0, 2, 2)


@pytest.mark.parametrize(
    ("labels", "settings", "sentence"),
    [
        (ONE, {"dimensions": 3}, "the data are volumes"),
        (TWO, {"boxes_from": "instances"}, "which of a, b"),
        (Labels(names=(), values=()), {}, "found no classes"),
        (ONE, {"size": 2}, "the finest map needs 4 pixels"),
    ],
)
def test_what_it_cannot_learn_is_refused(labels: Labels, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        detector(labels, **settings)


def test_data_with_masks_alone_are_refused_with_the_setting_that_reads_them_and_then_go_all_the_way(
    tmp_path: Path,
) -> None:
    card = Ssd.card.model_copy(update={"needs": (("image", "mask"),)})
    data, run, out = make_data(card, tmp_path / "data", dimensions=2), tmp_path / "run", tmp_path / "found"
    words = ("train", "ssd", "--data", data, "--out", run, "--preset", "tiny")
    assert "--settings.boxes_from mask reads what they have" in command(*words).stderr
    done = command(*words, "--settings.boxes_from", "mask")
    assert done.returncode == 0, done.stderr
    done = command("predict", run, data, "--out", out)
    assert done.returncode == 0, done.stderr
    one = json.loads(next((out / "instances").glob("*.json")).read_text())
    assert {"class", "score", "box"} == one["objects"][0].keys()
    done = command("evaluate", out, data, "--json", tmp_path / "scores.json")
    assert done.returncode == 0, done.stderr
    assert "Average precision at 0.5" in done.stdout
    boxes = json.loads((tmp_path / "scores.json").read_text())["boxes"]
    assert boxes["boxes_from"] == "mask"
    for each in boxes["cases"]:
        mask = np.asarray(Image.open(data / "masks" / f"{each['id']}.png")) > 0
        assert each["true"] == ndimage.label(mask, np.ones((3, 3)))[1]
    done = command("report", tmp_path / "scores.json", "--out", tmp_path / "page.html")
    assert done.returncode == 0, done.stderr
    page = Page(tmp_path / "page.html").text
    assert "Boxes of" in page
    assert "Sensitivity at rates of false alarms" in page
    value = scantling.evaluate_boxes(out, data, split="all").estimates["ap50"].value
    assert value == pytest.approx(boxes["scores"]["ap50"]["value"])
    copytree(out, tmp_path / "again")
    compared = scantling.compare([out, tmp_path / "again"], data, split="all", metrics=["ap50", "box_iou"])
    assert next(iter(compared.metrics)).title == "Average precision at 0.5, by image"
    assert compared.methods[0].mean == compared.methods[1].mean
    whole = scantling.open_dataset(data)
    boxed = tuple(replace(one, masks=(), boxes=(((5.0, 9.0), (5.0, 9.0)),)) for one in whole.cases)
    bare = replace(whole, cases=boxed)  # which has no mask at all
    assert scantling.compare([out, tmp_path / "again"], bare, split="all", metrics=["ap50"]).methods[0].mean
    with pytest.raises(SettingsError, match="dice: is of masks; compare boxes by ap50"):
        scantling.compare([out, tmp_path / "again"], data, split="all", metrics=["ap50", "dice"])
    done = command("report", run)
    assert done.returncode == 0, done.stderr
