"""`train --plan`: what would be decided is said as the training then decides it, and nothing is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from made import images_for
from scantling.cli.main import main
from scantling.core.errors import SettingsError
from scantling.methods.catalogue import CARDS
from scantling.training import Options, preview, train

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return images_for(CARDS["unet"], tmp_path_factory.mktemp("data"), dimensions=2)


@pytest.mark.parametrize("method", ["unet", "mb-diff", "fr-unet"])
def test_what_is_planned_is_what_is_trained(data: Path, tmp_path: Path, method: str) -> None:
    options = Options(preset="tiny", settings={"batch": 3})
    planned = preview(method, [data], options, console=QUIET).facts()
    trained = train(method, [data], tmp_path / "run", options, console=QUIET)
    assert planned["settings"] == trained["settings"]
    assert planned["parameters"] == trained["parameters"]
    assert planned["plan"] == list(trained["plan"])
    assert sum(stage["steps"] for stage in planned["stages"]) == trained["steps"]
    assert planned["stages"][0]["streams"][0]["batch"] == 3
    assert planned["decided"]["batch"] == 3


def test_the_plan_is_printed_without_a_run_folder_and_nothing_is_written(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(data.rglob("*"))
    words = ["train", "unet", "--data", str(data), "--preset", "quick", "--plan"]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert told.startswith("unet: images at full resolution; the whole image fits one patch")
    assert "parameters: " in told
    assert "2,000 steps" in told
    assert main([*words, "--json", "-", "--out", str(tmp_path / "run")]) == 0
    assert json.loads(capsys.readouterr().out)["stages"][0]["steps"] == 2000
    assert (sorted(tmp_path.iterdir()), sorted(data.rglob("*"))) == ([], before)


def test_minutes_are_not_fitted_in_a_plan_and_that_is_said(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "unet", "--data", str(data), "--preset", "tiny", "--plan", "--minutes", "10"]
    assert main(words) == 0
    assert "those of the plan are not fitted" in " ".join(capsys.readouterr().err.split())


def test_what_a_training_refuses_a_plan_refuses(data: Path) -> None:
    best = Options(preset="tiny", validation=0.0, select="best")
    with pytest.raises(SettingsError, match="--select best: found no validation case"):
        preview("unet", [data], best, console=QUIET)
    with pytest.raises(SettingsError, match="--minutes: vesselness is not trained"):
        preview("vesselness", [data], Options(minutes=1.0), console=QUIET)


def test_a_plan_says_what_a_model_gives_first_weights_to(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train("unet", [data], tmp_path / "run", Options(preset="tiny", steps=1, validation=0.0), console=QUIET)
    words = ["--preset", "tiny", "--plan", "--from", str(tmp_path / "run")]
    assert main(["train", "unet", "--data", str(data), *words]) == 0
    assert "tensors loaded" in " ".join(capsys.readouterr().err.split())


def test_a_training_without_a_run_folder_is_refused(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "unet", "--data", str(data)]) == 2
    assert "--out: found no run folder; name one" in capsys.readouterr().err


def test_a_training_says_its_plan_before_it_begins(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "unet", "--data", str(data), "--out", str(tmp_path / "run"), "--preset", "tiny"]) == 0
    (sentence,) = json.loads((tmp_path / "run" / "run.json").read_text())["plan"]
    told = " ".join(capsys.readouterr().err.split())  # the console breaks lines
    assert told.index(f"unet: {sentence}") < told.index("trained 4 steps")


def test_check_says_the_plan_of_the_unet_as_a_training_on_all_cases_decides_it(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(data), "--json", "-"]) == 0
    facts = json.loads(capsys.readouterr().out)
    options = Options(preset="quick", validation=0.0)
    assert facts["plan"] == preview("unet", [data], options, console=QUIET).facts()["plan"]
