"""The trial of DKM: the kinetic module is trained once, and every arm is compared."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from scantling.core.errors import SettingsError
from scantling.methods.catalogue import CARDS
from scantling.testing.data import make_data
from scantling.testing.trainings import quickly
from script import script

trial = script("benchmarks/dkm.py")


def test_the_kinetic_module_is_trained_once_and_the_arms_are_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = CARDS["dkm-kinetics"].model_copy(update={"needs": (("image", "mask"),)})
    data, out = make_data(card, tmp_path / "data", dimensions=2), tmp_path / "trial"
    words = ["--data", str(data), "--out", str(out), "--frames", "image,later 1", "--small", "--arms", "nothing,f3+f4"]
    with quickly():
        assert trial.main(words) == 0, capsys.readouterr().err
    found = json.loads((out / "dkm.json").read_text())
    assert found["arms"] == ["nothing", "f3+f4"]
    trained = sorted(path.parent.name for path in out.glob("*/run.json"))
    assert trained == ["f3+f4-0", "kinetics", "nothing-0"]
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/model/weights.safetensors")}
    with quickly():
        assert trial.main([*words, "--train-only"]) == 0
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert "nothing-0" in capsys.readouterr().out


def test_the_arms_are_the_controls_that_the_paper_lacks_and_its_ablation(tmp_path: Path) -> None:
    of = trial.Trial(
        data=tmp_path, out=tmp_path, frames=("red", "blue"), seeds=1, labels=None, ablation=True, preset="tiny",
        steps=None, first_steps=None, longest=None, only=(),
    )  # fmt: skip
    arms = of.arms()
    assert list(arms)[:5] == ["nothing", "f3+f4", "random", "after", "both"]
    assert list(arms)[5:] == ["f1", "f2", "f3", "f4", "f2+f3", "f2+f4", "f2+f3+f4", "f1+f2+f3+f4"]
    assert [arm["frames"] for arm in (arms["nothing"], arms["after"], arms["both"])] == [
        ("red",), ("blue",), ("red", "blue"),
    ]  # fmt: skip
    assert replace(of, only=("nothing", "unet")).arms() == {"nothing": arms["nothing"], "unet": {}}, "on all channels"
    with pytest.raises(SettingsError, match="found 'f5'; there are nothing"):
        replace(of, only=("f5",)).arms()
