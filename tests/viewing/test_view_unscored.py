"""A run that nobody has scored is looked at at once, and looking writes nothing into it."""

from __future__ import annotations

from pathlib import Path

from scantling.testing.trainings import quiet
from scantling.training import Options, train
from scantling.viewing.opened import open_shown
from served import pictures


def test_validation_masks_are_shown_before_they_are_scored(tmp_path: Path) -> None:
    pictures(tmp_path / "data", labelled=4, unlabelled=0)
    options = Options(preset="tiny", steps=2, settings={"patch": [16, 16], "widths": [4, 8]}, validation=0.25)
    train("unet", [tmp_path / "data"], tmp_path / "run", options, console=quiet())
    assert (tmp_path / "run/validation/predictions.json").is_file()
    shown = open_shown(tmp_path / "run")
    assert [entry.dice for entry in shown.entries] == [None]
    assert "Not scored yet" in shown.remarks[0]
    case = shown.read(shown.entries[0].id)
    assert case.truth is not None
    assert case.mask is not None
    assert not (tmp_path / "run/validation/scores.json").exists()
