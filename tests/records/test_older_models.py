"""Models that an earlier version has written are loaded, whatever has been renamed since."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from made import images_for
from scantling.methods.catalogue import CARDS
from scantling.records.run_folder import load_model
from scantling.testing.trainings import quiet
from scantling.training import Options, train

OLD = {"uses.segmenter.": "base.", ".modulation.": ".told."}
"""Today's names of weights, and those of before."""


@pytest.mark.parametrize("name", ["direction", "medsegdiff-v2"])
def test_a_model_of_before_gives_the_same_weights(name: str, tmp_path: Path) -> None:
    data = images_for(CARDS["unet"], tmp_path / "data", dimensions=2)
    uses = {}
    if CARDS[name].uses:
        uses = {"segmenter": tmp_path / "base"}
        train("unet", [data], tmp_path / "base", Options(preset="tiny", steps=1, validation=0.0), console=quiet())
    train(name, [data], tmp_path / "run", Options(preset="tiny", validation=0.0, uses=uses), console=quiet())
    today, model = load_model(tmp_path / "run"), tmp_path / "run" / "model"
    renamed = {}
    for key, tensor in load_file(model / "weights.safetensors").items():
        for now, before in OLD.items():
            key = key.replace(now, before)
        renamed[key] = tensor
    assert renamed.keys() != today.model_state().keys()
    save_file(renamed, model / "weights.safetensors", metadata={"model": "{}"})
    settings = json.loads((model / "settings.json").read_text())
    del settings["gives"]
    used = settings.pop("uses")
    settings["base"] = used.get("segmenter")
    (model / "settings.json").write_text(json.dumps(settings))
    before = load_model(tmp_path / "run")
    for key, tensor in today.model_state().items():
        assert torch.equal(tensor, before.model_state()[key]), key
