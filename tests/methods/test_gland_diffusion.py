"""`gland-diffusion`: what it learns from, what it answers, and the settings that it plans."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from commands import command
from scantling.contract.method import build
from scantling.contract.results import Objects
from scantling.contract.step import Draws, Inference, Step, Total
from scantling.core.case import Labels
from scantling.core.errors import SettingsError
from scantling.core.fields import IGNORE
from scantling.core.samples import Batch, Intensity, Thickness, Traits
from scantling.methods.supervised.gland_diffusion import GlandDiffusion, GlandNetwork, best_score, hits
from scantling.methods.supervised.gland_objects import painted, separated, truth_of
from scantling.networks.box_decoder import Found
from scantling.testing.data import make_data

FACTS = Intensity(mean=0, std=1, low=0, high=1, minimum=0, maximum=255)
ONE, TWO = Labels(names=("gland",), values=((255,),)), Labels(names=("a", "b"), values=((1,), (2,)))


def traits(labels: Labels = ONE, **changes: Any) -> Traits:
    facts: dict[str, Any] = {
        "dimensions": 2, "channels": ("image",), "spacing": (1.0, 1.0), "shape": (32, 32), "smallest": (32, 32),
        "intensity": (FACTS,), "labels": labels, "labelled": 3,
    }  # fmt: skip
    return Traits(**(facts | changes))


def method(labels: Labels = ONE, **settings: Any) -> GlandDiffusion:
    known = traits(labels)
    return build(GlandDiffusion, GlandDiffusion.Settings.preset("tiny", settings).resolve(known), known).eval()


def tiles(mask: torch.Tensor) -> Batch:
    rows = torch.arange(len(mask))
    torch.manual_seed(0)
    image = torch.randn(len(mask), 1, *mask.shape[2:])
    return Batch(rows, rows, {"image": image, "mask": mask, "instances": mask.int()})


def disc(size: int = 32, *places: tuple[int, int, int]) -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    found = torch.zeros(1, 1, size, size, dtype=torch.uint8)
    for number, (row, column, radius) in enumerate(places, start=1):
        found[0, 0][(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] = number
    return found


def test_objects_are_those_of_instance_maps_or_the_pieces_of_masks() -> None:
    touching = torch.zeros(1, 1, 16, 16, dtype=torch.uint8)
    touching[..., 2:6, 2:8], touching[..., 6:9, 2:8] = 1, 2
    (two,) = truth_of(tiles(touching), objects_from="instances", least=4)
    assert two.boxes.tolist() == [[2, 2, 6, 8], [6, 2, 9, 8]]
    assert two.classes.tolist() == [0, 0]
    assert torch.equal(two.masks_at(torch.tensor([1]), 1, (16, 16))[0], touching[0, 0] == 2)
    (one,) = truth_of(tiles((touching > 0).byte()), objects_from="mask", least=4)
    assert one.boxes.tolist() == [[2, 2, 9, 8]]
    (classes,) = truth_of(tiles(touching), objects_from="mask", least=4)
    assert classes.classes.tolist() == [0, 1]


def test_specks_and_unknown_pixels_are_neither_objects_nor_background() -> None:
    mask = disc(32, (8, 8, 5))
    mask[..., 20, 20], mask[..., 26:, :] = 1, IGNORE
    (found,) = truth_of(tiles(mask), objects_from="mask", least=4)
    assert len(found.boxes) == 1
    middle = torch.tensor([[0.0, 0, 4, 4], [19.5, 19.5, 21.5, 21.5], [26, 0, 32, 9], [-20, 90, -10, 99]])
    assert found.known_at(middle).tolist() == [True, False, False, True]
    assert found.known_cells(4, (8, 8))[0, 7].tolist() == [False] * 8


def test_what_is_right_costs_nothing_and_a_miss_does() -> None:
    subject = method(objects_from="mask", mask_heads="last")
    mask = disc(32, (16, 16, 9))
    truth = truth_of(tiles(mask), objects_from="mask", least=1)
    with torch.no_grad():
        seen = subject.network.see(tiles(mask).image)
        boxes = torch.tensor([[[40.0, 40, 44, 44]] * 5 + [truth[0].boxes[0].tolist()]])
        logits = torch.tensor([[[-9.0]] * 5 + [[9.0]]])
        right = subject.terms(Found(logits, boxes, torch.zeros(1, 6, 153)), truth, seen, (32, 32), masked=False)
        assert set(right) == {"class", "distance", "overlap"}
        assert all(0 <= float(term) < 1e-3 for term in right.values())
        wrong = subject.terms(Found(-logits, boxes, torch.zeros(1, 6, 153)), truth, seen, (32, 32), masked=True)
        assert wrong["class"] > 5
        assert 0 < float(wrong["mask"]) <= 1


def test_a_tile_without_an_object_teaches_that_there_is_none() -> None:
    subject = method(objects_from="mask").train()
    game = subject.objectives({"tiles": tiles(disc(32))}, Step(seed=0))
    total = next(game)
    assert isinstance(total, Total)
    move = game.send(total.part)
    assert isinstance(move, tuple)
    terms = move[1]
    assert terms["class"].item() > 0
    assert [terms[name].item() for name in ("distance", "overlap", "mask")] == [0, 0, 0]
    assert all(term.isfinite() for term in terms.values())


def test_a_pixel_is_of_the_better_object_and_what_loses_most_of_itself_is_dropped() -> None:
    first, second, third = (torch.zeros(8, 8, dtype=torch.bool) for _ in range(3))
    first[:, :4], second[:, 3:7], third[:, 2:4] = True, True, True
    found = separated([first, second, third], torch.tensor([0.9, 0.8, 0.7]), torch.zeros(3, dtype=torch.long), own=0.5)
    assert [int(crop.sum()) for crop in found.crops] == [32, 24]
    assert found.boxes.tolist() == [[[0, 8], [0, 4]], [[0, 8], [4, 7]]]
    other = separated([first, first], torch.tensor([0.9, 0.8]), torch.tensor([0, 1]), own=0.5)
    assert len(other.classes) == 2  # objects of two classes may share pixels
    likely, there = painted(found, 1, (8, 8))
    assert likely[0, 0].tolist() == pytest.approx([0.9] * 4 + [0.8] * 3 + [0])
    assert torch.equal(there, likely > 0)
    none = separated([], torch.zeros(0), torch.zeros(0, dtype=torch.long), own=0.5)
    assert none.boxes.shape == (0, 2, 2)
    assert not painted(none, 1, (8, 8))[1].any()


def test_a_chain_of_any_length_repeats_and_does_not_depend_on_what_else_is_answered() -> None:
    subject = method()
    rows = torch.arange(2)
    torch.manual_seed(1)
    image = torch.randn(2, 1, 37, 41)
    for steps in (1, 4):
        options = subject.segment_options(GlandDiffusion.segment_with.of({"steps": steps, "score": 0.0}))
        with torch.no_grad():
            both = subject.segment(Batch(rows, rows, {"image": image}), Inference(seed=3, options=options))
            one = subject.segment(Batch(rows[:1], rows[:1], {"image": image[:1]}), Inference(seed=3, options=options))
        torch.testing.assert_close(both.instances[0].scores, one.instances[0].scores)
        assert both.decision is not None
        assert both.decision.shape == (2, 1, 37, 41)
        covered = sum(int(crop.sum()) for crop in both.instances[0].crops)
        assert covered == int((both.decision[0] > 0).sum())


def test_the_score_from_which_objects_count_is_the_best_on_validation_cases() -> None:
    results = [(0.9, True), (0.8, True), (0.5, False), (0.4, True), (0.1, False)]
    assert best_score(results, 3) == pytest.approx((0.4 + 0.1) / 2)  # F1 of 6 / 7
    assert best_score(results, 2) == pytest.approx((0.8 + 0.5) / 2)  # of 1
    truth = truth_of(tiles(disc(32, (8, 8, 5), (22, 22, 6))), objects_from="instances", least=1)[0]
    masks = [truth.masks_at(torch.tensor([1]), 1, (32, 32))[0], torch.zeros(32, 32, dtype=torch.bool)]
    masks[1][0:3, 20:30] = True
    found = Objects.of_masks(masks, classes=torch.zeros(2, dtype=torch.long), scores=torch.tensor([0.3, 0.2]))
    assert [hit for _, hit in hits(found, truth)] == [True, False]
    subject = method(objects_from="instances")
    batch = tiles(disc(32, (8, 8, 5), (22, 22, 6)))
    subject.fit_threshold([batch], Step(seed=0))
    ranked = hits(subject.find(batch.image, Draws(seed=0, stage="calibration"), 0, score=0.02), truth)
    wanted = best_score(ranked, 2) if ranked else 0.5
    assert float(subject.threshold) == pytest.approx(wanted)


def test_grid_finest_map_and_proposals_follow_the_objects() -> None:
    thick = Thickness(low=60, median=96, high=120, number=8)
    quick = GlandDiffusion.Settings.preset("quick", {"proposals": None})
    gland = quick.resolve(traits(thickness=(thick,), shape=(384, 384)))
    assert gland.spacing == (3.0, 3.0)  # 96 pixels become 32
    assert (gland.finest, gland.proposals) == (4, 150)
    nuclei = quick.resolve(traits(thickness=(Thickness(low=8, median=12, high=15, number=400),), shape=(256, 256)))
    assert (nuclei.spacing, nuclei.finest, nuclei.proposals) == (None, 2, 400)  # a tile is a quarter of the image
    assert GlandDiffusion.Settings().resolve(traits()).proposals == 150
    network = build(GlandDiffusion, GlandDiffusion.Settings.preset("tiny", {"finest": 2}).resolve(traits()), traits())
    assert network.network.pyramid.strides == (2, 4, 8, 16)
    assert len(network.gives) == 1


def test_the_network_of_the_paper_has_the_published_sizes() -> None:
    with torch.device("meta"):
        paper = GlandDiffusion.Settings().resolve(traits())
        network = GlandNetwork(paper, 3, 1)
    decoder = network.decoder
    assert network.pyramid.widths == (256, 512, 1024, 2048)
    assert len(decoder.heads) == 6
    head: Any = decoder.heads[0]
    assert head.kernels.out_features == 153
    assert head.dynamic.weights.out_features == 2 * 256 * 64
    assert head.dynamic.out[0].in_features == 49 * 256
    assert head.attention.num_heads == 8
    assert head.feed[0].out_features == 2048
    resnet = sum(p.numel() for p in network.pyramid.encoder.parameters())
    assert 23.4e6 < resnet < 23.6e6  # ResNet-50 without its classifier has 23.5 million
    assert (paper.chain, paper.scale, paper.proposals) == (1000, 2.0, 150)


def test_a_step_of_quick_does_not_drown_what_tells_boxes_apart() -> None:
    torch.manual_seed(0)
    known = traits()
    quick = GlandDiffusion.Settings.preset("quick", {"objects_from": "mask", "heads": 1})
    subject = build(GlandDiffusion, quick.resolve(known), known)
    head: Any = subject.network.decoder.heads[0]
    read, shown = head.dynamic.out[0], list[torch.Tensor]()  # of 49 cells at once: with Adam its steps add up
    read.register_forward_hook(lambda module, given, answer: shown.extend([given[0].detach(), answer.detach()]))
    optimiser = torch.optim.AdamW(subject.network.parameters(), lr=subject.settings.rate)
    game = subject.objectives({"tiles": tiles((disc(64, (16, 16, 12), (44, 40, 14)) > 0).byte())}, Step(seed=0))
    total = next(game)
    assert isinstance(total, Total)
    move = game.send(total.part)
    assert isinstance(move, tuple)
    torch.stack([*move[1].values()]).sum().backward()
    optimiser.step()
    cells, before = shown
    with torch.no_grad():
        drift = (torch.nn.functional.linear(cells, read.weight, read.bias) - before).mean(0)
    assert drift.square().mean().sqrt() < before.std(0).square().mean().sqrt()


def test_without_the_condition_the_heads_have_no_projection_of_it() -> None:
    control = method(conditional=False)
    assert not [name for name, _ in control.named_parameters() if "join" in name or "condition" in name]
    joined = {name for name, _ in method().named_parameters() if "join" in name}
    assert len(joined) == 2 * 2 * 2  # two heads, two places, weight and bias


@pytest.mark.parametrize(
    ("labels", "changes", "settings", "sentence"),
    [
        (
            ONE,
            {"dimensions": 3, "spacing": (1.0,) * 3, "shape": (9,) * 3, "smallest": (9,) * 3},
            {},
            "data are volumes",
        ),
        (TWO, {}, {}, "which of a, b"),
        (Labels(names=(), values=()), {}, {}, "found no classes"),
        (ONE, {}, {"channels": 9}, "found 9 channels; expected a multiple of it"),
        (ONE, {}, {"encoder": "resnet"}, "expected MODULE:FACTORY"),
    ],
)
def test_what_it_cannot_learn_is_refused(
    labels: Labels, changes: dict[str, Any], settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(SettingsError, match=sentence):
        GlandDiffusion.Settings.preset("tiny", settings).resolve(traits(labels, **changes))


def test_too_many_steps_or_several_samples_are_refused() -> None:
    subject = method()
    with pytest.raises(SettingsError, match="the chain has 1000 steps"):
        subject.segment_options(GlandDiffusion.segment_with.of({"steps": 1001}))
    with pytest.raises(SettingsError, match="do not become one"):
        subject.segment_options(GlandDiffusion.segment_with.of({"samples": 2}))


def test_binary_masks_go_all_the_way_from_a_training_to_instance_maps_and_their_scores(tmp_path: Path) -> None:
    card = GlandDiffusion.card.model_copy(update={"needs": (("image", "mask"),)})
    data, run, out = make_data(card, tmp_path / "data", dimensions=2), tmp_path / "run", tmp_path / "found"
    words = ("train", "gland-diffusion", "--data", data, "--out", run, "--preset", "tiny")
    assert "--settings.objects_from mask reads what they have" in command(*words).stderr
    done = command(*words, "--settings.objects_from", "mask")
    assert done.returncode == 0, done.stderr
    done = command("predict", run, data, "--out", out, "--options.score", "0", "--sampling-steps", "2")
    assert done.returncode == 0, done.stderr
    listed = json.loads(next((out / "instances").glob("*.json")).read_text())
    numbers = np.asarray(Image.open(next((out / "instances").glob("*.png"))))
    assert {one["number"] for one in listed["objects"]} == {*np.unique(numbers).tolist()} - {0}
    done = command("evaluate", out, data, "--metrics", "object_f1", "--json", tmp_path / "scores.json")
    assert done.returncode == 0, done.stderr
    assert "object_f1" in (tmp_path / "scores.json").read_text()
