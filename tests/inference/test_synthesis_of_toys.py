"""Generators through the command line: volumes, channels, conditions, objects; made folders are data sets again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

import toys_generation
from scantling.cli.main import main
from scantling.contract.results import Generation, Objects
from scantling.contract.step import Inference
from scantling.core.samples import Batch, Traits
from scantling.data.dataset import open_dataset
from scantling.data.files import read, read_labels
from scantling.methods.catalogue import added
from toys_generation import CARDS, Sower

AFFINE = np.array([[-0.8, 0, 0, 90], [0, -0.8, 0, 110], [0, 0, 2.5, -40], [0, 0, 0, 1.0]])
"""Left, posterior, superior: not the order in which axes are stored by default."""


@pytest.fixture(autouse=True)
def _toys() -> Iterator[None]:
    with added(*CARDS.values()):
        yield


def scantling(*words: object) -> int:
    return main([str(word) for word in words])


def made(out: Path) -> list[dict[str, object]]:
    return list(json.loads((out / "scantling.json").read_text())["case"])


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    """Volumes of int16 around 1000, oriented as CT usually is."""
    generator = np.random.default_rng(0)
    folder = tmp_path / "volumes" / "images"
    folder.mkdir(parents=True)
    for number in range(3):
        voxels = generator.normal(1000, 50, (6, 7, 5)).astype(np.int16)
        nib.save(nib.Nifti1Image(voxels, AFFINE), folder / f"scan{number}.nii.gz")
    return folder.parent


@pytest.fixture
def channels(tmp_path: Path) -> Path:
    """Pictures of two channels, 16 bits and float, as bright as the class of their mask; one is for testing."""
    folder, generator = tmp_path / "channels", np.random.default_rng(0)
    for name in ("t1", "t2", "masks"):
        (folder / name).mkdir(parents=True)
    for number in range(5):
        mask = np.zeros((16, 18), np.uint8)
        mask[2 + number : 9, 3:12] = 1
        mask[11:14, 2 : 9 + number] = 2
        Image.fromarray(mask).save(folder / "masks" / f"s{number}.png")
        noise = generator.normal(0, 1, (2, *mask.shape))
        Image.fromarray((3000.0 * mask + 10 * noise[0] + 500).astype(np.uint16)).save(folder / "t1" / f"s{number}.png")
        tifffile.imwrite(folder / "t2" / f"s{number}.tif", (0.1 * noise[1] - 2.0 * mask).astype(np.float32))
    (folder / "scantling.toml").write_text(
        'classes = { core = 1, rim = 2 }\nsplit = { test = ["s4"], train = ["s0", "s1", "s2", "s3"] }\n'
        '[[group]]\npattern = "t1/{id}.png"\nimages = { t1 = "t1/{id}.png", t2 = "t2/{id}.tif" }\n'
        'masks = ["masks/{id}.png"]\n'
    )
    return folder


def test_volumes_are_made_in_the_units_and_the_place_of_the_training_data(volumes: Path, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    assert scantling("train", "volume-maker", "--data", volumes, "--out", run, "--validation", 0) == 0
    assert scantling("synthesize", run, "--count", 2, "--out", out) == 0
    cases = open_dataset(out).cases
    assert [case.masks for case in cases] == [(), ()]
    for case in cases:
        image = nib.load(case.images["image"].path)
        assert image.get_data_dtype() == np.int16
        np.testing.assert_allclose(image.affine, AFFINE)
        values = np.asarray(image.dataobj)
        assert values.shape == (6, 7, 5)
        assert 900 < values.mean() < 1100, "Hounsfield-like units, not normalised ones"
        assert 25 < values.std() < 75
        assert case.origin.model.startswith("volume-maker ")
        assert case.origin.hand_drawn == 0
    assert scantling("train", "volume-maker", "--data", out, "--out", tmp_path / "next", "--validation", 0) == 0


def test_what_is_conditioned_on_is_the_parent_and_decides_the_split(channels: Path, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    assert scantling("train", "translator", "--data", channels, "--out", run, "--validation", 0) == 0
    assert scantling("synthesize", run, "--from", channels, "--count", 6, "--out", out) == 0
    cases = sorted(open_dataset(out).cases, key=lambda case: case.id)
    assert [case.origin.parents for case in cases] == [("s0",), ("s1",), ("s2",), ("s3",), ("s0",), ("s1",)]
    assert {case.split for case in cases} == {"train"}
    assert {case.origin.hand_drawn for case in cases} == {4}, "the masks of the training are those that it is given"
    for case in cases:
        (parent,) = case.origin.parents
        mask = read_labels(case.masks[0])[0]  # type: ignore[arg-type]
        np.testing.assert_array_equal(mask, np.asarray(Image.open(channels / "masks" / f"{parent}.png")))
        t1, t2 = read(case.images["t1"]), read(case.images["t2"])
        assert (t1.array.dtype, t2.array.dtype) == (np.uint16, np.float32)
        assert case.images["t1"].path.suffix == ".png"
    test = tmp_path / "test"
    assert scantling("synthesize", run, "--from", channels, "--split", "test", "--count", 1, "--out", test) == 0
    (case,) = open_dataset(test).cases
    assert (case.split, case.origin.parents) == ("test", ("s4",))
    assert scantling("train", "unet", "--data", out, "--out", tmp_path / "unet", "--preset", "tiny", "--steps", 2) == 0


def test_options_of_a_method_are_checked_and_part_of_what_is_made(
    channels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    assert scantling("train", "translator", "--data", channels, "--out", run, "--validation", 0) == 0
    common = ("synthesize", run, "--from", channels, "--count", 1, "--out")
    assert scantling(*common, out) == 0
    assert scantling(*common, tmp_path / "bright", "--options.brighter", 1) == 0
    plain, bright = (
        read(open_dataset(folder).cases[0].images["t2"]).array for folder in (out, tmp_path / "bright")
    )  # fmt: skip
    deviation = json.loads((run / "run.json").read_text())["traits"]["intensity"][1]["std"]
    np.testing.assert_allclose(bright - plain, deviation, rtol=1e-4)
    capsys.readouterr()
    for words, sentence in (
        ((out, "--options.brighter", 1), "made otherwise"),
        ((tmp_path / "x", "--options.brighter", 2), "--options.brighter: found 2"),
        ((tmp_path / "x", "--options.louder", 2), "this model has no such option"),
        ((tmp_path / "x", "--sampling-steps", 2), "translator runs no chain"),
        ((tmp_path / "x", "--class", "a"), "translator asks for no image class"),
    ):
        assert scantling(*common, *words) == 2
        assert sentence in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_what_a_method_asks_for_is_given_or_refused_in_a_sentence(
    channels: Path, volumes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    assert scantling("train", "translator", "--data", channels, "--out", run, "--validation", 0) == 0
    assert scantling("synthesize", "fractal-vessels", "--count", 1, "--size", 64, "--out", tmp_path / "trees") == 0
    capsys.readouterr()
    for words, sentence in (
        ((run,), "translator asks for masks; name a data set that has them with --from DATA"),
        ((run, "--from", volumes), "found no case with masks in the split train"),
        ((run, "--from", tmp_path / "trees"), "has the classes vessel; expected those of the model: core, rim"),
        ((run, "--from", channels, "--split", "none"), "--split none: expected train"),
        (("sower", "--from", channels), "sower asks for nothing; leave it out"),
        (("sower", "--split", "test"), "found no --from"),
        (("sower", "--shard", "3/2"), "--shard 3/2"),
        ((run, "--from", channels, "--split", "all", "--out", channels), "which is read; choose another folder"),
    ):
        assert scantling("synthesize", "--count", 1, "--out", out, *words) == 2
        assert sentence in capsys.readouterr().err
    assert not out.exists()


def test_a_class_is_named_or_taken_from_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    for number in range(3):
        Image.fromarray(np.full((8, 8), 40 * number, np.uint8)).save(data / "images" / f"c{number}.png")
    (data / "scantling.toml").write_text(
        "".join(
            f'[[case]]\nid = "c{n}"\nimages = "images/c{n}.png"\nclass = "{"ab"[n % 2]}"\nsplit = "train"\n'
            for n in range(3)
        )
    )
    run = tmp_path / "run"
    assert scantling("train", "classwise", "--data", data, "--out", run, "--validation", 0) == 0
    assert scantling("synthesize", run, "--class", "b", "--count", 2, "--out", tmp_path / "b") == 0
    cases = open_dataset(tmp_path / "b").cases
    assert [case.image_class for case in cases] == ["b", "b"]
    assert [int(read(case.images["image"]).array.min()) for case in cases] == [255, 255]
    assert scantling("synthesize", run, "--from", data, "--count", 4, "--out", tmp_path / "all") == 0
    assert [case["class"] for case in made(tmp_path / "all")] == ["a", "b", "a", "a"]
    capsys.readouterr()
    assert scantling("synthesize", run, "--count", 4, "--out", tmp_path / "none") == 2
    assert "--from DATA or --class NAME (a, b)" in capsys.readouterr().err
    assert scantling("synthesize", run, "--class", "c", "--count", 4, "--out", tmp_path / "none") == 2
    assert "the model knows the image classes: a, b" in capsys.readouterr().err


def test_objects_are_a_label_map_and_rejections_are_counted_over_the_whole_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole"
    assert scantling("synthesize", "sower", "--count", 18, "--out", whole, "--json", tmp_path / "w.json") == 0
    said = capsys.readouterr().out
    counts = json.loads((tmp_path / "w.json").read_text())["rejected"]
    alone = Sower(Sower.Settings(), Sower.blank(Sower.Settings()))
    lost = [alone.sow(toys_generation.numpy_generator(0, "sow", number))[2] for number in range(18)]
    assert counts == {reason: sum(one[reason] for one in lost) for reason in ("does not fit", "too small")}
    assert f"{sum(counts.values())} rejected (" in said
    assert f" of all that were made): does not fit ({counts['does not fit']}), too small" in said

    generate = Sower.generate

    def stops(self: Sower, count: int, inference: Inference, given: Batch | None = None) -> Generation:
        if inference.number == 16:
            raise KeyboardInterrupt
        return generate(self, count, inference, given)

    assert scantling("synthesize", "sower", "--count", 9, "--out", out) == 0
    with monkeypatch.context() as patch:
        patch.setattr(Sower, "generate", stops)
        assert scantling("synthesize", "sower", "--count", 18, "--out", out) == 1
    assert scantling("synthesize", "sower", "--count", 18, "--out", out, "--json", tmp_path / "o.json") == 0
    assert json.loads((tmp_path / "o.json").read_text())["rejected"] == counts
    assert made(out) == made(whole)
    for part in ("2/2", "1/2"):
        assert scantling("synthesize", "sower", "--count", 18, "--out", tmp_path / "parts", "--shard", part) == 0
    assert made(tmp_path / "parts") == made(whole)
    for case in open_dataset(out).cases:
        numbers = read_labels(case.instances)[0]  # type: ignore[arg-type]
        mask = read_labels(case.masks[0])[0]  # type: ignore[arg-type]
        assert set(np.unique(numbers)) == {*range(13)}
        np.testing.assert_array_equal(mask, np.where(numbers, 2 - numbers % 2, 0))
        assert len(case.points) == 12
    assert scantling("train", "unet", "--data", out, "--out", tmp_path / "unet", "--preset", "tiny", "--steps", 2) == 0


def test_more_objects_than_16_bits_can_number_are_numbered_with_32(tmp_path: Path) -> None:
    corners = torch.stack(torch.meshgrid(torch.arange(257), torch.arange(257), indexing="ij"), -1).reshape(-1, 2)
    objects = Objects(
        classes=torch.zeros(len(corners), dtype=torch.long), boxes=torch.zeros(len(corners), 2, 2),
        crops=(torch.ones(1, 1, dtype=torch.bool),) * len(corners), corners=corners,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Sower,
            "generate",
            lambda *_: Generation(images=torch.zeros(1, 1, 257, 257), instances=[objects]),
        )
        assert scantling("synthesize", "sower", "--count", 1, "--out", tmp_path / "out") == 0
    (case,) = open_dataset(tmp_path / "out").cases
    assert case.instances is not None
    assert case.instances.path.suffix == ".tif"
    assert np.array_equal(read_labels(case.instances)[0].ravel(), np.arange(1, 257 * 257 + 1))


def test_classes_that_overlap_lie_in_files_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blank = Sower.blank.__func__

    def overlapping(cls: type[Sower], settings: Sower.Settings) -> Traits:
        traits = blank(cls, settings)
        return traits.model_copy(update={"labels": traits.labels.model_copy(update={"values": ((), ())})})

    def both(self: Sower, count: int, inference: Inference, given: Batch | None = None) -> Generation:
        masks = torch.zeros(count, 2, 12, 12)
        masks[:, 0, 2:8], masks[:, 1, 5:10] = 0.9, 0.8
        return Generation(masks=masks, images=masks[:, :1])

    monkeypatch.setattr(Sower, "blank", classmethod(overlapping))
    monkeypatch.setattr(Sower, "generate", both)
    assert scantling("synthesize", "sower", "--count", 2, "--out", tmp_path / "out") == 0
    case = open_dataset(tmp_path / "out").cases[0]
    layers = {name: read_labels(address)[0] for name, address in case.masks[0].items()}  # type: ignore[union-attr]
    assert {name: sorted(np.unique(np.nonzero(layer)[0])) for name, layer in layers.items()} == {
        "even": [*range(2, 8)],
        "odd": [*range(5, 10)],
    }
    words = ("train", "unet", "--data", tmp_path / "out", "--out", tmp_path / "run", "--preset", "tiny", "--steps", 1)
    assert scantling(*words) == 0


def test_another_number_of_classes_than_the_model_knows_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Sower, "generate", lambda *_: Generation(masks=torch.zeros(1, 3, 8, 8)))
    assert scantling("synthesize", "sower", "--count", 1, "--out", tmp_path / "out") == 2
    assert "masks of 3 classes; expected 2: even, odd" in capsys.readouterr().err
