"""The benchmark against nnU-Net: how long it trains, what is kept, and what is said where it is not installed."""

from __future__ import annotations

import math
import subprocess
from pathlib import Path

import pytest

from script import script

benchmark = script("benchmarks/nnunet.py")


def result(*dice: float) -> object:
    scores = {str(place): value for place, value in enumerate(dice)}
    return benchmark.Result(scores, {id: id for id in scores}, steps=2000, batch=8, patch=(128, 128), seconds=1.0)


@pytest.mark.parametrize(("batch", "patch"), [(2, (128, 128)), (2, (40, 56, 40)), (9, (40, 56, 40)), (73, (56, 40))])
def test_nnunet_sees_at_least_as_many_samples_and_less_than_a_step_more(batch: int, patch: tuple[int, ...]) -> None:
    samples, step = result(1.0).samples, batch * math.prod(patch)
    assert samples == 2000 * 8 * 128**2
    seen = benchmark.iterations_for(samples, batch, patch) * step
    assert samples <= seen < samples + step


def test_training_lasts_at_least_one_iteration() -> None:
    assert benchmark.iterations_for(1, 2, (128, 128)) == 1


def test_without_nnunet_a_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(benchmark, "find_spec", lambda name: None)
    monkeypatch.setattr(benchmark.Cell, "unet", lambda cell: result(0.5, 0.7))
    assert benchmark.main(["--data", "data", "--out", str(tmp_path), "--sets", "drive"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("nnunetv2 is not installed")
    assert "pip install --no-deps --target" in said
    assert len(said.splitlines()) == 1


def test_a_cell_is_computed_once_and_other_options_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = []
    for name, made in (("unet", result(0.5, 0.7, math.nan)), ("nnunet", result(0.9, 0.9, 0.9))):
        monkeypatch.setattr(benchmark.Cell, name, lambda cell, *_, name=name, made=made: done.append(name) or made)
    words = ["--data", "data", "--out", str(tmp_path), "--sets", "drive"]
    tables = set()
    for _ in range(2):
        assert benchmark.main(words) == 0, "two differences of 0.4 and 0.2: the interval holds 0"
        tables.add(capsys.readouterr().out)
    assert done == ["unet", "nnunet"]
    assert len(tables) == 1
    assert "U-Net - nnU-Net -0.3000" in tables.pop()
    assert benchmark.main([*words, "--seed", "1"]) == 1
    assert "choose another --out" in capsys.readouterr().err


def test_the_unet_is_below_only_by_more_than_the_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark.Cell, "unet", lambda cell: result(0.70, 0.71, 0.72, 0.69))
    monkeypatch.setattr(benchmark.Cell, "nnunet", lambda cell, samples: result(0.81, 0.80, 0.82, 0.80))
    assert benchmark.main(["--data", "data", "--out", str(tmp_path), "--sets", "drive"]) == 1


def test_a_command_that_fails_ends_the_table_with_its_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(cell: object) -> None:
        raise subprocess.CalledProcessError(2, "scantling")

    monkeypatch.setattr(benchmark.Cell, "unet", fails)
    assert benchmark.main(["--data", "data", "--out", str(tmp_path), "--sets", "drive"]) == 2
