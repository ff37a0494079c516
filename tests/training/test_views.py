"""Mirroring keeps to what the labels allow, and `--views` to the views that the training has seen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from made import images_for, write
from scantling.contract.method import build
from scantling.contract.views import Views, mirrored_of, views_of_training
from scantling.core.case import Labels
from scantling.core.errors import FileError, SettingsError
from scantling.core.samples import Intensity, Preprocessing, Traits
from scantling.core.streams import Augmentation
from scantling.data.dataset import open_dataset
from scantling.inference import predict
from scantling.methods.catalogue import CARDS, implementation_of
from scantling.metrics.overlap import confusion
from scantling.records.run_folder import load_model
from scantling.testing.trainings import quiet
from scantling.training import Options, preview, train
from scantling.training.readers import Sampling, augmented

INTENSITY = Intensity(mean=0, std=1, low=-1, high=1, minimum=-1, maximum=1)


def traits(dimensions: Any, mirrored: tuple[bool, ...], **more: Any) -> Traits:
    return Traits(
        dimensions=dimensions, channels=("grey",), labels=Labels(names=("a", "b"), values=((1,), (2,))),
        spacing=(1.0,) * dimensions, shape=(32,) * dimensions, smallest=(32,) * dimensions, intensity=(INTENSITY,),
        mirrored=mirrored, **more,
    )  # fmt: skip


def method(name: str, of: Traits, **settings: Any) -> Any:
    kind = implementation_of(CARDS[name])
    return build(kind, kind.Settings.preset("tiny", settings).resolve(of), of)


def flips(name: str, of: Traits, sampling: Sampling | None = None, **settings: Any) -> Any:
    """The axes that the first stream of a method mirrors in training."""
    model = method(name, of, **settings)
    changed = augmented(model.stages()[0].streams[0].augment, model, sampling or Sampling())
    return None if changed is None else changed.along(model.preprocessing.dimensions)


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(augment="strong")])
@pytest.mark.parametrize("name", ["unet", "fr-unet"])
def test_a_method_that_mirrors_keeps_to_the_axes_that_the_labels_allow(name: str, sampling: Sampling) -> None:
    assert flips(name, traits(2, (True, True)), sampling) == (True, True)
    assert flips(name, traits(2, ()), sampling) == (True, True)
    assert flips(name, traits(2, (True, False)), sampling) == (True, False)
    assert flips(name, traits(2, (False, False)), sampling) == (False, False)


def test_the_unet_mirrors_volumes_along_the_axes_that_the_labels_allow() -> None:
    assert flips("unet", traits(3, ())) == (False,) * 3
    assert flips("unet", traits(3, (True, False, True))) == (True, False, True)
    assert flips("unet", traits(3, (False,) * 3)) == (False,) * 3
    assert method("unet", traits(3, (True,) * 3)).settings.flips is True


def test_settings_overrule_the_labels() -> None:
    assert flips("unet", traits(2, (True, False)), flips=True) == (True, True)
    assert flips("unet", traits(2, (True, False)), Sampling(augment="strong"), flips=True) == (True, True)
    assert flips("unet", traits(2, (True, True)), flips=False) == (False, False)
    assert flips("unet", traits(3, (True,) * 3), flips=(True, False, False)) == (True, False, False)
    with pytest.raises(SettingsError, match="flips: found 2 numbers, expected one for each of the 3 axes"):
        method("unet", traits(3, (True,) * 3), flips=(True, False))


def test_a_method_in_2d_reads_slices_of_which_the_slice_axis_is_gone() -> None:
    of = SimpleNamespace(traits=traits(3, (True, False, True), slice_axis=0), preprocessing=Preprocessing(dimensions=2))
    assert mirrored_of(of) == (False, True)  # type: ignore[arg-type]
    of.traits = of.traits.model_copy(update={"slice_axis": 2})
    assert mirrored_of(of) == (True, False)  # type: ignore[arg-type]


def test_views_are_those_of_the_training() -> None:
    square, wide = {"patch": (32, 32)}, {"patch": (32, 64)}
    assert len(views_of_training(method("unet", traits(2, (True, True)), **square)).each) == 8
    assert len(views_of_training(method("unet", traits(2, ()), **square)).each) == 8
    # patches that are not square are not turned by right angles
    assert views_of_training(method("unet", traits(2, (True, True)), **wide)).each == [
        (0, False, False), (0, False, True), (0, True, False), (0, True, True)
    ]  # fmt: skip
    assert views_of_training(method("unet", traits(2, (True, False)), **square)).each == [
        (0, False, False), (0, True, False)
    ]  # fmt: skip
    # a volume of an earlier version, whose training mirrored nothing
    assert views_of_training(method("unet", traits(3, ()))).each == [(0, False, False, False)]
    model = method("unet", traits(2, (True, True)), **square)
    assert len(views_of_training(model, lambda own: None).each) == 1
    assert len(views_of_training(model, lambda own: replace(own or Augmentation(), turns=False)).each) == 4


def test_a_method_without_stages_has_all_views() -> None:
    of = traits(2, (False, False)).model_copy(update={"labels": None})
    assert len(views_of_training(method("vesselness", of)).each) == 8


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return images_for(CARDS["unet"], tmp_path_factory.mktemp("data"), dimensions=2, count=10)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    train("unet", [data], out, Options(preset="tiny", steps=100, validation=0.25, seed=1), console=quiet())
    return out


def changed(run: Path, out: Path, views: Mapping[str, Any] | None) -> Path:
    """The run with another `views.json`, or with none as an earlier version has written it."""
    shutil.copytree(run, out)
    (out / "model" / "views.json").unlink()
    if views is not None:
        (out / "model" / "views.json").write_text(json.dumps(views))
    return out


def masks(folder: Path) -> dict[str, Any]:
    return {path.name: np.array(Image.open(path)) for path in sorted(folder.glob("*.png"))}


def test_a_training_compares_its_views_on_validation_cases(run: Path, data: Path) -> None:
    views = load_model(run).views
    assert views is not None
    assert len(views.each) == 8
    record = json.loads((run / "run.json").read_text())
    assert views.cases == len(record["split"]["validation"]) > 0
    truth = {case.id: case.masks[0].path for case in open_dataset(data).cases}  # type: ignore[union-attr]
    scores = [
        confusion(np.array(Image.open(run / "validation" / f"{id}.png")) > 0, np.array(Image.open(truth[id])) > 0).dice
        for id in record["split"]["validation"]
    ]
    assert views.dice_of_views is not None
    assert views.dice_of_views != views.dice
    assert max(views.dice, views.dice_of_views) == pytest.approx(np.mean(scores))  # hurt or not, the better one answers


def test_the_unet_answers_with_its_views_unless_it_is_told_not_to(run: Path, data: Path, tmp_path: Path) -> None:
    scores = {"mirrored": [True, True], "turned": True, "cases": 3, "dice": 0.7, "dice_of_views": 0.8}
    better = changed(run, tmp_path / "better", scores)
    calls = {
        name: predict(better, data, out=tmp_path / name, options=options).header
        for name, options in {"default": {}, "views": {"views": True}, "plain": {"views": False}}.items()
    }
    assert {name: header["calls"] for name, header in calls.items()} == {"default": 8, "views": 8, "plain": 1}
    assert [header["options"]["views"] for header in calls.values()] == [True, True, False]
    model = load_model(better)
    assert not model.uses_views(model.segment_with(samples=4))  # type: ignore[attr-defined]


def on_views(done: Any) -> tuple[str, ...]:
    """What a command says of views."""
    return tuple(note for note in done.notes if note.startswith("--views"))


def test_views_that_hurt_on_validation_are_not_used_and_it_is_said(run: Path, data: Path, tmp_path: Path) -> None:
    scores = {"mirrored": [True, True], "turned": True, "cases": 3, "dice": 0.8, "dice_of_views": 0.7}
    worse = changed(run, tmp_path / "worse", scores)
    plain = predict(worse, data, out=tmp_path / "plain")
    done = predict(worse, data, out=tmp_path / "views", options={"views": True})
    assert on_views(plain) == ()
    assert on_views(done) == (
        "--views: on 3 validation cases the Dice of this model was 0.700 with views and 0.800 without; images are "
        "answered as they are",
    )
    assert done.header["calls"] == 1
    assert done.header["options"]["views"] is False
    one, other = masks(tmp_path / "plain"), masks(tmp_path / "views")
    assert one
    assert all(np.array_equal(one[name], other[name]) for name in one)
    better = changed(run, tmp_path / "better", scores | {"dice": 0.6})
    done = predict(better, data, out=tmp_path / "used", options={"views": True})
    assert on_views(done) == ()
    assert done.header["calls"] == 8


def test_a_model_of_an_earlier_version_has_the_views_of_its_streams(run: Path, data: Path, tmp_path: Path) -> None:
    before = changed(run, tmp_path / "before", None)
    assert load_model(before).views is None
    done = predict(before, data, out=tmp_path / "out", options={"views": True})
    assert on_views(done) == ()
    assert done.header["calls"] == 8


@pytest.mark.parametrize("wrong", [{"mirrored": [True]}, {"mirrored": "no"}, [], {}])
def test_a_file_of_views_that_is_none_is_a_sentence(run: Path, tmp_path: Path, wrong: Any) -> None:
    broken = changed(run, tmp_path / "broken", wrong)
    with pytest.raises(FileError, match=r"views.json.*does not say the views of the model.*copy the model again"):
        load_model(broken)


def test_left_and_right_are_not_mixed_up_in_training_or_by_views(tmp_path: Path) -> None:
    generator, grid = np.random.default_rng(0), np.stack(np.meshgrid(*map(np.arange, (32, 48)), indexing="ij"), -1)
    for number in range(6):
        mask = np.zeros((32, 48), np.uint8)
        for value, place in ((1, 11), (2, 37)):
            middle = np.array([16, place]) + generator.uniform(-2, 2, 2)
            mask[np.linalg.norm(grid - middle, axis=-1) < 7] = value
        write(tmp_path / "data" / "images", f"c{number}", (60 + 120 * (mask > 0)).astype(np.uint8))
        write(tmp_path / "data" / "masks", f"c{number}", mask)
    console = Console(file=StringIO(), record=True, width=400)
    options = Options(preset="tiny", validation=0.0)
    preview("unet", [tmp_path / "data"], options, console=console)
    assert "tell left from right: images are not mirrored along this axis" in console.export_text()
    train("unet", [tmp_path / "data"], tmp_path / "run", options, console=console)
    assert "tell left from right: images are not mirrored along this axis" in console.export_text()
    model = load_model(tmp_path / "run")
    assert model.traits.mirrored == (True, False)
    assert model.views == Views(mirrored=(True, False), turned=False)
    done = predict(tmp_path / "run", tmp_path / "data", out=tmp_path / "out", split="all", options={"views": True})
    assert done.header["calls"] == 2


def test_a_training_that_mirrored_nothing_answers_without_views_and_says_so(data: Path, tmp_path: Path) -> None:
    settings = Options(preset="tiny", validation=0.0, augment="none")
    train("unet", [data], tmp_path / "run", settings, console=quiet())
    done = predict(tmp_path / "run", data, out=tmp_path / "out", options={"views": True})
    assert on_views(done) == (
        "--views: the training of this model showed it no mirrored or turned images; images are answered as they are",
    )
    assert done.header["calls"] == 1


def test_the_median_shape_is_that_of_a_slice_on_the_grid_of_a_method_in_2d() -> None:
    shape = (64, 48, 10)
    facts = traits(3, ()).model_copy(update={"shape": shape, "smallest": shape, "slice_axis": 2})
    assert method("unet", facts, spacing=(2.0, 2.0, 1.0)).median_shape == (32, 24, 10)
    one_class = facts.model_copy(update={"labels": Labels(names=("a",), values=((1,),))})
    assert method("berdiff", one_class, size=None, longest=32, patch=16).median_shape == (32, 24)
