"""What the check on a GPU measures, tried on the processor; and what it says where there is no GPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from scantling.methods.catalogue import CARDS
from scantling.testing.data import make_data
from scantling.testing.trainings import quickly
from scantling.training import training
from scantling.training.callbacks import Callback, LoggedStep
from script import script

check, count = script("scripts/gpu_check.py"), script("scripts/step_count.py")


def test_some_steps_of_a_preset_give_a_row_of_the_table(tmp_path: Path) -> None:
    data = make_data(CARDS["berdiff"], tmp_path / "data", dimensions=2)
    with quickly():
        row = check.one("berdiff", data, tmp_path / "run", preset="tiny", device="cpu", steps=3, seconds=30)
    assert row["steps"] == 3
    assert row["recipe_steps"] == [4]
    assert row["seconds"] > 0
    assert row["recipe_hours"] == pytest.approx(4 * row["seconds"] / 3600)
    assert check.line(row).startswith("berdiff  ")
    with quickly():
        lacking = check.one("partial", data, tmp_path / "none", preset="tiny", device="cpu", steps=3, seconds=30)
    assert "no training case has images and scribbles" in check.line(lacking)


def test_the_pace_is_that_of_steps_of_which_some_alone_are_logged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    method = SimpleNamespace(stages=lambda: [SimpleNamespace(steps=10)])
    monkeypatch.setattr(training, "preview", lambda *_, **__: SimpleNamespace(method=method))
    for logged, seconds in (((1, 3, 5), 0.5), ((), None)):

        def train(*_: object, callbacks: Sequence[Callback], logged: Sequence[int] = logged, **__: object) -> None:
            for step in logged:
                more = {"steps": 5, "losses": {"unet/dice": 1.0}, "rates": {}, "validation": {}, "seconds_left": 0.0}
                callbacks[0](LoggedStep(stage="only", step=step, seconds=step / 2, **more))  # type: ignore[arg-type]

        monkeypatch.setattr("scantling.training.train", train)
        row = check.one("unet", tmp_path, tmp_path / "run", preset="tiny", device="cpu", steps=5, seconds=30)
        if seconds is None:
            assert "no steps" in check.line(row)
        else:
            assert (row["seconds"], row["steps"]) == (seconds, 5)
            assert row["recipe_hours"] == pytest.approx(10 * seconds / 3600)


def test_without_a_gpu_a_step_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_data(CARDS["berdiff"], tmp_path / "data", dimensions=2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(check, "measured", lambda name, data, of: count.counted(name, data, preset=of.preset))
    assert check.main(["berdiff", "vesselness", "--preset", "tiny", "--data", str(data)]) == 0
    table = capsys.readouterr()
    assert "counted, not timed" in table.err
    head, one, none = table.out.splitlines()
    assert head.split()[:2] == ["Method", "weights"]
    assert one.split()[-1] == "4"
    assert "has no steps" in none


def test_what_is_kept_for_the_way_back_is_each_storage_once_and_no_weight() -> None:
    layer = torch.nn.Linear(3, 5, bias=False)
    x = torch.ones(7, 3)
    with count.kept_for_the_way_back(layer) as book:
        loss = (layer(x) * layer(x).sigmoid()).sum()  # x for two, what is multiplied, the sigmoid for itself and it
    assert book.most == 4 * (7 * 3 + 2 * 7 * 5)
    del loss
    assert not book.sizes
