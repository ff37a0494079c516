"""The command line: wrong input ends in one sentence and an exit code, and `demo` can be interrupted."""

from __future__ import annotations

from pathlib import Path

import pytest

from made import images_for
from scantling.cli.demo import draw
from scantling.cli.main import main, parse
from scantling.core.errors import SettingsError
from scantling.methods.catalogue import CARDS


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return images_for(CARDS["unet"], tmp_path_factory.mktemp("data"), dimensions=2)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--settings.widths", "abc"], "--settings.widths: found 'abc'"),
        (["--settings.widths", "[]"], "--settings.widths: found []"),
        (["--settings.patch", "[0,0]"], "--settings.patch.0: found 0"),
        (["--settings.spacing", "[0,0]"], "--settings.spacing.0: found 0"),
        (["--settings.rate", "Infinity"], "--settings.rate: found inf"),
        (["--settings.rate"], "--settings.rate: found no value"),
        (["--threads", "0"], "--threads 0: expected 1 or more"),
        (["--labels", "100"], "--labels 100: found 4 labelled training subjects; expected 1 to 4"),
        (["--labels", "110%"], "--labels 110%: expected a number of subjects"),
        (["--device", "mps"], "--device mps: only cpu and cuda"),
        (["--from", "nowhere"], "nowhere: found no model"),
    ],
)
def test_a_training_that_cannot_start_says_why_in_one_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    assert main(["train", "unet", "--data", str(data), "--out", str(tmp_path), "--preset", "tiny", *words]) == 2
    sentence = capsys.readouterr().err.splitlines()[-1]
    assert sentence.startswith("scantling: ")
    assert told in sentence


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--memory", "nan"], "--memory: found nan"),
        (["--memory", "-1"], "--memory: found -1.0; Input should be greater than 0"),
        (["--shard", "0/0"], "--shard 0/0: expected i/n"),
        (["--shard", "a"], "--shard a: expected i/n"),
        ([], "found no model"),
    ],
)
def test_a_prediction_that_cannot_start_says_why_in_one_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    assert main(["predict", str(tmp_path), str(data), "--out", str(tmp_path / "out"), *words]) == 2
    assert told in capsys.readouterr().err


def test_too_little_memory_is_a_sentence_and_a_mistake_of_ours_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class OutOfMemoryError(RuntimeError):
        """As torch calls it on a GPU."""

    def fails(error: Exception) -> None:
        def run(self: object) -> None:
            raise error

        monkeypatch.setattr("scantling.cli.commands.Methods.run", run)

    for error in (MemoryError(), OutOfMemoryError("CUDA"), RuntimeError("DefaultCPUAllocator: can't allocate memory")):
        fails(error)
        assert main(["methods"]) == 2
        assert "out of memory" in capsys.readouterr().err
    fails(RuntimeError("a mistake"))
    with pytest.raises(RuntimeError, match="a mistake"):
        main(["methods"])


def test_drawing_for_the_demo_goes_on_after_an_interruption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scantling.cli.demo.COUNTS", {"train": 2, "test": 1})
    monkeypatch.setattr("scantling.cli.demo.SIZE", 32)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("scantling.data.files.write_labels", interrupted)
        with pytest.raises(KeyboardInterrupt):
            draw(tmp_path / "data", seed=0)
    draw(tmp_path / "data", seed=0)
    assert len(list((tmp_path / "data").rglob("*.png"))) == 6
    with pytest.raises(SettingsError, match="is not empty"):
        draw(tmp_path / "data", seed=1)


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("32,64", [32, 64]),
        ("[32, 64]", [32, 64]),
        ("32", 32),
        ("0.5,", "0.5,"),
        ("[[1,2],[3,4]]", [[1, 2], [3, 4]]),
        ("vessels, bright", "vessels, bright"),
        ("true", True),
        ("null", None),
        ("vessel", "vessel"),
        ("", ""),
    ],
)
def test_a_setting_is_a_value_or_several(words: str, value: object) -> None:
    assert parse(["train", "unet", "--data", "d", "--out", "o", f"--settings.widths={words}"]).settings == {
        "widths": value
    }
