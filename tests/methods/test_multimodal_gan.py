"""The multimodal GAN: its equations, its switches, where lesions are placed, and what a made case says of itself."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from torch import Tensor

from made import write
from scantling.contract.method import build
from scantling.contract.stage import Stage
from scantling.contract.step import Inference, Step
from scantling.core.case import Case, Labels
from scantling.core.errors import DataError, RunError, SettingsError
from scantling.core.samples import Batch, Intensity, Traits
from scantling.inference.synthesis import synthesize
from scantling.methods.generation.label_placing import NUMBERS, LabelBank, operations, placed, transformed
from scantling.methods.generation.modality_games import fused
from scantling.methods.generation.multimodal_gan import MultimodalGan
from scantling.methods.generation.multimodal_settings import (
    CODE,
    MultimodalGanOptions,
    MultimodalGanSettings,
)
from scantling.records.run_folder import load_model, save_model
from scantling.training import Options, train
from scantling.training.stage_runner import StageRunner

SIDE = 16
SMALL = {"size": (SIDE, SIDE), "code": 2, "width": 4, "judge": 4, "coder": 4, "coder_stages": 2, "judge_stages": 2}
SMALL |= {"organ_width": 4, "steps": 8, "batch": 2, "image_batch": 2}
QUIET = Console(quiet=True)


def traits(channels: int = 3, **changes: Any) -> Traits:
    intensity = Intensity(mean=100, std=40, low=0, high=250, minimum=0, maximum=255)
    facts: dict[str, Any] = {
        "dimensions": 2, "channels": tuple("abcd"[:channels]), "labels": Labels(names=("lesion",), values=((255,),)),
        "spacing": (1.0, 1.0), "shape": (40, 44), "smallest": (40, 40), "intensity": (intensity,) * channels,
        "labelled": 4,
    }  # fmt: skip
    return Traits.model_validate(facts | changes)


def method(facts: Traits | None = None, preset: str = "tiny", **changes: Any) -> MultimodalGan:
    facts = facts or traits()
    settings = MultimodalGanSettings.preset(preset, {**SMALL, "with_masks": True, **changes}).resolve(facts)
    return build(MultimodalGan, settings, facts).eval()


def batch_of(stage: Stage, model: MultimodalGan) -> dict[str, Batch]:
    """A batch for each stream of a stage: an organ in the middle, a lesion in it."""
    draw, found = torch.Generator().manual_seed(0), {}
    for stream in stage.streams:
        count, fields, boxes = stream.batch, dict[str, Tensor](), dict[str, Tensor]()
        organ = torch.ones(count, 1, *model.settings.shape)
        organ[..., 4:-4, 4:-4] = 0
        for name in stream.fields:
            if name == "image":
                fields[name] = torch.rand((count, len(model.traits.channels), *organ.shape[2:]), generator=draw) * 2 - 1
            elif name == "mask":
                fields[name] = torch.zeros(organ.shape, dtype=torch.uint8)
                fields[name][..., 6:9, 7:10] = 1
            elif name == "boxes":
                fields[name] = torch.tensor([[[6.0, 9.0], [7.0, 10.0]]]).expand(count, 1, 2, 2)
                boxes["boxes"] = torch.zeros(count, 1, dtype=torch.int64)
            elif name == "image_class":
                fields[name] = torch.arange(count) % 2
            elif name in ("structure", "organ"):
                fields[name] = organ if name == "organ" else (torch.rand(organ.shape, generator=draw) > 0.8).float()
        found[stream.name] = Batch(
            torch.arange(count), torch.arange(count), fields, ids=("one", "two", "three")[:count],
            counts={name: each.new_ones(count) for name, each in boxes.items()}, classes=boxes,
        )  # fmt: skip
    return found


def steps_of(model: MultimodalGan) -> dict[str, Mapping[Any, Any]]:
    """A step of each stage: the terms of its losses by player."""
    return {
        stage.name: StageRunner(model, stage, seed=0, device=torch.device("cpu")).step(0, [batch_of(stage, model)])
        for stage in model.stages()
    }


def held(model: MultimodalGan, label: Tensor) -> MultimodalGan:
    """The model with this label (H, W) in its bank, and organs that fill the image but for a border."""
    assert model.bank is not None
    model.bank.keep(label[None], "parent", coin=0.0)
    model.outside_of = lambda s: torch.nn.functional.pad(s[..., 4:-4, 4:-4] * 0, [4] * 4, value=1.0)  # type: ignore[method-assign]
    return model


# the equations


def test_noise_fills_the_organ_and_leaves_strokes_and_air() -> None:
    draw = torch.Generator().manual_seed(0)
    s = (torch.rand(1, 1, 20, 20, generator=draw) > 0.8).float()
    m = torch.zeros_like(s)
    m[..., :5] = 1
    s = s * (1 - m)
    found = fused(s, m, torch.rand(s.shape, generator=draw))
    grey = (found >= 0.5) & (found <= 0.6)
    assert found[s == 1].eq(1).all()
    assert found[m == 1].eq(0).all()
    assert grey[(s == 0) & (m == 0)].all()


def test_strokes_are_forbidden_outside_the_organ_and_nowhere_else() -> None:
    drawn = torch.rand(1, 1, 6, 6).requires_grad_()
    m = torch.zeros(1, 1, 6, 6)
    m[..., :2] = 1
    (slope,) = torch.autograd.grad((m * drawn).square().mean(), drawn)
    assert slope[m == 0].eq(0).all()
    assert slope[m == 1].gt(0).all()


@pytest.mark.parametrize("on_made", [False, True])
@pytest.mark.parametrize("loss", ["softmax", "regression"])
def test_the_class_head_learns_of_real_images_alone_unless_told(on_made: bool, loss: str) -> None:
    model = method(class_on_made=on_made, class_loss=loss)
    x, fake = torch.rand(2, 3, 1, SIDE, SIDE), torch.rand(6, 1, SIDE, SIDE)
    total, number = torch.tensor(6.0), torch.arange(3).repeat(2)
    terms = model._judged(model.judge, x, torch.ones(2, 3), fake, number, Step(seed=0), total)
    other = model._judged(model.judge, x, torch.ones(2, 3), fake.flip(0) ** 2, number, Step(seed=0), total)
    assert torch.equal(terms["class"], other["class"])
    assert ("class of made" in terms) == on_made


def test_no_term_needs_two_modalities_of_one_patient() -> None:
    model = method()
    x, there = torch.rand(3, 3, 1, SIDE, SIDE), torch.tensor([[1.0, 0, 0], [0, 1, 0], [1, 1, 1]])
    shuffled = torch.stack([x[:, 0], x[[1, 0, 2], 1], x[[2, 1, 0], 2]], 1)
    fake, number, total = torch.rand(9, 1, SIDE, SIDE), torch.arange(3).repeat(3), torch.tensor(9.0)
    all_there = torch.ones(3, 3)
    before, after = (
        model._judged(model.judge, each, all_there, fake, number, Step(seed=0), total) for each in (x, shuffled)
    )
    for name in before:
        assert before[name].item() == pytest.approx(after[name].item(), rel=1e-5)
    absent = x.clone()
    absent[0, 1:], absent[1, 0] = 7.0, -3.0  # channels that are not there
    before, after = (
        model._judged(model.judge, each, there, fake, number, Step(seed=0), there.sum()) for each in (x, absent)
    )
    assert {name: one.item() for name, one in before.items()} == {name: one.item() for name, one in after.items()}


def test_drawn_pairs_of_modalities_weigh_as_much_as_all_of_them() -> None:
    model = method()
    images = Batch(torch.arange(2), torch.arange(2), {"image": torch.rand(2, 3, SIDE, SIDE)})
    found = []
    for shifts in ([1], [2], [1, 2]):
        model._pairs = lambda step, shifts=shifts: iter(shifts)  # type: ignore[method-assign, misc]
        game = model._translating(images, Step(seed=0))
        total = next(game)
        terms = [game.send(total.part)[1], next(game)[1]]  # type: ignore[union-attr, index]
        found.append({name: float(term.detach()) for part in terms for name, term in part.items() if name != "real"})
    for name in found[0]:
        assert found[2][name] == pytest.approx((found[0][name] + found[1][name]) / 2, rel=1e-4), name


def test_weights_are_those_of_the_text_or_of_the_code() -> None:
    text, code = (MultimodalGanSettings.preset("paper", {"weights": name}) for name in ("text", "code"))
    assert {text.weight(name) for name in CODE} == {0.0, 1.0}
    assert (code.weight("registration"), code.weight("codes fooled"), text.weight("moments")) == (20, 0.001, 0)


def test_the_painter_may_learn_at_a_rate_of_its_own_once_it_has_a_judge() -> None:
    for changes, expected in (({}, (1e-2, 1e-2, 1e-2)), ({"painting_rate": 1e-4}, (1e-2, 1e-4, 1e-2))):
        stages = {stage.name: stage for stage in method(**changes).stages()}
        rates = [player.rate for name in ("pretraining", "images") for player in stages[name].players]
        assert tuple(rates) == expected


# the switches


@pytest.mark.parametrize("off", ["structures", "organ_filter", "noise", "registration", "lesion_loss", "pretraining"])
def test_every_switch_goes_off_alone(off: str) -> None:
    model = method(**{off: False})
    of, names = model.settings, [stage.name for stage in model.stages()]
    assert hasattr(model, "translator") == of.registration == (off != "registration")
    assert hasattr(model, "recognisers") == of.lesion_loss == (off != "lesion_loss")
    assert ("structures" in names) == of.structures == (off != "structures")
    assert ("pretraining" in names) == (off not in ("structures", "pretraining"))
    assert of.organ_filter == (off not in ("organ_filter", "structures"))
    if off in ("structures", "registration"):
        found = steps_of(model)
        assert set(found) == set(names)
        assert ("registration" in found["images"]["painter"]) == (off != "registration")
    made = model.generate(2, Inference(seed=0, number=0, options=MultimodalGanOptions()))
    assert made.images is not None
    assert made.images.shape == (2, 3, SIDE, SIDE)


def test_one_channel_is_legal_and_has_nothing_to_tell_apart() -> None:
    model = method(traits(1))
    assert model.painter.joined is None
    assert model.judge.classes is None
    assert not hasattr(model, "translator")
    assert "class" not in steps_of(model)["images"]["painter"]


PRESETS = ("brats", "fundus", "xray", "lung-ct", "tianchi")


@pytest.mark.parametrize("preset", PRESETS)
def test_each_preset_of_the_thesis_runs_a_step(preset: str) -> None:
    facts = traits(3, image_classes=("healthy", "pneumonia"))
    model = method(facts, preset, with_masks=MultimodalGanSettings.preset(preset).with_masks, image_batch=1)
    for terms in steps_of(model).values():
        assert all(torch.isfinite(torch.as_tensor(term)).all() for one in terms.values() for term in one.values())
    made = model.generate(1, Inference(seed=0, number=0, options=MultimodalGanOptions()))
    assert (made.masks is not None) == (preset in ("brats", "fundus"))
    assert bool(made.instances) == (preset == "tianchi")
    assert (made.image_classes is not None) == (preset == "xray")


def test_the_networks_fit_together_at_full_size() -> None:
    facts = traits()
    settings = MultimodalGanSettings.preset("paper").resolve(facts)
    with torch.device("meta"):
        model = MultimodalGan(settings, facts)
        s = model.sketcher(torch.empty(1, settings.code**2))
        assert s.shape == (1, 1, *settings.shape) == model.outside_of(s).shape
        assert model.encoder(torch.cat([s, s], 1))[0].shape == (1, 4096)
        told = torch.empty(1, 1 + model.planes, *settings.shape)
        assert model.painter(told, torch.zeros(1, dtype=torch.int64)).shape[1] == model.width


def test_what_the_data_cannot_give_is_refused_in_a_sentence() -> None:
    for changes, facts, words in (
        ({"with_masks": True}, traits(labels=None), "no classes"),
        ({"with_masks": False, "with_classes": True}, traits(image_classes=("one",)), "two or more"),
        ({"with_classes": True}, traits(), "a lesion has a mask, a box or a class"),
        ({"with_masks": False, "with_boxes": True}, traits(labels=None), "declare 'classes'"),
        ({"vessels": True}, traits(), "vessels"),
        ({"source": "flair"}, traits(), "a, b, c"),
        ({"structures_of": "well"}, traits(image_classes=("healthy", "sick")), "found the image classes healthy, sick"),
        ({"structures_of": "well"}, traits(), "found the image classes none"),
    ):
        with pytest.raises(SettingsError, match=words):
            method(facts, **changes)


def test_structures_may_come_from_the_images_of_one_class_alone() -> None:
    of = method(traits(image_classes=("healthy", "sick")), structures_of="healthy", with_masks=False)
    cases = [Case(id=name, subject=name, image_class=name) for name in ("healthy", "sick")]
    taken = {
        stage.name: [
            case.id for case in cases for stream in stage.streams
            if stream.name == "structures" and not any(case.has(what) for what in stream.without)
        ]
        for stage in of.stages()
    }  # fmt: skip
    assert taken["structures"] == taken["images"] == ["healthy"]
    assert taken["pretraining"] == ["healthy", "sick"]
    assert "of the class 'healthy' alone" in of.settings.explain(of.traits)[-1]
    assert of.card.chosen(of.settings).needs == (("image", "image_class"),), "a class that is read counts as a label"


@pytest.mark.parametrize(("image", "words"), [("bright", "never dark"), ("flat", "background alone")])
def test_images_without_an_organ_are_refused_unless_all_of_them_is_one(image: str, words: str) -> None:
    pixels = torch.full((1, 3, SIDE, SIDE), 0.3)
    if image == "bright":
        pixels = 1 - 0.05 * torch.rand(1, 3, SIDE, SIDE)
        pixels[..., 0, 0] = -1
    batch = Batch(torch.arange(1), torch.arange(1), {"image": pixels})
    with pytest.raises(DataError, match=words):
        method(rule="xray").look_for_organs(lambda name: [batch], Step(seed=0))
    method(organ=False).look_for_organs(lambda name: [batch], Step(seed=0))


# where lesions are placed


def numbers(tries: int = 100, seed: int = 0) -> Tensor:
    return torch.rand(tries, NUMBERS, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_a_label_is_placed_inside_the_organ_with_about_its_area() -> None:
    label, outside = torch.zeros(1, 40, 48, dtype=torch.bool), torch.ones(40, 48, dtype=torch.bool)
    label[0, 8:14, 6:14] = True
    outside[10:36, 8:44] = False
    for seed in range(8):
        found = placed(label, outside, numbers(seed=seed))
        assert found.fits
        assert not (found.label & outside).any()
        assert 0.4 * label.sum() < found.label.sum() < 1.3 * label.sum()
    whole = placed(label, ~outside & False, numbers())
    assert whole.tries <= 5  # nearly everything fits where all of the image is organ


def test_a_label_that_is_larger_than_the_organ_is_given_up_and_an_empty_one_always_fits() -> None:
    label, outside = torch.ones(1, 30, 30, dtype=torch.bool), torch.ones(30, 30, dtype=torch.bool)
    outside[10:20, 10:20] = False
    found = placed(label, outside, numbers(30))
    assert (found.fits, found.tries, bool(found.label.any())) == (False, 30, False)
    assert placed(label & False, outside, numbers(1)).fits
    label, outside = torch.zeros(1, 30, 30, dtype=torch.bool), torch.zeros(30, 30, dtype=torch.bool)
    label[0, 12, 14] = True  # of a single pixel something is left
    assert all(placed(label, outside, numbers(seed=seed)).label.any() for seed in range(20))


def test_operations_turn_mirror_move_and_shrink_about_the_middle() -> None:
    label = torch.zeros(1, 21, 25, dtype=torch.bool)
    label[0, 4:9, 5:8] = True
    unmoved = torch.eye(3, dtype=torch.float64)[None, :2]
    assert torch.equal(transformed(label, unmoved)[0], label)
    matrices, areas = operations(numbers(400), (21, 25))
    lengths = torch.linalg.det(matrices[:, :, :2]).abs()
    assert torch.allclose(1 / lengths, areas)  # what is shrunk covers as much less
    assert areas.max() == 1.0
    assert areas.min() > (1 - 7 / 21) * (1 - 7 / 25) - 1e-9
    flips = [torch.equal(transformed(label, torch.diag(torch.tensor(d)).double()[None, :2])[0], label.flip(axis))
             for axis, d in ((1, [-1.0, 1.0, 1.0]), (2, [1.0, -1.0, 1.0]))]  # fmt: skip
    assert flips == [True, True]


def test_the_border_of_the_image_is_symmetric() -> None:
    outside = torch.zeros(16, 16, dtype=torch.bool)
    for axis, place in ((0, 0), (0, 15), (1, 0), (1, 15)):
        one = outside.clone()
        one.select(axis, place).fill_(True)
        label = torch.ones(1, 16, 16, dtype=torch.bool)
        assert not placed(label, one, numbers(5)).fits or not (placed(label, one, numbers(5)).label & one).any()


def test_the_bank_keeps_each_label_with_its_name() -> None:
    bank = LabelBank(2, (1, 4, 4))
    for number in range(5):
        label = torch.zeros(1, 4, 4, dtype=torch.bool)
        label[0, 0, : number % 4 + 1] = True
        bank.keep(label, f"case {number}", coin=0.3)
    assert len(bank) == 2
    again = LabelBank(2, (1, 4, 4))
    again.load_state_dict(bank.state_dict())
    label, name = again.label(1)
    assert label.sum() == int(name[-1]) % 4 + 1


# what is made


def test_a_made_case_has_its_lesion_inside_the_organ_and_says_whose_it_is() -> None:
    label = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    label[2:5, 2:5] = True
    model = held(method(), label)
    made = model.generate(3, Inference(seed=1, number=4, options=MultimodalGanOptions()))
    assert made.masks is not None
    assert made.images is not None
    assert made.masks.flatten(1).any(1).all()
    assert not (made.masks & (made.fields["organ"] < 0.5)).any()
    assert [*made.parents] == [("parent",)] * 3
    alone = model.generate(1, Inference(seed=1, number=5, options=MultimodalGanOptions()))
    assert alone.masks is not None
    assert torch.equal(alone.masks[0], made.masks[1])
    assert alone.images is not None
    assert torch.allclose(alone.images[0], made.images[1], atol=1e-5)


def test_the_modalities_of_a_case_tell_of_each_other_and_not_of_other_cases() -> None:
    model, draw = method(with_masks=False, width=8), torch.Generator().manual_seed(3)
    drawn = iter((torch.rand(6, 1, 1, SIDE, SIDE, generator=draw) > 0.7).float())
    model.drawn_structures = lambda z: (next(drawn), torch.zeros(1, 1, SIDE, SIDE))  # type: ignore[method-assign]
    made = model.generate(6, Inference(seed=0, number=0, options=MultimodalGanOptions()))
    assert made.images is not None

    def information(a: Tensor, b: Tensor) -> float:
        """Mutual information of the ranks of two images, in 4 x 4 equal parts."""
        parts = [one.flatten().argsort().argsort() * 4 // one.numel() for one in (a, b)]
        together = torch.bincount(4 * parts[0] + parts[1], minlength=16).view(4, 4) / a.numel()
        apart = together.sum(1, keepdim=True) * together.sum(0)
        return float(torch.special.xlogy(together, together / apart).sum())

    pairs = list(itertools.permutations(range(6), 2))
    same = [information(one[a], one[b]) for one in made.images for a, b in ((0, 1), (0, 2), (1, 2))]
    shuffled = [information(made.images[i, 0], made.images[j, 1]) for i, j in pairs]
    assert min(same) > max(shuffled)


@pytest.mark.parametrize("name", ["helpers", "images"])
def test_patients_with_disjoint_modalities_train_what_needs_no_pairs(name: str) -> None:
    first = method(pretraining=False, lesion_loss=False)
    one_each = torch.eye(3, dtype=torch.bool)[:2]  # the first has the first modality alone, the second the second
    found = []
    for absent in (0.0, 7.0):  # what lies in channels that are not there
        model = deepcopy(first)
        stage = next(one for one in model.stages() if one.name == name)
        batch = batch_of(stage, model)
        image = batch["images"].image.masked_fill(~one_each[..., None, None], absent)
        batch["images"] = replace(batch["images"], fields={"image": image}, present={"image": one_each})
        found.append(StageRunner(model, stage, seed=0, device=torch.device("cpu")).step(0, [batch]))
    for player, terms in found[0].items():
        for term, value in terms.items():
            assert float(value) == pytest.approx(float(found[1][player][term]), rel=1e-4), (player, term)


def test_a_lesion_larger_than_every_organ_is_said() -> None:
    model = held(method(), torch.ones(SIDE, SIDE, dtype=torch.bool))
    with pytest.raises(RunError, match=r"in 10 turns each in 2 organs; the lesions are larger"):
        model.generate(1, Inference(seed=0, number=0, options=MultimodalGanOptions(tries=10, organs=2)))


def test_a_walk_goes_from_one_code_to_the_next_in_small_steps() -> None:
    model = method()
    like = torch.empty(1, 1, SIDE, SIDE)
    codes = [model._on_the_way(Inference(seed=3, number=n), 6, like) for n in range(13)]
    steps = [float((b - a).norm()) for a, b in itertools.pairwise(codes)]
    assert max(steps) < 0.6 * float((codes[6] - codes[0]).norm())
    assert float((codes[5] - codes[6]).norm()) < float((codes[0] - codes[6]).norm())
    with pytest.raises(SettingsError, match="noise"):
        method(structures=False).generate_options(MultimodalGanOptions(walk=3))
    with pytest.raises(SettingsError, match="take one"):
        model.generate_options(MultimodalGanOptions(walk=3, realistic=0.5))


def test_a_code_of_the_user_draws_its_structure(tmp_path: Path) -> None:
    model, file = method(with_masks=False), tmp_path / "codes.npy"
    codes = np.random.default_rng(0).standard_normal((2, 4))
    np.save(file, codes)
    options = model.generate_options(MultimodalGanOptions(codes=file))
    made = model.generate(3, Inference(seed=0, number=0, options=options)).fields["sketch"]
    assert torch.equal(made[:2], model.drawn_structures(torch.from_numpy(codes).float())[0])
    assert torch.equal(made[2], made[0]), "the third case takes the first code again"
    for array, words in (
        (codes[:, :3], r"the shape \(2, 3\)"),
        (codes * np.nan, "not finite"),
        (codes > 0, "no numbers"),
        (codes * 0 + 1e300, "not finite"),
    ):
        np.save(tmp_path / "other.npy", array)
        with pytest.raises(SettingsError, match=words):
            model.generate_options(MultimodalGanOptions(codes=tmp_path / "other.npy"))
    with pytest.raises(SettingsError, match="cannot be read"):
        model.generate_options(MultimodalGanOptions(codes=tmp_path / "none.npy"))
    (tmp_path / "torn.npy").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(SettingsError, match="cannot be read"):
        model.generate_options(MultimodalGanOptions(codes=tmp_path / "torn.npy"))
    with pytest.raises(SettingsError, match=r"--options.walk, --options.codes: codes that are given"):
        model.generate_options(MultimodalGanOptions(walk=2, codes=file))


def test_training_cases_without_any_lesion_are_refused() -> None:
    batch = Batch(torch.arange(1), torch.arange(1), {"mask": torch.zeros(1, 1, SIDE, SIDE, dtype=torch.uint8)})
    with pytest.raises(DataError, match="no training case shows lesion"):
        method(structures=False).look_back(lambda name: [batch], Step(seed=0))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny training on four slices of a head with a lesion, three of them for training."""
    folder, draw = tmp_path_factory.mktemp("heads"), np.random.default_rng(0)
    rows, columns = np.mgrid[:40, :44]
    for number in range(4):
        head = np.hypot(rows - 20, columns - 22) < 15 + number % 2
        lesion = np.hypot(rows - 17, columns - 19 - number) < 3
        image = np.stack([40 + 90 * head + k * lesion + draw.normal(0, 4, head.shape) for k in (20, 80, 50)], -1)
        part = folder / ("train" if number < 3 else "test")
        (part / "images").mkdir(parents=True, exist_ok=True)
        colour = Image.fromarray((image * head[..., None]).clip(0, 255).astype(np.uint8))
        colour.save(part / "images" / f"case{number}.png")
        write(part / "masks", f"case{number}", (lesion * 255).astype(np.uint8))
    settings = {**SMALL, "with_masks": True}
    train(
        "multimodal-gan",
        [folder],
        folder / "run",
        Options(preset="tiny", validation=0.0, settings=settings),
        console=QUIET,
    )
    return folder / "run"


def test_three_slices_make_cases_whose_origin_names_the_parents_of_their_lesions(run: Path, tmp_path: Path) -> None:
    model = load_model(run)
    assert isinstance(model, MultimodalGan)
    assert model.bank is not None
    assert len(model.bank) == 3
    assert 0 < float(model.cut) < 1
    model.organ_net.head.bias.data.fill_(-50)  # organs of a training of eight steps may be anything: here all is one
    save_model(model, run / "model")
    synthesize(run, count=3, out=tmp_path / "made")
    manifest = json.loads((tmp_path / "made" / "scantling.json").read_text())
    for case in manifest["case"]:
        assert case["origin"]["parents"][0].startswith("case")
        assert case["origin"]["hand_drawn"] == 3
        assert (tmp_path / "made" / case["images"]["image"]).is_file()
    assert {path.name for path in (tmp_path / "made").iterdir()} >= {"images", "masks", "sketches", "organ"}


def test_lesions_with_boxes_make_cases_with_boxes_inside_their_organs(tmp_path: Path) -> None:
    draw, rows, columns = np.random.default_rng(0), *np.mgrid[:40, :44]
    cases = []
    for number in range(3):
        head = np.hypot(rows - 20, columns - 22) < 16
        image = 40 + 90 * head + draw.normal(0, 4, head.shape)
        image[15:21, 18:24] += 60
        write(tmp_path / "data" / "images", f"case{number}", (image * head).clip(0, 255).astype(np.uint8))
        boxes = {"boxes": [[[15, 21], [18, 24]]], "box_classes": ["nodule"]} if number < 2 else {"boxes": []}
        cases.append({"id": f"case{number}", "images": f"images/case{number}.png", "split": "train", **boxes})
    manifest = {"name": "heads", "classes": {"nodule": 255}, "case": cases}
    (tmp_path / "data" / "scantling.json").write_text(json.dumps(manifest))
    options = Options(preset="tiny", validation=0.0, settings={**SMALL, "with_masks": False, "with_boxes": True})
    train("multimodal-gan", [tmp_path / "data"], tmp_path / "run", options, console=QUIET)
    model = load_model(tmp_path / "run")
    assert isinstance(model, MultimodalGan)
    assert model.bank is not None
    assert len(model.bank) == 2, "the case without a lesion has no label"
    model.organ_net.head.bias.data.fill_(-50)  # all is organ
    save_model(model, tmp_path / "run" / "model")
    synthesize(tmp_path / "run", count=3, out=tmp_path / "made")
    for case in json.loads((tmp_path / "made" / "scantling.json").read_text())["case"]:
        (box,) = case["boxes"]
        assert case["box_classes"] == ["nodule"]
        assert all(0 <= start < stop <= side for (start, stop), side in zip(box, (SIDE, SIDE), strict=True))
        assert case["origin"]["parents"][0] in {"case0", "case1"}
        assert "masks" not in case


def test_a_turned_box_becomes_the_box_around_it() -> None:
    label = torch.zeros(2, 24, 24, dtype=torch.bool)
    label[0, 8:14, 9:17] = label[1, 15:18, 4:7] = True
    numbers = torch.rand(40, NUMBERS, generator=torch.Generator().manual_seed(1))
    one = placed(label, torch.zeros(24, 24, dtype=torch.bool), numbers, boxes=True)
    assert one.fits
    for layer in one.label:
        places = layer.nonzero()
        low, high = places.amin(0), places.amax(0) + 1
        assert int(layer.sum()) == int((high - low).prod())


def test_a_box_that_is_cut_off_at_the_border_is_turned_again_as_a_mask_is() -> None:
    label, inside = torch.zeros(1, 24, 24, dtype=torch.bool), torch.zeros(24, 24, dtype=torch.bool)
    label[0, 1, 1:22] = True  # turned, half of it leaves the image, and the box around the rest is large
    rows = torch.rand(40, 1, NUMBERS, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    fits = [[placed(label, inside, row, boxes=boxes).fits for row in rows] for boxes in (False, True)]
    assert fits[0] == fits[1]
    assert 0 < sum(fits[0]) < len(rows)
