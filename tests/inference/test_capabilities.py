"""Classifiers, objects, decisions, encoders and models built on others, from the command line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from made import write
from scantling.cli.main import main
from scantling.contract.method import build
from scantling.contract.results import Classification, Segmentation
from scantling.core.case import Geometry, Sample
from scantling.core.errors import DataError
from scantling.data.dataset import open_dataset
from scantling.inference.answering import segment
from scantling.inference.tiles import Tiler
from scantling.methods.catalogue import CARDS, added
from scantling.records.run_folder import load_model
from toys import TRAITS
from toys_capabilities import TOYS, BlobOptions, Blobs, Both, Shade


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, card in TOYS.items():
        monkeypatch.setitem(CARDS, name, card)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten images of discs, bright ones on grey and dark ones on black, with masks and image classes."""
    folder, generator = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for part, count in (("train", 8), ("test", 2)):
        rows = ["id,class"]
        for number in range(count):
            bright = number % 2
            mask = np.zeros((30 + number, 33), np.uint8)
            grid = np.stack(np.meshgrid(*map(np.arange, mask.shape), indexing="ij"), -1)
            for centre in ((8, 8), (20, 22)):
                mask[np.linalg.norm(grid - centre, axis=-1) < 5] = 255
            image = 20 + 60 * bright + 100 * (mask > 0) + generator.normal(0, 4, mask.shape)
            write(folder / part / "images", f"{part}{number}", image.clip(0, 255).astype(np.uint8))
            write(folder / part / "masks", f"{part}{number}", mask)
            rows.append(f"{part}{number},{'bright' if bright else 'dark'}")
        (folder / part / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


def run(*words: str | Path, code: int = 0) -> None:
    assert main([str(word) for word in words]) == code


def rows(out: Path) -> dict[str, dict[str, str]]:
    with (out / "classes.csv").open(newline="") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


def test_a_classifier_is_trained_and_writes_the_class_of_each_image(data: Path, tmp_path: Path) -> None:
    run("train", "toy-classifier", "--data", data, "--out", tmp_path / "run", "--select", "best")
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["selected"]["value"] == 1.0
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert {name for line in log for name in line.get("validation", {})} == {"balanced_accuracy"}
    assert (tmp_path / "run" / "validation" / "classes.csv").is_file()
    out = tmp_path / "out"
    run("predict", tmp_path / "run", data, "--out", out)
    found = rows(out)
    assert {id: row["predicted"] for id, row in found.items()} == {"test0": "dark", "test1": "bright"}
    for row in found.values():
        assert float(row["p bright"]) + float(row["p dark"]) == pytest.approx(1, abs=1e-5)
    listed = json.loads((out / "predictions.json").read_text())
    assert listed["image_classes"] == ["bright", "dark"]
    assert all(case["class_uncertainty"].keys() == {"entropy", "margin"} for case in listed["cases"])
    assert not list(out.glob("*.png"))


def test_probabilities_that_are_not_finite_are_no_empty_mask(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run("train", "toy-both", "--data", data, "--out", tmp_path / "run", "--steps", "2")
    monkeypatch.setattr(Both, "segment", lambda _, b, **__: Segmentation(probabilities=b.image[:, :1] * torch.nan))
    run("predict", tmp_path / "run", data, "--out", tmp_path / "out", code=1)
    assert "probabilities that are not finite" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*.png"))


@pytest.mark.parametrize("value", [torch.nan, 0.9])
def test_what_a_classifier_answers_must_be_probabilities(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], value: float
) -> None:
    run("train", "toy-classifier", "--data", data, "--out", tmp_path / "run", "--steps", "2")
    monkeypatch.setattr(
        Shade, "classify", lambda _, batch, __: Classification(probabilities=torch.full((len(batch.image), 2), value))
    )
    run("predict", tmp_path / "run", data, "--out", tmp_path / "out", code=1)
    assert "expected probabilities that add up to 1" in capsys.readouterr().err
    assert not rows(tmp_path / "out")


def test_a_classifier_goes_on_in_shards_and_does_again_what_has_changed(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("train", "toy-classifier", "--data", data, "--out", tmp_path / "run", "--steps", "3")
    for part in ("1/2", "2/2"):
        run("predict", tmp_path / "run", data, "--out", tmp_path / "out", "--split", "all", "--shard", part)
    assert len(rows(tmp_path / "out")) == 10
    copy = tmp_path / "scans"
    for number in range(3):
        write(copy, f"scan{number}", np.full((20, 20), 40 * number, np.uint8))
    run("predict", tmp_path / "run", copy, "--out", tmp_path / "again", "--seed", "3")
    before = rows(tmp_path / "again")
    Image.fromarray(np.full((20, 20), 250, np.uint8)).save(copy / "scan1.png")
    capsys.readouterr()
    run("predict", tmp_path / "run", copy, "--out", tmp_path / "again", "--seed", "3")
    assert "2 of them in an earlier run" in capsys.readouterr().out
    after = rows(tmp_path / "again")
    assert [id for id in after if after[id] != before[id]] == ["scan1"]


def test_a_method_that_gives_both_writes_both_and_its_own_decision(data: Path, tmp_path: Path) -> None:
    run("train", "toy-both", "--data", data, "--out", tmp_path / "run", "--preset", "tiny")
    model = load_model(tmp_path / "run")
    assert -3 < model.threshold < 3
    run("predict", tmp_path / "run", data, "--out", tmp_path / "out", "--probabilities")
    assert rows(tmp_path / "out").keys() == {"test0", "test1"}
    mask = np.asarray(Image.open(tmp_path / "out" / "test0.png"))
    assert set(np.unique(mask)) == {0, 255}


def test_masks_that_a_calibration_reads_are_counted_and_one_without_cases_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("train", "toy-both", "--data", data, "--out", tmp_path / "run", "--preset", "tiny")
    validation = json.loads((tmp_path / "run" / "run.json").read_text())["split"]["validation"]
    assert load_model(tmp_path / "run").hand_drawn == len(validation) > 0
    run(
        "train", "toy-both", "--data", data, "--out", tmp_path / "none", "--preset", "tiny", "--validation", "0", code=2
    )
    assert "calibrates itself on validation cases with image and mask; found none" in capsys.readouterr().err


def test_objects_are_written_with_a_label_map_and_options_of_the_method(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("train", "toy-objects", "--data", data, "--out", tmp_path / "run", "--validation", "0")
    run("predict", tmp_path / "run", data, "--out", tmp_path / "out", "--options.smallest", "4")
    objects = json.loads((tmp_path / "out" / "instances" / "test0.json").read_text())["objects"]
    numbers = np.asarray(Image.open(tmp_path / "out" / "instances" / "test0.png"))
    truth = np.asarray(Image.open(data / "test" / "masks" / "test0.png"))
    assert sorted(each["number"] for each in objects) == [1, 2] == sorted(set(np.unique(numbers)) - {0})
    for each in objects:
        rows, columns = np.nonzero(numbers == each["number"])
        assert each["box"] == [[rows.min(), rows.max() + 1], [columns.min(), columns.max() + 1]]
    assert np.mean((numbers > 0) == (truth > 0)) > 0.95
    scores = tmp_path / "scores.json"
    run("evaluate", tmp_path / "out", data, "--metrics", "count_error", "aji", "--json", scores)
    (scored,) = json.loads(scores.read_text())["objects"].values()
    assert (scored["predicted"], scored["mask_ap_50"]) == (scored["true"], 1)
    run("export", tmp_path / "out", "--to", "qupath", "--out", tmp_path / "qupath")
    assert len(json.loads((tmp_path / "qupath" / "test0.geojson").read_text())["features"]) == 2
    assert "objects of 2 pictures" in capsys.readouterr().out
    listed = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert listed["options"]["smallest"] == listed["requested"]["smallest"] == 4
    for words, sentence in (
        (("--options.smallest", "0"), "--options.smallest: found 0"),
        (("--options.smallest", "2000000"), "expected at most 1,000,000 pixels"),
        (("--options.colour", "1"), "this model has no such option; it has: --seed"),
    ):
        run("predict", tmp_path / "run", "nowhere", "--out", tmp_path / "no", *words, code=2)
        assert sentence in capsys.readouterr().err


def test_a_method_on_an_encoder_keeps_it_in_its_model_and_asks_for_it_by_role(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("train", "toy-encoder", "--data", data, "--out", tmp_path / "code", "--preset", "tiny")
    head = ("train", "toy-head", "--data", data, "--out", tmp_path / "run", "--preset", "tiny")
    run(*head, code=2)
    assert "toy-head is built on a model that can encode; name its run with --use code=RUN" in capsys.readouterr().err
    run(*head, "--use", f"eyes={tmp_path / 'code'}", code=2)
    assert "toy-head has no such role; it uses: code" in capsys.readouterr().err
    run(*head, "--use", f"code={tmp_path / 'code'}")
    (tmp_path / "code").rename(tmp_path / "gone")
    model = load_model(tmp_path / "run")
    assert {name.partition(".")[0] for name in model.model_state()} == {"uses", "head"}
    run("predict", tmp_path / "run", data, "--out", tmp_path / "out")
    run("predict", tmp_path / "gone", data, "--out", tmp_path / "no", code=2)
    assert "toy-encoder cannot segment or classify; it can encode" in capsys.readouterr().err


def test_a_frame_that_serves_training_alone_may_be_missing_later(tmp_path: Path) -> None:
    data, generator = tmp_path / "data", np.random.default_rng(0)
    for number in range(4):
        mask = np.zeros((24, 24), np.uint8)
        mask[4:12, 6:15] = 255
        for frame in ("early", "late"):
            image = (mask // 2 + generator.integers(0, 40, mask.shape)).astype(np.uint8)
            write(data / frame, f"case{number}", image)
        write(data / "masks", f"case{number}", mask)
    (data / "scantling.toml").write_text(
        '[classes]\ndisc = 255\n[[group]]\npattern = "early/{id}.png"\nid = "{id}"\n'
        'images = { early = "{path}", late = "late/{id}.png" }\nmasks = "masks/{id}.png"\n'
    )
    run("train", "toy-frames", "--data", data, "--out", tmp_path / "run", "--preset", "tiny", "--validation", "0")
    write(tmp_path / "new", "scan", np.full((20, 22), 90, np.uint8))
    run("predict", tmp_path / "run", tmp_path / "new", "--out", tmp_path / "out")
    assert (tmp_path / "out" / "scan.png").is_file()


def test_objects_of_a_method_in_2d_are_refused_on_a_volume(data: Path) -> None:
    with added(*TOYS.values()):
        method = build(Blobs, Blobs.Settings(), TRAITS)
        case = next(iter(open_dataset(data).cases))
        volume = Sample(case, np.full((1, 3, 12, 12), 120, np.float32), Geometry((3, 12, 12), (1.0, 1.0, 1.0)))
        with pytest.raises(DataError, match=r"finds objects in pictures, and this is a volume"):
            segment(method, volume, device=torch.device("cpu"), tiler=Tiler(), options=BlobOptions())
