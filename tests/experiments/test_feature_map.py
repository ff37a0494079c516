"""The sweep over blocks and timesteps: each is trained once, scored on validation cases, and drawn."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from scantling.methods.catalogue import CARDS
from scantling.testing.data import make_data
from scantling.testing.trainings import quickly, quiet
from scantling.training import Options, train
from script import script

sweep = script("benchmarks/feature_map.py")


def test_each_block_and_timestep_is_scored_once_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_data(CARDS["fedd"], tmp_path / "data", dimensions=2)
    with quickly():
        train("diffusion-pretrain", [data], tmp_path / "encoder", Options(preset="tiny"), console=quiet())
        words = ["--data", data, "--encoder", tmp_path / "encoder", "--out", tmp_path / "map", "--preset", "tiny"]
        asked = [str(word) for word in (*words, "--blocks", "0,3", "--timesteps", "0")]
        assert sweep.main(asked) == 0
        found = json.loads((tmp_path / "map" / "feature-map.json").read_text())
        assert {block: list(row) for block, row in found["dice"].items()} == {"0": ["0"], "3": ["0"]}
        assert found["best"]["timestep"] == 0
        picture = (tmp_path / "map" / "feature-map.svg").read_text()
        assert len(re.findall("<rect", picture)) == 2
        assert all(f"{row['0']:.3f}" in picture for row in found["dice"].values())
        before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("map/*/model/weights.safetensors")}
        assert len(before) == 2
        assert sweep.main(asked) == 0
        assert before == {path: path.stat().st_mtime_ns for path in before}
        assert sweep.main([str(word) for word in (*words, "--blocks", "9", "--timesteps", "0")]) == 2
    assert "found 9; the decoder of this diffusion-pretrain has the blocks 0 to 3" in capsys.readouterr().err


def test_the_best_cell_is_framed() -> None:
    picture = sweep.drawn({"2": {"0": 0.5, "100": 0.75}, "6": {"0": float("nan"), "100": 0.25}})
    assert picture.count("stroke-width") == 1
    assert re.search(r"<rect[^/]*stroke-width[^/]*/>\n<text[^>]*>0.750", picture)
