"""Training from Python: what goes in, what comes out, and that no step is lost when it is stopped."""

from __future__ import annotations

import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.numpy import load_file

import scantling
from made import images_for
from scantling.api.training import TrainingOptions
from scantling.core.errors import RunError, SettingsError
from scantling.methods import catalogue
from scantling.methods.catalogue import CARDS
from scantling.methods.supervised.unet import UNetSegmenter
from scantling.records.run_folder import load_model
from scantling.training import Options
from scantling.training import train as train_as_the_command
from scantling.training.callbacks import StoppedError

TINY: dict[str, Any] = {"preset": "tiny", "steps": 4, "validation": 0.25, "seed": 3}


class Mine(UNetSegmenter):
    """A method of the user, which nothing announces."""

    card = CARDS["unet"].model_copy(update={"name": "mine", "implementation": ""})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return images_for(CARDS["unet"], tmp_path_factory.mktemp("data"), dimensions=2)


@pytest.fixture(scope="module")
def weights(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """Those that the command trains."""
    out = tmp_path_factory.mktemp("command") / "run"
    train_as_the_command("unet", [data], out, Options(**TINY), console=Console(quiet=True))
    return weights_of(out)


def weights_of(run: Path | scantling.Run) -> dict[str, np.ndarray]:
    return load_file(Path(run) / "model" / "weights.safetensors")


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def test_a_callback_sees_each_step_stops_the_training_and_the_same_call_ends_with_the_weights_of_the_command(
    data: Path, weights: dict[str, np.ndarray], tmp_path: Path
) -> None:
    seen: list[scantling.LoggedStep] = []

    def stop(step: scantling.LoggedStep) -> None:
        seen.append(step)
        if step.step == 2:
            raise scantling.StopTraining

    random = torch.get_rng_state()
    run = scantling.train("unet", str(data), str(tmp_path / "run"), callbacks=[stop], **TINY)
    assert torch.equal(torch.get_rng_state(), random)
    assert not run.finished
    assert "stopped after step 2" in repr(run)
    assert [(step.step, step.steps) for step in seen] == [(1, 4), (2, 4)]
    assert seen[0].losses.keys() == {"unet/cross_entropy", "unet/overlap"}
    assert [*seen[1].validation] == ["dice"]

    again = scantling.train("unet", [scantling.open_dataset(data)], run, options=Options(**TINY))
    assert again == run
    assert again.finished
    assert same(weights_of(again), weights)
    log = again.log
    assert [row["step"] for row in log] == [1, 2, 3, 4]
    assert log[0]["unet/overlap"] == pytest.approx(seen[0].losses["unet/overlap"])
    assert 0 <= log[-1]["validation/dice"] <= 1
    assert again.record["method"] == "unet"
    assert "<svg" in again._repr_html_()


@pytest.mark.parametrize("by", ["signal", "exception"])
def test_an_interruption_loses_no_step(by: str, data: Path, weights: dict[str, np.ndarray], tmp_path: Path) -> None:
    def interrupt(step: scantling.LoggedStep) -> None:
        if step.step == 3 and by == "exception":
            raise KeyboardInterrupt
        if step.step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match=r"stopped at step 3 of 4.*the same call goes on"):
        scantling.train("unet", data, tmp_path / "run", callbacks=[interrupt], **TINY)
    assert signal.getsignal(signal.SIGINT) == before
    steps: list[int] = []
    run = scantling.train("unet", data, tmp_path / "run", callbacks=[lambda step: steps.append(step.step)], **TINY)
    assert steps == [4]
    assert same(weights_of(run), weights)


def test_a_fault_of_a_callback_loses_no_step(data: Path, weights: dict[str, np.ndarray], tmp_path: Path) -> None:
    def fail(step: scantling.LoggedStep) -> None:
        raise ZeroDivisionError(step.step)

    with pytest.raises(ZeroDivisionError, match="1"):
        scantling.train("unet", data, tmp_path / "run", callbacks=[fail], **TINY)
    steps: list[int] = []
    run = scantling.train("unet", data, tmp_path / "run", callbacks=[lambda step: steps.append(step.step)], **TINY)
    assert steps == [2, 3, 4]
    assert same(weights_of(run), weights)


def test_in_another_thread_a_training_saves_when_the_program_ends(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[str] = []
    monkeypatch.setattr("scantling.training.trainer.program_ends", lambda: "the end of the program" * bool(ends))
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(
            scantling.train, "unet", data, tmp_path / "run", callbacks=[lambda step: ends.append("now")], **TINY
        )
        with pytest.raises(StoppedError, match=r"step 1 of 4 \(the end of the program\)"):
            done.result()


def test_a_method_class_trains_without_being_announced_and_says_how_another_process_names_it(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "_CLASSES", {})
    run = scantling.train(Mine, data, tmp_path / "run", **TINY)
    assert run.record["implementation"] == f"{__name__}:Mine"
    assert type(load_model(run.path)) is Mine, "in this process its name is enough"
    assert scantling.predict(run, data, out=tmp_path / "masks").failed == []
    catalogue._CLASSES.clear()  # as another process begins
    with pytest.raises(RunError, match=rf"'mine'.*{__name__}:Mine.*load_model\(.*method=CLASS\)"):
        scantling.predict(run, data, out=tmp_path / "other")


def test_what_is_no_method_and_what_has_the_name_of_another_is_refused(data: Path, tmp_path: Path) -> None:
    class Taken(UNetSegmenter):
        pass

    with pytest.raises(SettingsError, match=r"has the name unet, as the method .*UNetSegmenter"):
        scantling.train(Taken, data, tmp_path / "run", **TINY)
    strange: Any = dict
    with pytest.raises(SettingsError, match="method: found the class dict, which has no card"):
        scantling.train(strange, data, tmp_path / "run", **TINY)
    with pytest.raises(SettingsError, match=r"^labels 0: expected a number of subjects from 1 on"):
        scantling.train("unet", data, tmp_path / "run", labels=0)
    misspelt: Any = "bset"
    with pytest.raises(SettingsError, match=r"^select bset: expected last or best"):
        scantling.train("unet", data, tmp_path / "run", select=misspelt)
    strange = [3]
    with pytest.raises(SettingsError, match="data: found a int"):
        scantling.train("unet", strange, tmp_path / "run")
    strange = None
    with pytest.raises(SettingsError, match="data: found a NoneType"):
        scantling.train("unet", strange, tmp_path / "run")
    with pytest.raises(SettingsError, match="out: found a NoneType; expected a path"):
        scantling.train("unet", data, strange)
    strange = {"seed": "a"}
    with pytest.raises(SettingsError, match=r"^seed: found 'a'; Input should be a valid integer"):
        scantling.train("unet", data, tmp_path / "run", **strange)
    strange = {"label_slices": 2.5}
    with pytest.raises(SettingsError, match=r"^label_slices: found 2.5"):
        scantling.train("unet", data, tmp_path / "run", **strange)
    strange = {"presett": "quick"}
    with pytest.raises(
        TypeError, match=r"train\(\) got an unexpected keyword argument 'presett'; did you mean 'preset'"
    ):
        scantling.train("unet", data, tmp_path / "run", **strange)
    strange = print
    with pytest.raises(SettingsError, match="callbacks: found <built-in function print>; expected a list of functions"):
        scantling.train("unet", data, tmp_path / "run", callbacks=strange)


def test_the_keywords_of_train_are_the_fields_of_options() -> None:
    assert TrainingOptions.__annotations__.keys() == {each.name for each in fields(Options)}


def test_in_a_notebook_curves_are_drawn_where_a_bar_would_be(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []

    class Handle:
        def update(self, found: Any) -> None:
            shown.append(found._repr_html_())

    def display(found: Any, *, display_id: bool = False) -> Handle | None:
        if display_id:
            shown.append(found._repr_html_())
            return Handle()
        return None

    ipython = ModuleType("IPython")
    ipython.display = ModuleType("IPython.display")  # type: ignore[attr-defined]
    ipython.display.display = display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", ipython.display)  # type: ignore[attr-defined]
    monkeypatch.setattr("scantling.api.notebook.EVERY", 0.0)
    scantling.train("unet", data, tmp_path / "run", console=Console(force_jupyter=True), **TINY)
    assert len(shown) == 4
    assert '<progress value="1" max="4">' in shown[0]
    assert shown[-1].count("<svg") == 2, "the loss and the validation"


def test_a_data_set_is_a_sequence_of_cases_that_load_and_plot(data: Path) -> None:
    opened = scantling.open_dataset(str(data))
    assert len(opened) == 6
    assert [case.id for case in opened] == [case.id for case in opened.cases]
    assert opened[opened[2].id] == opened[2]
    assert repr(opened) == f"Dataset({opened.name!r}: 6 cases, 4 train, 2 test; {data})"
    assert repr(opened[0]).startswith(f"OpenCase({opened[0].id!r}, ")
    assert "image (1, " in repr(opened[0].load(reads=("image",)))
    assert [case.id for case in opened[-2:]] == [opened[4].id, opened[5].id]
    with pytest.raises(KeyError, match="no case has the id 'case9'"):
        opened["case9"]
    sample = opened[0].load()
    assert sample.mask is not None
    assert sample.image.shape == sample.mask.shape
    assert set(np.unique(sample.mask)) == {0, 1}
    assert (sample.spacing, sample.affine) == ((1.0, 1.0), None)
    assert opened[0].load(reads=("image",)).mask is None
    misspelt: Any = "imgae"
    with pytest.raises(SettingsError, match="reads: found 'imgae'; expected one of image"):
        opened[0].load(reads=misspelt)
    with pytest.raises(SettingsError, match="split: found 'imgae'; expected one of train, validation, test"):
        opened.split(misspelt)
    assert opened[0].id in opened
    assert opened[0] in opened
    assert opened.cases[0] in opened
    assert misspelt not in opened
    assert scantling.open_dataset(opened) is opened
    misspelt = [data]
    with pytest.raises(SettingsError, match="path: found a list; expected a path"):
        scantling.open_dataset(misspelt)
    assert max(opened[0].plot(size=96).size) == 96
    page = opened._repr_html_()
    assert "<td>train</td><td>4</td>" in page
    assert "data:image/png;base64," in page
