"""One suite over every method in the catalogue, with its `tiny` preset: what the contract promises holds."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from made import images_for, runs_for
from scantling.contract.capabilities import CAPABILITIES
from scantling.contract.card import Card
from scantling.contract.method import Method, build
from scantling.contract.options import SegmentOptions
from scantling.contract.step import Inference
from scantling.core.errors import DataError
from scantling.core.samples import Batch
from scantling.data.dataset import open_dataset
from scantling.data.loading import load
from scantling.data.splits import divide
from scantling.data.traits import measure_traits
from scantling.inference.answering import segment
from scantling.inference.tiles import Tiler
from scantling.methods.catalogue import CARDS, implementation_of
from scantling.records.run_folder import load_model, save_model
from scantling.training.processes import Processes
from scantling.training.readers import readers_of
from scantling.training.stage_runner import StageRunner
from scantling.training.training import Options, train
from simulated import as_processes, together

CPU = torch.device("cpu")
EACH = [(card, dimensions) for card in CARDS.values() for dimensions in card.dimensions]


def over(cards: Callable[[Card], bool]) -> pytest.MarkDecorator:
    """A test for each method whose card says so, in each number of dimensions."""
    chosen = [each for each in EACH if cards(each[0])]
    return pytest.mark.parametrize("prepared", chosen, ids=[f"{card.name}-{n}d" for card, n in chosen], indirect=True)


trained = over(lambda card: bool(card.fits))
segmenting = over(lambda card: "segment" in card.gives)
generating = over(lambda card: "generate" in card.gives and not card.extra)
choosy = over(lambda card: card.needs not in ((), (("image",),)))


@pytest.fixture(scope="module")
def prepared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Card, int, Path]:
    card, dimensions = request.param
    return card, dimensions, images_for(card, tmp_path_factory.mktemp(card.name), dimensions=dimensions)


@pytest.fixture(scope="module")
def uses(prepared: tuple[Card, int, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    card, _, folder = prepared
    return runs_for(card, folder, tmp_path_factory.mktemp("uses"))


def built(card: Card, folder: Path, uses: dict[str, Path], **settings: Any) -> Method:
    dataset = divide(open_dataset(folder), validation=0.0)
    traits = measure_traits(dataset)
    kind = implementation_of(card)
    models = {role: load_model(run) for role, run in uses.items()}
    return build(kind, kind.Settings.preset("tiny", settings).resolve(traits), traits, seed=1, uses=models)


def quiet() -> Console:
    return Console(quiet=True)


def answers(method: Method, folder: Path, seed: int = 0) -> list[np.ndarray]:
    traits = method.traits
    return [
        segment(
            method,
            load(case, channels=traits.channels, reads=("image", "region")),
            device=CPU,
            tiler=Tiler(),
            options=SegmentOptions(seed=seed),
        ).probabilities
        for case in open_dataset(folder).split("test")
    ]


def maker(card: Card, dimensions: int, folder: Path, uses: dict[str, Path]) -> Method:
    """A method that generates: on the data, or as it is where it needs none."""
    if card.needs:
        return built(card, folder, uses).eval()
    kind = implementation_of(card)
    several = {"dimensions": dimensions} if len(card.dimensions) > 1 else {}
    settings = kind.Settings.preset("tiny", several)
    return build(kind, settings, kind.blank(settings)).eval()


def made(method: Method, count: int, *, seed: int = 0) -> dict[str, torch.Tensor]:
    """What a method generates, by name."""
    with torch.no_grad():
        answer = method.generate(count, Inference(seed=seed, stage="synthesis"))
    images = {} if answer.images is None else {"images": answer.images}
    return {"probabilities": answer.masks, **images, **answer.fields}


def trained_weights(run: Path) -> dict[str, torch.Tensor]:
    """All that a training has changed, what inference does not need included."""
    return {name: t for name, t in load_file(run / "state.safetensors").items() if name.startswith("model/")}


@pytest.mark.parametrize("card", CARDS.values(), ids=list(CARDS))
def test_what_a_card_gives_are_the_bases_of_its_method(card: Card) -> None:
    given = [name for name, kind in CAPABILITIES.items() if issubclass(implementation_of(card), kind)]
    assert given == list(card.gives)


@trained
def test_it_fits_one_batch(prepared: tuple[Card, int, Path], uses: dict[str, Path]) -> None:
    card, _, folder = prepared
    method = built(card, folder, uses, steps=60)
    values = []
    for stage in method.stages():
        reader = readers_of(stage, method, divide(open_dataset(folder), validation=0.0), seed=0)
        play = StageRunner(method, stage, seed=0, device=CPU)
        batch: dict[str, Batch] = {name: each.batch(0) for name, each in reader.items()}
        for step in range(60):
            told = play.step(step, [batch])
            values += [float(terms[card.fits]) for terms in told.values() if card.fits in terms]
    assert np.mean(values[-5:]) < 0.7 * np.mean(values[:5]), f"{card.fits}: {values[0]:.3f} to {values[-1]:.3f}"


@segmenting
def test_odd_sizes_give_answers_of_the_right_shape_and_range(
    prepared: tuple[Card, int, Path], uses: dict[str, Path]
) -> None:
    card, _, folder = prepared
    method = built(card, folder, uses).eval()
    for case, answer in zip(open_dataset(folder).split("test"), answers(method, folder), strict=True):
        assert answer.shape == (len(method.traits.classes), *load(case, reads=("image",)).geometry.shape)
        assert answer.dtype == np.float32
        assert 0 <= answer.min() <= answer.max() <= 1


@segmenting
def test_the_same_seed_gives_the_same_answer(prepared: tuple[Card, int, Path], uses: dict[str, Path]) -> None:
    card, _, folder = prepared
    method = built(card, folder, uses).eval()
    for one, other in zip(answers(method, folder, seed=4), answers(method, folder, seed=4), strict=True):
        assert np.array_equal(one, other)


@segmenting
def test_a_saved_and_loaded_model_gives_the_same_answer(
    prepared: tuple[Card, int, Path], uses: dict[str, Path], tmp_path: Path
) -> None:
    card, _, folder = prepared
    method = built(card, folder, uses).eval()
    save_model(method, tmp_path)
    for one, other in zip(answers(method, folder), answers(load_model(tmp_path), folder), strict=True):
        assert np.array_equal(one, other)
    for _ in range(8):  # equal models are equal files, since a model is known by the hash of its file
        save_model(method, tmp_path / "again")
        for name in ("weights.safetensors", "settings.json", "card.json"):
            assert (tmp_path / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    settings = json.loads((tmp_path / "settings.json").read_text())
    assert implementation_of(card).Settings.model_validate(settings["settings"]) == method.settings


@generating
def test_a_made_image_is_a_function_of_the_seed_and_its_number(
    prepared: tuple[Card, int, Path], uses: dict[str, Path]
) -> None:
    card, dimensions, folder = prepared
    method = maker(card, dimensions, folder, uses)
    five, two, again = (made(method, count, seed=3) for count in (5, 2, 5))
    for name, tensor in five.items():
        assert torch.equal(tensor, again[name]), name
        assert torch.allclose(tensor[:2], two[name], atol=1e-5), name  # however many are made with it
    other = made(method, 5, seed=4)
    assert any(not torch.equal(tensor, other[name]) for name, tensor in five.items())
    assert not torch.equal(five["probabilities"][0], five["probabilities"][1])


@generating
def test_what_is_made_has_the_right_shape_and_range(prepared: tuple[Card, int, Path], uses: dict[str, Path]) -> None:
    card, dimensions, folder = prepared
    method = maker(card, dimensions, folder, uses)
    parts = made(method, 3)
    shape = parts["probabilities"].shape[2:]
    assert len(shape) == dimensions
    for name, tensor in parts.items():
        channels = {"probabilities": len(method.traits.classes), "images": len(method.traits.channels)}.get(name, 1)
        assert tensor.shape == (3, channels, *shape), name
        assert 0 <= tensor.min() <= tensor.max() <= 1, name
    assert parts["probabilities"].float().sum(1).max() <= 1 + 1e-6, "exclusive classes share a pixel"


@trained
def test_what_a_stage_names_is_trained_and_the_rest_is_not(
    prepared: tuple[Card, int, Path], uses: dict[str, Path]
) -> None:
    card, _, folder = prepared
    method = built(card, folder, uses)
    data = divide(open_dataset(folder), validation=0.0)
    for stage in method.stages():
        reader = readers_of(stage, method, data, seed=0)
        play = StageRunner(method, stage, seed=0, device=CPU)
        before = {name: parameter.clone() for name, parameter in method.named_parameters()}
        owned = {id(parameter) for parameters in play.owned.values() for parameter in parameters}
        for step in range(4):  # what starts at zero hides what is below it for a step
            play.step(step, [{name: each.batch(step) for name, each in reader.items()}])
        for name, parameter in method.named_parameters():
            changed = not torch.equal(parameter, before[name])
            assert changed == (id(parameter) in owned), f"stage {stage.name}: {name}"


@trained
def test_an_interrupted_training_ends_with_the_same_weights(
    prepared: tuple[Card, int, Path], uses: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card, _, folder = prepared
    options = Options(preset="tiny", seed=5, validation=0.25, saved_every=0.0, uses=uses)
    train(card.name, [folder], tmp_path / "whole", options, console=quiet())
    original, played = StageRunner.step, 0
    monkeypatch.setattr("scantling.training.trainer.REHEARSED", 1)

    def step(self: StageRunner, *args: Any) -> Any:
        nonlocal played
        played += 1
        if played == 4:  # a rehearsal, two steps, and this one
            raise KeyboardInterrupt
        return original(self, *args)

    monkeypatch.setattr(StageRunner, "step", step)
    with pytest.raises(KeyboardInterrupt):
        train(card.name, [folder], tmp_path / "broken", options, console=quiet())
    train(card.name, [folder], tmp_path / "broken", options, console=quiet())
    whole, broken = (trained_weights(tmp_path / name) for name in ("whole", "broken"))
    assert all(torch.equal(tensor, broken[name]) for name, tensor in whole.items())


@choosy
def test_data_that_lack_what_it_needs_are_refused_in_a_sentence(
    prepared: tuple[Card, int, Path], tmp_path: Path
) -> None:
    card, dimensions, _ = prepared
    bare = images_for(card.model_copy(update={"needs": (("image",),)}), tmp_path / "bare", dimensions=dimensions)
    with pytest.raises(DataError, match=rf"{card.name} cannot learn from .*no training case has"):
        train(card.name, [bare], tmp_path / "run", Options(preset="tiny"), console=quiet())
    assert not (tmp_path / "run" / "run.json").exists()


SWITCHED_ON: dict[str, Any] = {"dropout": 0.2, "crossing": 1.0, "contrast": 1.0, "interleave": 1, "patch": 16}
"""Settings that touch randomness or statistics and that `tiny` leaves off."""


@trained
def test_the_weights_do_not_depend_on_how_a_batch_is_divided(
    prepared: tuple[Card, int, Path], uses: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card, _, folder = prepared
    fields = implementation_of(card).Settings.model_fields
    settings = {name: value for name, value in SWITCHED_ON.items() if name in fields}
    if not {"contrast"} & settings.keys():
        settings.pop("patch", None)
    options = Options(preset="tiny", settings=settings, precision="float64", validation=0.25, threads=1, uses=uses)
    monkeypatch.setattr("scantling.training.trainer.REHEARSED", 1)
    ways = {"whole": (1, 1), "processes": (2, 1), "accumulated": (1, 2)}

    own = threading.local()
    monkeypatch.setattr("scantling.training.training.processes", lambda device: as_processes(own.group))

    def work(out: Path, accumulation: int, group: Processes) -> None:
        own.group = group
        train(card.name, [folder], out, replace(options, accumulation=accumulation), console=quiet())

    for name, (count, accumulation) in ways.items():
        together(count, partial(work, tmp_path / name, accumulation))
    whole, *others = (trained_weights(tmp_path / name) for name in ways)
    for name, tensor in whole.items():
        assert tensor.dtype == torch.float64 or not tensor.is_floating_point()
        for way, other in zip(("processes", "accumulated"), others, strict=True):
            far = (tensor - other[name]).abs().max().item() if tensor.numel() else 0
            assert torch.allclose(tensor, other[name], rtol=0, atol=1e-9), (way, name, far)
