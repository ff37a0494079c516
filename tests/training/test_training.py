"""The commands `train` and `predict`, end to end on small made data."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from safetensors import SafetensorError
from safetensors.torch import load_file

from commands import started
from made import images_for
from scantling.cli.main import main
from scantling.core.case import Geometry, Labels
from scantling.core.errors import FileError, RunError, ScantlingError, SettingsError
from scantling.core.outputs import locked
from scantling.inference import predict
from scantling.inference.answering import segment as answer
from scantling.inference.writing import write_mask, written_values
from scantling.methods.catalogue import CARDS
from scantling.records.run import run_facts
from scantling.records.run_folder import load_model
from scantling.training import Options, train

TINY = Options(preset="tiny", seed=2, validation=0.25)


def trained(data: Path, out: Path, options: Options = TINY, **changes: Any) -> dict[str, Any]:
    return train("unet", [data], out, replace(options, **changes), console=Console(quiet=True))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return images_for(CARDS["unet"], tmp_path_factory.mktemp("data"), dimensions=2)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "unet"
    trained(data, out)
    return out


def test_a_run_folder_says_what_was_done(run: Path, data: Path) -> None:
    facts = run_facts(run)
    assert facts["method"] == "unet"
    assert facts["steps"] == 4
    parts = facts["split"]
    assert sorted(parts["train"] + parts["validation"]) == ["case0", "case1", "case2", "case3"]
    assert (len(parts["train"]), len(parts["validation"])) == (3, 1), "a quarter is held out"
    assert parts["test"] == ["case4", "case5"]
    assert facts["finished"]
    assert facts["parameters"] == sum(t.numel() for t in load_file(run / "model" / "weights.safetensors").values())
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "losses" in line] == [1, 2, 3, 4]
    assert all(0 <= line["validation"]["dice"] <= 1 for line in lines if "validation" in line)
    listed = json.loads((run / "validation" / "predictions.json").read_text())
    assert [case["id"] for case in listed["cases"]] == facts["split"]["validation"]
    assert not (run / "state-previous.safetensors").exists()


def test_a_finished_run_is_left_alone(run: Path, data: Path) -> None:
    before = (run / "model" / "weights.safetensors").stat().st_mtime_ns
    assert trained(data, run)["finished"]
    assert (run / "model" / "weights.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"seed": 3}, "seed was 2, is 3"),
        ({"settings": {"rate": 0.5}}, r"settings.rate was 0.02, is 0.5"),
        ({"steps": 9}, r"settings.steps was 4, is 9"),
        ({"select": "best"}, r"options.select was last, is best"),
    ],
)
def test_a_run_with_other_settings_is_refused_and_the_difference_shown(
    run: Path, data: Path, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(RunError, match=told):
        trained(data, run, **changes)


def test_other_images_under_the_same_names_are_refused(data: Path, tmp_path: Path) -> None:
    copy = images_for(CARDS["unet"], tmp_path / "data", dimensions=2)
    trained(copy, tmp_path / "run", validation=0.0)
    image = copy / "train" / "images" / "case0.png"
    Image.fromarray(255 - np.asarray(Image.open(image))).save(image)
    with pytest.raises(RunError, match=r"data: 1 file has changed \(train/images/case0.png\); repeat"):
        trained(copy, tmp_path / "run", validation=0.0)
    (tmp_path / "run" / "data.json").unlink()
    with pytest.raises(RunError, match=r"data\[0\].sha256 was"):
        trained(copy, tmp_path / "run", validation=0.0)


def test_a_resume_on_other_data_names_the_files_that_are_new_gone_or_changed(data: Path, tmp_path: Path) -> None:
    copy = images_for(CARDS["unet"], tmp_path / "data", dimensions=2)
    trained(copy, tmp_path / "run", validation=0.0)
    for folder in ("images", "masks"):
        (copy / "train" / folder / "case0.png").rename(copy / "train" / folder / "other.png")
    Image.fromarray(255 - np.asarray(Image.open(copy / "train" / "images" / "case1.png"))).save(
        copy / "train" / "images" / "case1.png"
    )
    with pytest.raises(RunError) as error:
        trained(copy, tmp_path / "run", validation=0.0)
    sentence = str(error.value)
    assert "2 files are new (train/images/other.png, train/masks/other.png)" in sentence
    assert "2 files are gone (train/images/case0.png, train/masks/case0.png)" in sentence
    assert "1 file has changed (train/images/case1.png)" in sentence
    assert "sha256" not in sentence
    assert "split" not in sentence


def test_a_locked_run_is_refused(data: Path, tmp_path: Path) -> None:
    with locked(tmp_path / "run"), pytest.raises(RunError, match="is in use by process"):
        trained(data, tmp_path / "run")


def test_a_folder_that_is_no_run_is_left_alone(data: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("precious")
    with pytest.raises(SettingsError, match=r"holds thesis.doc but no run\.json"):
        trained(data, tmp_path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"validation": 1.0}, "--validation"),
        ({"labels": 0}, "--labels 0"),
        ({"label_seed": 1}, "--label-seed 1: chooses among the subjects of --labels"),
        ({"label_slices": 0}, "--label-slices 0"),
        ({"label_slices_from": "middle"}, "--label-slices-from middle: add --label-slices"),
        ({"steps": 0}, "--steps 0"),
        ({"accumulation": 3}, "cannot be shared by 3"),
        ({"select": "best", "validation": 0.0}, "--select best: found no validation case"),
        ({"threads": 0}, "--threads 0"),
        ({"device": "tpu"}, "--device tpu"),
        ({"settings": {"colour": 1}}, "there is no such setting"),
        ({"base": Path("nowhere")}, "found no model"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_starts(
    data: Path, tmp_path: Path, changes: Any, told: str
) -> None:
    with pytest.raises(ScantlingError, match=told):
        trained(data, tmp_path / "run", **changes)
    assert not (tmp_path / "run" / "run.json").exists(), "what was refused must not bind the next command"


def test_a_training_that_was_killed_before_it_began_can_be_begun(data: Path, tmp_path: Path) -> None:
    (tmp_path / ".run.json.left").write_text("{")
    assert trained(data, tmp_path)["finished"]


@pytest.mark.parametrize(
    "facts", ["{}", "[]", "3", '{"data": 3}', '{"data": [1], "split": []}', '{"traits": {}}', "{" * 100_000, ""]
)
def test_a_run_json_that_is_none_is_a_sentence(run: Path, data: Path, tmp_path: Path, facts: str) -> None:
    broken = tmp_path / "run"
    shutil.copytree(run, broken)
    (broken / "run.json").write_text(facts)
    with pytest.raises(ScantlingError, match=r"run\.json"):
        trained(data, broken)
    with pytest.raises(ScantlingError, match=r"run\.json"):
        predict(broken, data, out=tmp_path / "out")


def test_a_region_that_changed_is_refused(tmp_path: Path) -> None:
    folder = images_for(CARDS["unet"], tmp_path / "data", dimensions=2)
    for part in ("train", "test"):
        for image in (folder / part / "images").iterdir():
            shape = np.asarray(Image.open(image)).shape
            (folder / part / "fov").mkdir(exist_ok=True)
            Image.fromarray(np.full(shape, 255, np.uint8)).save(folder / part / "fov" / image.name)
    trained(folder, tmp_path / "run")
    region = folder / "train" / "fov" / "case0.png"
    smaller = np.asarray(Image.open(region)).copy()
    smaller[:5] = 0
    Image.fromarray(smaller).save(region)
    with pytest.raises(RunError, match=r"1 file has changed \(train/fov/case0.png\)"):
        trained(folder, tmp_path / "run")


def test_a_full_disk_is_a_sentence_and_leaves_what_was_there(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(FileError, match=r"run/.+safetensors: cannot be written \(No space left on device\); free"):
        trained(data, tmp_path / "run")
    monkeypatch.undo()
    assert trained(data, tmp_path / "run")["finished"]


def test_a_training_that_failed_before_its_first_step_may_be_begun_with_other_settings(
    data: Path, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match="lower the learning rate"):
        trained(data, tmp_path, settings={"rate": 1e30})
    assert trained(data, tmp_path, settings={"rate": 1e-3})["finished"]


def test_no_data_and_no_such_method_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="found no data"):
        train("unet", [], tmp_path / "run")
    with pytest.raises(SettingsError, match="did you mean unet"):
        train("u-net", [tmp_path], tmp_path / "run")


def test_without_validation_all_subjects_are_trained_on(data: Path, tmp_path: Path) -> None:
    facts = trained(data, tmp_path / "run", validation=0.0)
    assert len(facts["split"]["train"]) == 4
    assert facts["split"]["validation"] == []
    assert not (tmp_path / "run" / "validation").exists()


def test_cases_that_are_only_a_mask_are_counted_apart(data: Path, tmp_path: Path) -> None:
    (tmp_path / "painted" / "masks").mkdir(parents=True)
    shutil.copy(next((data / "train" / "masks").iterdir()), tmp_path / "painted" / "masks" / "alone.png")
    said = StringIO()
    options = replace(TINY, validation=0.0)
    train("unet", [data, tmp_path / "painted"], tmp_path / "run", options, console=Console(file=said, width=200))
    assert "4 training cases with masks and 1 that are only a mask, 2 test" in said.getvalue()


def test_the_best_weights_on_validation_are_kept_when_asked_for(data: Path, tmp_path: Path) -> None:
    facts = trained(data, tmp_path / "run", select="best", steps=12, settings={"rate": 0.3})
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    values = {line["step"]: line["validation"]["dice"] for line in lines if "validation" in line}
    best = max(values.values())
    assert facts["selected"]["value"] == best
    assert facts["selected"]["step"] == next(step for step, value in values.items() if value == best)


def test_weights_can_be_taken_from_another_run(run: Path, data: Path, tmp_path: Path) -> None:
    trained(data, tmp_path / "on", base=run, settings={"rate": 1e-30, "weight_decay": 0.0, "average": 0.0})
    before, after = (load_file(path / "model" / "weights.safetensors") for path in (run, tmp_path / "on"))
    assert all(np.allclose(before[name], after[name], atol=1e-6) for name in before)


def train_in_small_steps(data: Path, out: Path) -> None:
    """A training that saves a checkpoint at every step."""
    options = Options(preset="tiny", steps=60, seed=2, validation=0.25, saved_every=0.0, threads=1)
    train("unet", [data], out, options, console=Console(quiet=True))


def test_killed_at_random_moments_and_started_again_the_weights_are_the_same(data: Path, tmp_path: Path) -> None:
    """With SIGKILL, in a process of its own, checkpoints every step."""

    def done(out: Path) -> int | None:
        process = started(train_in_small_steps, data, out)
        process.join(timeout=120)
        return process.exitcode

    train_in_small_steps(data, tmp_path / "whole")
    chance, kills = random.Random(0), 0
    broken = tmp_path / "broken"
    for _ in range(2):
        process = started(train_in_small_steps, data, broken)
        begun = broken / "state.safetensors"
        while not begun.exists() and process.is_alive():
            time.sleep(0.01)
        time.sleep(chance.uniform(0.05, 0.4))
        if process.is_alive():
            process.kill()
            kills += 1
        process.join(timeout=120)
    assert kills, "the machine is too fast for this test; train longer"
    assert done(broken) == 0
    one, two = (load_file(path / "model" / "weights.safetensors") for path in (tmp_path / "whole", broken))
    assert all(np.array_equal(one[name], two[name]) for name in one)
    steps = [json.loads(line)["step"] for line in (broken / "log.jsonl").read_text().splitlines() if "losses" in line]
    assert steps == list(range(1, 61))


def run_in_a_terminal(words: Sequence[str], said: Path) -> None:
    """The command as a process of its own, whose errors go to a file."""
    with said.open("w") as sys.stderr:
        code = main(words)
    sys.exit(code)


def test_sigterm_saves_and_says_how_to_go_on(data: Path, tmp_path: Path) -> None:
    run, said = tmp_path / "run", tmp_path / "said"
    words = ["train", "unet", "--data", str(data), "--out", str(run), "--preset", "tiny", "--steps", "3000"]
    process = started(run_in_a_terminal, words, said)
    while not (run / "log.jsonl").exists() or not (run / "log.jsonl").read_text():
        assert process.is_alive()
        time.sleep(0.05)
    process.terminate()
    process.join(timeout=60)
    assert process.exitcode == 2
    assert "the same command goes on from there" in said.read_text()
    assert "Traceback" not in said.read_text()
    assert (run / "state.safetensors").exists()


def test_predictions_keep_size_values_and_range(run: Path, data: Path, tmp_path: Path) -> None:
    done = predict(run, data, out=tmp_path, probabilities=True)
    assert [case["id"] for case in done.cases] == ["case4", "case5"]
    for case in done.cases:
        image = np.asarray(Image.open(data / "test" / "images" / f"{case['id']}.png"))
        mask = np.asarray(Image.open(tmp_path / case["mask"]))
        chances = np.asarray(Image.open(tmp_path / case["probability"]))
        assert mask.shape == chances.shape == image.shape
        assert set(np.unique(mask)) <= {0, 255}
        assert np.array_equal(mask == 255, chances > 0.5)
    listed = json.loads((tmp_path / "predictions.json").read_text())
    assert listed["values"] == [[255]]
    assert listed["split"] == "test"


def test_a_broken_file_fails_alone_and_is_listed(run: Path, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / f"{name}.png").write_bytes((data / "test" / "images" / "case4.png").read_bytes())
    (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:200])
    done = predict(run, folder, out=tmp_path / "out")
    assert [case["id"] for case in done.cases] == ["a", "c"]
    assert [case["id"] for case in done.failed] == ["b"]
    assert "b.png" in done.failed[0]["error"]
    assert not (tmp_path / "out" / "b.png").exists()


def test_an_interrupted_prediction_goes_on_where_it_was(run: Path, data: Path, tmp_path: Path) -> None:
    predict(run, data, out=tmp_path)
    (tmp_path / "case5.png").unlink()
    kept = (tmp_path / "case4.png").stat().st_mtime_ns
    done = predict(run, data, out=tmp_path)
    assert done.skipped == 1
    assert (tmp_path / "case4.png").stat().st_mtime_ns == kept
    assert (tmp_path / "case5.png").exists()
    with pytest.raises(RunError, match="choose another --out"):
        predict(run, data, out=tmp_path, options={"views": False})


def test_predictions_of_another_model_under_the_same_name_are_not_taken_over(data: Path, tmp_path: Path) -> None:
    trained(data, tmp_path / "run")
    predict(tmp_path / "run", data, out=tmp_path / "masks")
    shutil.rmtree(tmp_path / "run")
    trained(data, tmp_path / "run", seed=7)
    with pytest.raises(RunError, match="lists predictions made otherwise: model was"):
        predict(tmp_path / "run", data, out=tmp_path / "masks")


@pytest.mark.parametrize("listed", ["[]", "3", "{}", '{"cases": [{"id": 1}]}', '{"cases": 3}', '{"cases": [3]}'])
def test_a_list_of_predictions_that_is_none_is_a_sentence(run: Path, data: Path, tmp_path: Path, listed: str) -> None:
    (tmp_path / "predictions.json").write_text(listed)
    with pytest.raises(FileError, match="does not list predictions"):
        predict(run, data, out=tmp_path)


def test_a_case_that_takes_too_much_memory_fails_alone(
    run: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def segment(method: Any, sample: Any, **how: Any) -> np.ndarray:
        if sample.case.id == "case4":
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")
        return answer(method, sample, **how)

    monkeypatch.setattr("scantling.inference.prediction.segment", segment)
    done = predict(run, data, out=tmp_path)
    assert [case["id"] for case in done.failed] == ["case4"]
    assert [case["id"] for case in done.cases] == ["case5"]


def test_the_test_cases_of_each_joined_data_set_are_found_again(data: Path, tmp_path: Path) -> None:
    other = images_for(CARDS["unet"], tmp_path / "other", dimensions=2)
    facts = train("unet", [data, other], tmp_path / "run", TINY, console=Console(quiet=True))
    assert len(facts["split"]["test"]) == 4
    for folder in (data, other):
        done = predict(tmp_path / "run", folder, out=tmp_path / f"masks-{folder.name}")
        assert done.header["split"] == "test"
        assert [case["id"] for case in done.cases] == ["case4", "case5"]


def test_a_class_of_a_strange_model_names_no_folder_elsewhere(tmp_path: Path) -> None:
    labels = Labels(names=("../elsewhere", "b"), values=((1, 2), (2,)))
    write_mask(tmp_path / "out", "a", np.ones((2, 4, 4), np.uint8), Geometry((4, 4), (1.0, 1.0)), labels)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert {path.parent.parent for path in tmp_path.rglob("*.png")} == {tmp_path / "out"}


def test_a_class_that_is_0_in_the_data_is_written_as_another_number() -> None:
    plain = Labels(names=("a", "b"), values=((7, 8), (3,)))
    assert written_values(plain) == [[7, 8], [3]]
    assert written_values(Labels(names=("vessel",), values=((0,),), background=(255,))) == [[1]]


def test_shards_together_do_what_one_does(run: Path, data: Path, tmp_path: Path) -> None:
    predict(run, data, out=tmp_path / "one", split="all")
    for part in (1, 2, 3):
        predict(run, data, out=tmp_path / "three", split="all", shard=(part, 3))
    one, three = (json.loads((tmp_path / name / "predictions.json").read_text()) for name in ("one", "three"))
    assert [case["id"] for case in one["cases"]] == [case["id"] for case in three["cases"]]
    for case in one["cases"]:
        assert (tmp_path / "one" / case["mask"]).read_bytes() == (tmp_path / "three" / case["mask"]).read_bytes()
    with pytest.raises(SettingsError, match="--shard 4/3"):
        predict(run, data, out=tmp_path / "no", shard=(4, 3))


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_masks_are_never_written_over_the_data(run: Path, data: Path, tmp_path: Path, kind: str) -> None:
    scans = tmp_path / "scans"
    shutil.copytree(data, scans)
    before = {path: path.read_bytes() for path in scans.rglob("*.png")}
    with pytest.raises(SettingsError, match="choose another folder"):
        predict(run, scans, out=scans / "test" / kind)
    with pytest.raises(SettingsError, match="which is read"):
        predict(run, scans / "test" / "images", out=scans / "test" / "images")
    assert {path: path.read_bytes() for path in scans.rglob("*.png")} == before


@pytest.mark.parametrize("form", ["file", "folder", "glob"])
def test_any_form_of_input_is_taken(run: Path, data: Path, tmp_path: Path, form: str) -> None:
    images = data / "test" / "images"
    source = {"file": images / "case4.png", "folder": images, "glob": f"{images}/case*.png"}[form]
    done = predict(run, source, out=tmp_path)
    assert len(done.cases) == (1 if form == "file" else 2)


def test_a_bad_model_is_a_sentence(run: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="found no model"):
        predict(tmp_path / "nothing", data, out=tmp_path / "out")
    for name in ("weights.safetensors", "settings.json"):
        broken = tmp_path / name
        broken.mkdir()
        for path in (run / "model").iterdir():
            (broken / path.name).write_bytes(path.read_bytes())
        whole = (broken / name).read_bytes()
        renamed = whole.replace(b"settings" if name == "settings.json" else b'.weight"', b"sittings")
        for torn in (b"", whole[:50], whole[:-10], renamed):
            assert torn != whole
            (broken / name).write_bytes(torn)
            with pytest.raises(ScantlingError):
                load_model(broken)


def test_volumes_leave_as_nifti_with_their_geometry(tmp_path: Path) -> None:
    data = images_for(CARDS["unet"], tmp_path / "data", dimensions=3, classes=2)
    trained(data, tmp_path / "run", validation=0.0)
    done = predict(tmp_path / "run", data, out=tmp_path / "out", probabilities=True)
    assert len(done.cases) == 2
    for case in done.cases:
        image = nib.load(data / "test" / "images" / f"{case['id']}.nii.gz")
        mask, chances = nib.load(tmp_path / "out" / case["mask"]), nib.load(tmp_path / "out" / case["probability"])
        assert mask.shape == image.shape
        assert np.allclose(mask.affine, image.affine)
        assert chances.shape == (*image.shape, 2)
        assert set(np.unique(mask.dataobj)) <= {0, 1, 2}


def test_overlapping_classes_go_from_files_to_files(tmp_path: Path) -> None:
    data = images_for(CARDS["unet"], tmp_path / "data", dimensions=2, classes=2)
    manifest = (
        'name = "regions"\n[classes]\nwhole = [1, 2]\ncore = 2\n'
        '[[group]]\npattern = "train/images/{id}.png"\nimages = {grey = "train/images/{id}.png"}\n'
        'masks = ["train/masks/{id}.png"]\nsplit = "train"\n'
        '[[group]]\npattern = "test/images/{id}.png"\nimages = {grey = "test/images/{id}.png"}\n'
        'masks = ["test/masks/{id}.png"]\nsplit = "test"\n'
    )
    (data / "scantling.toml").write_text(manifest)
    trained(data, tmp_path / "run", validation=0.0, steps=40)
    done = predict(tmp_path / "run", data, out=tmp_path / "out", probabilities=True)
    assert [len(case["mask"]) for case in done.cases] == [2, 2]
    for name in ("whole", "core"):
        assert (tmp_path / "out" / name / "case4.png").exists()


def test_loading_a_model_never_imports_a_pickle(run: Path) -> None:
    assert {path.suffix for path in (run / "model").iterdir()} == {".json", ".safetensors"}
    assert os.sep not in (run / "model" / "settings.json").read_text().replace("://", "")


def test_a_validation_image_that_cannot_be_read_ends_no_training(data: Path, tmp_path: Path) -> None:
    scans = Path(shutil.copytree(data, tmp_path / "scans"))
    facts = train("unet", [scans], tmp_path / "first", TINY, console=Console(quiet=True))
    (held_out,) = facts["split"]["validation"]
    image = scans / "train" / "images" / f"{held_out}.png"
    image.write_bytes(image.read_bytes()[:-20])
    facts = train("unet", [scans], tmp_path / "second", TINY, console=Console(quiet=True))
    assert facts["finished"]
    assert facts["left_out"].keys() == {held_out}
    assert facts["split"]["validation"] == []
    assert any("1 case cannot be read and is left out" in warning for warning in facts["warnings"])
