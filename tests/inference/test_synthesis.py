"""The command `synthesize`: folders of made cases that say what they are, whatever was interrupted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from scantling.contract.results import Generation
from scantling.contract.step import Inference
from scantling.core.errors import RunError, SettingsError
from scantling.core.samples import Batch
from scantling.data.dataset import open_dataset
from scantling.data.files import read, read_labels
from scantling.inference import synthesize
from scantling.methods.generation.vessels_by_rule import FractalVessels, VesselTrees

SMALL = {"size": 64}


def test_masks_alone_are_a_data_set_for_training_with_their_origin(tmp_path: Path) -> None:
    synthesize("fractal-vessels", count=3, out=tmp_path, options={"seed": 5}, settings=SMALL)
    cases = open_dataset(tmp_path).cases
    assert len(cases) == 3
    for case in cases:
        assert case.split == "train"
        assert not case.images
        assert case.origin.kind == "synthetic"
        assert case.origin.model.startswith("fractal-vessels ")
        assert case.origin.seed == 5
        mask, _ = read_labels(case.masks[0])  # type: ignore[arg-type]
        assert mask.shape == (64, 64)
        assert set(np.unique(mask)) <= {0, 255}


def test_phantoms_come_with_image_mask_region_and_centre_line(tmp_path: Path) -> None:
    synthesize("retina-phantoms", count=1, out=tmp_path, settings={"size": 96})
    (case,) = open_dataset(tmp_path).cases
    assert read(case.images["image"]).array.shape == (3, 96, 96)
    assert case.region is not None
    mask, _ = read_labels(case.masks[0])  # type: ignore[arg-type]
    line, _ = read_labels(tmp_path / "centre-lines" / f"{case.id}.png")
    assert line.any()
    assert not (line.astype(bool) & ~mask.astype(bool)).any(), "the centre line lies in the mask"


def test_trees_in_3d_are_volumes(tmp_path: Path) -> None:
    synthesize("vessel-trees", count=1, out=tmp_path, settings={"size": 64, "dimensions": 3})
    (case,) = open_dataset(tmp_path).cases
    assert read_labels(case.masks[0])[0].shape == (64, 64, 64)  # type: ignore[arg-type]


def test_number_n_is_the_same_however_many_are_made_and_after_an_interruption(tmp_path: Path) -> None:
    synthesize("fractal-vessels", count=11, out=tmp_path / "many", settings=SMALL)
    synthesize("fractal-vessels", count=9, out=tmp_path / "few", settings=SMALL)
    for path in (tmp_path / "few" / "masks").iterdir():
        assert path.read_bytes() == (tmp_path / "many" / "masks" / path.name).read_bytes()
    victim = next((tmp_path / "few" / "masks").iterdir())
    content = victim.read_bytes()
    victim.unlink()
    synthesize("fractal-vessels", count=11, out=tmp_path / "few", settings=SMALL)
    assert victim.read_bytes() == content
    assert len(open_dataset(tmp_path / "few").cases) == 11
    assert len({path.read_bytes() for path in (tmp_path / "few" / "masks").iterdir()}) == 11


def test_volumes_are_made_one_by_one_and_are_those_that_would_be_made_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    generate = VesselTrees.generate

    def counted(self: VesselTrees, count: int, inference: Inference, given: Batch | None = None) -> Generation:
        counts.append(count)
        return generate(self, count, inference)

    monkeypatch.setattr(VesselTrees, "generate", counted)
    settings = {"size": 64, "dimensions": 3}
    synthesize("vessel-trees", count=3, out=tmp_path, settings=settings)
    assert counts == [1, 1, 1]
    chosen = VesselTrees.Settings.model_validate(settings)
    together = VesselTrees(chosen, VesselTrees.blank(chosen)).generate(3, Inference(seed=0, stage="synthesis"))
    assert together.masks.dtype == torch.bool, "a byte a voxel until they are written"
    for case, mask in zip(open_dataset(tmp_path).cases, together.masks[:, 0].numpy(), strict=True):
        assert np.array_equal(read_labels(case.masks[0])[0] == 255, mask)  # type: ignore[arg-type]


def test_what_cannot_be_made_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"unet makes no images; those that do are: .*vessel-trees"):
        synthesize("unet", count=1, out=tmp_path / "out")
    with pytest.raises(SettingsError, match="no such method and no such run"):
        synthesize("nothing", count=1, out=tmp_path / "out")
    with pytest.raises(SettingsError, match="--count 0"):
        synthesize("vessel-trees", count=0, out=tmp_path / "out")
    with pytest.raises(SettingsError, match=r"--settings\.size"):
        synthesize("vessel-trees", count=1, out=tmp_path / "out", settings={"size": 3})
    assert not (tmp_path / "out").exists()


def test_another_folder_s_files_are_never_mixed_with_what_is_made(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(SettingsError, match=r"notes\.txt"):
        synthesize("fractal-vessels", count=1, out=tmp_path / "mine", settings=SMALL)
    (tmp_path / "own" / "masks").mkdir(parents=True)
    (tmp_path / "own" / "masks" / "fractal-vessels-0-000000.png").write_bytes(b"mine")
    with pytest.raises(SettingsError, match=r"holds masks but no scantling\.json; choose a folder"):
        synthesize("fractal-vessels", count=1, out=tmp_path / "own", settings=SMALL)
    synthesize("fractal-vessels", count=1, out=tmp_path / "made", settings=SMALL)
    with pytest.raises(RunError, match="made otherwise"):
        synthesize("vessel-trees", count=1, out=tmp_path / "made", settings=SMALL)
    with pytest.raises(RunError, match="made otherwise"):
        synthesize("fractal-vessels", count=1, options={"seed": 1}, out=tmp_path / "made", settings=SMALL)
    assert len(json.loads((tmp_path / "made" / "scantling.json").read_text())["case"]) == 1


def test_what_is_interrupted_before_the_first_list_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generate = FractalVessels.generate

    def stops(self: FractalVessels, count: int, inference: Inference, given: Batch | None = None) -> Generation:
        if inference.number:
            raise KeyboardInterrupt
        return generate(self, count, inference)

    with monkeypatch.context() as patch:
        patch.setattr(FractalVessels, "generate", stops)
        with pytest.raises(KeyboardInterrupt):
            synthesize("fractal-vessels", count=9, out=tmp_path / "out", settings=SMALL)
    synthesize("fractal-vessels", count=9, out=tmp_path / "out", settings=SMALL)
    assert len(open_dataset(tmp_path / "out").cases) == 9
    with pytest.raises(SettingsError, match=r"--count 2: .*out holds 9 cases already; ask for 9 or more, or choose"):
        synthesize("fractal-vessels", count=2, out=tmp_path / "out", settings=SMALL)
