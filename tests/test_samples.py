"""Many samples: of chains, of dropout and of ensembles; what is written of them, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from made import images_for
from scantling.data.dataset import open_dataset
from scantling.data.files import read
from scantling.data.loading import load
from scantling.errors import RunError, SettingsError
from scantling.inference import predict
from scantling.inference.answering import Answered, segment
from scantling.inference.tiles import Tiler
from scantling.methods import mask_diffusion
from scantling.methods.catalogue import CARDS
from scantling.methods.contract import Asked, Method
from scantling.runs import load_model
from scantling.training import Options, train

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return images_for(CARDS["berdiff"], tmp_path_factory.mktemp("data"), dimensions=2)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("berdiff") / "run"
    train("berdiff", [data], out, Options(preset="tiny", steps=30, validation=0.0), console=Console(quiet=True))
    return out


@pytest.fixture(scope="module")
def unets(data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, runs = tmp_path_factory.mktemp("unets"), []
    for seed in range(2):
        runs.append(folder / f"seed-{seed}")
        options = Options(preset="tiny", steps=20, validation=0.0, seed=seed, settings={"dropout": 0.3})
        train("unet", [data], runs[-1], options, console=Console(quiet=True))
    return runs


def answer(method: Method, data: Path, **how: Any) -> Answered:
    case = open_dataset(data).split("test")[0]
    sample = load(case, channels=method.traits.channels, reads=("image", "region"))
    return segment(method, sample, device=CPU, tiler=Tiler(memory=how.pop("memory", None)), **how)


def test_a_sample_does_not_depend_on_how_many_are_drawn_or_drawn_together(
    run: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = load_model(run).eval()
    many = answer(method, data, asked=Asked(samples=5))
    few = answer(method, data, asked=Asked(samples=3))
    monkeypatch.setitem(mask_diffusion.TOGETHER, "cpu", 1)
    alone = answer(method, data, asked=Asked(samples=5))
    for number in range(5):
        np.testing.assert_allclose(many.samples[number], alone.samples[number], atol=1e-5)
        if number < 3:
            np.testing.assert_allclose(many.samples[number], few.samples[number], atol=1e-5)


def test_samples_differ_and_their_mean_is_the_answer(run: Path, data: Path) -> None:
    found = answer(load_model(run).eval(), data, asked=Asked(samples=4, fuse="mean"))
    drawn = np.stack(list(found.samples))
    assert len({sample.tobytes() for sample in drawn}) == 4
    np.testing.assert_allclose(found.probabilities, drawn.mean(0), atol=1e-6)
    assert found.uncertainty is not None
    np.testing.assert_allclose(found.uncertainty["deviation"], drawn.std(0)[0], atol=1e-5)


def test_a_condition_that_is_computed_once_gives_the_samples_of_one_computed_at_every_step(
    run: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = load_model(run).eval()
    once, looked = answer(method, data, asked=Asked(samples=2)), []
    condition = type(method).condition
    monkeypatch.setattr(
        type(method), "condition", lambda self, image: looked.append(tuple(image.shape)) or condition(self, image)
    )
    again = answer(method, data, asked=Asked(samples=2), memory=1)
    assert len(looked) > 3, "tiles smaller than the image look for themselves"
    answer(method, data, asked=Asked(samples=2))
    whole = [shape for shape in looked if shape[2:] == once.probabilities.shape[1:]]
    assert len(whole) == 2, "once for each of the two answers"
    assert again.probabilities.shape == once.probabilities.shape


def test_dropout_draws_samples_that_a_seed_repeats_and_leaves_no_trace(unets: list[Path], data: Path) -> None:
    method = load_model(unets[0]).eval()
    plain = answer(method, data)
    state = torch.random.get_rng_state()
    one, other = (answer(method, data, asked=Asked(samples=3), seed=7) for _ in range(2))
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(np.array_equal(a, b) for a, b in zip(one.samples, other.samples, strict=True))
    assert not np.array_equal(one.samples[0], one.samples[1])
    assert np.array_equal(answer(method, data).probabilities, plain.probabilities)
    assert not len(plain.samples)


def test_predict_writes_samples_and_doubt_and_goes_on_where_it_was(run: Path, data: Path, tmp_path: Path) -> None:
    asked = Asked(samples=3, steps=2, fuse="staple")
    done = predict(run, data, out=tmp_path, split="test", asked=asked, probabilities=True)
    facts = json.loads((tmp_path / "predictions.json").read_text())
    assert facts["calls"] == 6
    assert facts["options"]["fuse"] == "staple"
    for case in facts["cases"]:
        assert case["samples"] == [f"samples/{case['id']}/{number:02d}.png" for number in range(3)]
        assert all(set(np.unique(np.asarray(Image.open(tmp_path / name)))) <= {0, 255} for name in case["samples"])
        map_ = read(tmp_path / case["uncertainty_maps"]["deviation"]).array
        assert case["uncertainty"]["deviation"] == pytest.approx(float(map_.mean()), abs=1e-6)
    again = predict(run, data, out=tmp_path, split="test", asked=asked, probabilities=True)
    assert again.skipped == len(done.cases)
    (tmp_path / facts["cases"][0]["samples"][1]).unlink()
    assert predict(run, data, out=tmp_path, split="test", asked=asked, probabilities=True).skipped == again.skipped - 1
    with pytest.raises(RunError, match="made otherwise"):
        predict(run, data, out=tmp_path, split="test", asked=Asked(samples=2), probabilities=True)


def test_an_ensemble_is_the_mean_of_its_runs(unets: list[Path], data: Path, tmp_path: Path) -> None:
    for name, first, others in (("0", unets[0], ()), ("1", unets[1], ()), ("both", unets[0], unets[1:])):
        predict(first, data, out=tmp_path / name, split="test", others=others, probabilities=True)
    for case in json.loads((tmp_path / "both" / "predictions.json").read_text())["cases"]:
        maps = {name: read(tmp_path / name / case["probability"]).array for name in ("0", "1", "both")}
        np.testing.assert_allclose(maps["both"], (maps["0"] + maps["1"]) / 2, atol=1e-6)
        assert len(case["samples"]) == 2


def test_what_cannot_be_asked_is_refused_before_anything_is_written(
    run: Path, unets: list[Path], data: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="the chain has 20 steps; take 1 to 20"):
        predict(run, data, out=tmp_path / "out", asked=Asked(steps=21))
    with pytest.raises(SettingsError, match="runs no chain"):
        predict(unets[0], data, out=tmp_path / "out", asked=Asked(steps=2))
    with pytest.raises(SettingsError, match="--views"):
        predict(run, data, out=tmp_path / "out", views=True)
    assert not (tmp_path / "out").exists()


def test_a_model_without_dropout_has_no_samples_to_give(data: Path, tmp_path: Path) -> None:
    train("unet", [data], tmp_path / "run", Options(preset="tiny", validation=0.0), console=Console(quiet=True))
    with pytest.raises(SettingsError, match="has no dropout"):
        predict(tmp_path / "run", data, out=tmp_path / "out", asked=Asked(samples=4))


def test_more_classes_than_the_paper_knows_are_refused(tmp_path: Path) -> None:
    data = images_for(CARDS["berdiff"], tmp_path / "data", dimensions=2, classes=2)
    with pytest.raises(SettingsError, match="one class only; the data have 2"):
        train("berdiff", [data], tmp_path / "run", Options(preset="tiny"), console=Console(quiet=True))


def test_images_smaller_than_the_deepest_level_are_refused(data: Path, tmp_path: Path) -> None:
    options = Options(preset="tiny", settings={"widths": (8,) * 7})
    with pytest.raises(SettingsError, match="7 levels need images of 64 pixels a side"):
        train("berdiff", [data], tmp_path / "run", options, console=Console(quiet=True))
