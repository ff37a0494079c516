"""`--options.reliabilities learn`: on validation cases that all runs held out, each run from its own data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scantling.contract.method import build
from scantling.core.case import Labels, Sample
from scantling.core.errors import DataError, RunError, SettingsError
from scantling.core.samples import Intensity, Traits
from scantling.inference import predict, reliabilities
from scantling.inference.models import models_of
from scantling.methods.features.odise import Odise
from scantling.methods.supervised.unet import UNetSegmenter
from scantling.records.run_folder import save_model
from scantling.report.learned import believed_block

SIDE = 16
HELD_OUT = tuple(f"v{n}" for n in range(6))
LEARN = {"fuse": "dempster", "reliabilities": "learn"}


def run_of(folder: Path, data: Path, manifest: Path, channel: str, *, held_out: Sequence[str] = HELD_OUT) -> Path:
    """A run without training, of images of one channel of a data set."""
    one = Intensity(mean=0, std=1, low=0, high=255, minimum=0, maximum=255)
    traits = Traits(
        dimensions=2, channels=(channel,), spacing=(1.0, 1.0), shape=(SIDE, SIDE), smallest=(SIDE, SIDE),
        intensity=(one,), labels=Labels(names=("lesion",), values=((1,),)),
    )  # fmt: skip
    model = build(UNetSegmenter, UNetSegmenter.Settings.preset("tiny").resolve(traits), traits, seed=len(channel))
    save_model(model, folder / "model")
    facts = {
        "method": "unet", "settings": {}, "warnings": [], "manifest": str(manifest),
        "traits": json.loads(traits.model_dump_json()),
        "data": [{"path": str(data), "name": "two"}],
        "split": {"train": ["t0"], "validation": list(held_out), "test": ["x0", "x1"]},
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(facts))
    return folder


@pytest.fixture(name="runs")
def runs_of_two_channels(tmp_path: Path) -> tuple[Path, list[Path]]:
    """A data set whose flair shows the lesion and whose t1 is flat, and a run of each; test masks are broken."""
    data = tmp_path / "two"
    ids = ("t0", *HELD_OUT, "x0", "x1")
    for folder in ("flair", "t1", "masks"):
        (data / folder).mkdir(parents=True)
    for number, id in enumerate(ids):
        truth = np.zeros((SIDE, SIDE), np.uint8)
        truth[2 : 6 + number, 3:9] = 1
        Image.fromarray(40 + 160 * truth).save(data / "flair" / f"{id}.png")
        Image.fromarray(np.full_like(truth, 90)).save(data / "t1" / f"{id}.png")
        Image.fromarray(truth).save(data / "masks" / f"{id}.png")
    for id in ("x0", "x1"):
        (data / "masks" / f"{id}.png").write_bytes(b"broken")

    def manifest(path: Path, *channels: str) -> Path:
        images = ", ".join(f'{name} = "{name}/{{id}}.png"' for name in channels)
        path.write_text(
            f'[classes]\nlesion = 1\n[[group]]\npattern = "{channels[0]}/{{id}}.png"\nsubject = "{{id}}"\n'
            f'images = {{ {images} }}\nmasks = "masks/{{id}}.png"\n'
        )
        return path

    manifest(data / "scantling.toml", "flair", "t1")
    made = [run_of(tmp_path / name, data, manifest(data / f"{name}.toml", name), name) for name in ("flair", "t1")]
    return data, made


def knows_flair(method: Any, sample: Sample, **how: Any) -> np.ndarray:
    """What the model of flair sees, and no more than half of a certainty of t1."""
    del how
    return 0.8 * (sample.image > 100) + 0.1 if method.channels == ("flair",) else np.full(sample.image.shape, 0.5)


def test_who_sees_more_is_believed_more_and_no_test_mask_is_read(
    runs: tuple[Path, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, (flair, t1) = runs
    monkeypatch.setattr(reliabilities, "opinion", knows_flair)
    monkeypatch.setattr(reliabilities, "REPEATS", 3)
    how: dict[str, Any] = {"ensemble": [t1], "split": "test", "options": LEARN}
    done = predict(flair, data, out=tmp_path / "out", **how)
    assert len(done.cases) == 2
    (of_flair, of_t1), facts = done.header["options"]["reliabilities"], done.header["reliabilities"]
    assert min(of_flair) > 0.9
    assert max(of_t1) < min(of_flair)
    assert (facts["sources"], facts["classes"]) == (["flair", "t1"], ["background", "lesion"])
    assert (facts["cases"], facts["subjects"]) == (6, 6)
    assert np.all(np.array(facts["low"]) <= np.array(facts["high"]))
    assert "learnt on 6 validation cases of 6 subjects, whose masks were read: flair background" in done.notes[0]
    block = believed_block(json.loads((tmp_path / "out" / "predictions.json").read_text()))
    assert block is not None
    assert "learnt on 6 validation cases of 6 subjects, with 95 % intervals" in block.note
    assert block.rows[0][1][1].startswith(f"{of_flair[1]:.2f} (")

    monkeypatch.setattr(reliabilities, "opinion", None)  # the same command does not learn again
    again = predict(flair, data, out=tmp_path / "out", **how)
    assert again.skipped == 2
    assert again.header == done.header
    with pytest.raises(RunError, match="made otherwise"):
        predict(flair, data, out=tmp_path / "out", **how | {"options": {"fuse": "dempster"}})


def test_a_validation_mask_that_cannot_be_read_is_left_out_and_other_masks_of_one_id_are_not_compared(
    runs: tuple[Path, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, (flair, t1) = runs
    monkeypatch.setattr(reliabilities, "opinion", knows_flair)
    monkeypatch.setattr(reliabilities, "REPEATS", 1)
    broken = min(case.id for case in reliabilities.dataset_of(flair).cases if case.split == "validation")
    (data / "masks" / f"{broken}.png").write_bytes(b"broken")
    how: dict[str, Any] = {"ensemble": [t1], "split": "test", "options": LEARN}
    done = predict(flair, data, out=tmp_path / "out", **how)
    assert done.header["reliabilities"]["cases"] == 5
    assert f"(1 case could not be read, {broken})" in done.notes[0]
    monkeypatch.setattr(reliabilities, "content_of", lambda case, reads: repr(case.images))  # each run has its own
    with pytest.raises(RunError, match="hold out no validation case in common"):
        predict(flair, data, out=tmp_path / "other", **how)


@pytest.mark.parametrize("held_out", [(), ("x0",), ("t0",)])
def test_runs_without_a_common_validation_case_are_refused(
    runs: tuple[Path, list[Path]], tmp_path: Path, held_out: tuple[str, ...]
) -> None:
    data, (flair, _) = runs
    other = run_of(tmp_path / "other", data, data / "t1.toml", "t1", held_out=held_out)
    with pytest.raises(RunError, match="hold out no validation case in common"):
        predict(flair, data, out=tmp_path / "out", ensemble=[other], split="test", options=LEARN)
    assert not (tmp_path / "out").exists()


def test_data_that_are_gone_are_named(runs: tuple[Path, list[Path]], tmp_path: Path) -> None:
    data, (flair, t1) = runs
    facts = json.loads((t1 / "run.json").read_text())
    (t1 / "run.json").write_text(json.dumps(facts | {"data": [{"path": "/gone/two"}], "manifest": None}))
    with pytest.raises(DataError, match="/gone/two"):
        predict(flair, data, out=tmp_path / "out", ensemble=[t1], split="test", options=LEARN)


def test_one_run_has_nothing_to_combine(runs: tuple[Path, list[Path]], tmp_path: Path) -> None:
    data, (flair, _) = runs
    with pytest.raises(SettingsError, match="each of which is one source, and there is one; name others with"):
        predict(flair, data, out=tmp_path / "out", options={"fuse": "dempster", "samples": 3})


def test_reliabilities_of_other_classes_than_those_of_the_training_are_not_learnt() -> None:
    one = Intensity(mean=0, std=1, low=0, high=255, minimum=0, maximum=255)
    traits = Traits(
        dimensions=2, channels=("red", "green", "blue"), spacing=(1.0, 1.0), shape=(SIDE, SIDE),
        smallest=(SIDE, SIDE), intensity=(one,) * 3, labels=Labels(names=("liver", "tumour"), values=((1,), (2,))),
    )  # fmt: skip
    settings = Odise.Settings.preset("tiny", {"features": "pyramid"}).resolve(traits)
    models = [build(Odise, settings, traits, seed=seed) for seed in range(2)]
    with pytest.raises(SettingsError, match=r"leave out --options\.vocabulary, or give numbers"):
        models_of(models, {**LEARN, "vocabulary": "tumour"})
    assert models_of(models, LEARN).segment is not None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("lean", r"--options.reliabilities: found 'lean'; .*or the word learn"),
        ([[0.5, 0.5], [0.5]], "one for each model such as 0.9,0.4"),
        ([[0.5] * 3] * 2, r"found 3 for each model; expected one, or 2 \(background, lesion\)"),
    ],
)
def test_reliabilities_that_cannot_be_are_a_sentence(
    runs: tuple[Path, list[Path]], tmp_path: Path, given: object, message: str
) -> None:
    data, (flair, t1) = runs
    with pytest.raises(SettingsError, match=message):
        predict(flair, data, out=tmp_path / "o", ensemble=[t1], options={"fuse": "dempster", "reliabilities": given})
