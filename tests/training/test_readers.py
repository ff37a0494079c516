"""What a stage reads: optional streams, channels that cases lack, shares, orders and changes of every method."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from made import images_for
from scantling.contract.method import Method, build
from scantling.contract.stage import Stage
from scantling.core.case import IGNORE
from scantling.core.errors import DataError, RunError, SettingsError
from scantling.core.streams import Augmentation, Stream
from scantling.data.dataset import Dataset, open_dataset
from scantling.data.division import divide
from scantling.data.loading import load
from scantling.data.preprocessing import preprocess
from scantling.data.traits import measure_traits
from scantling.inference.one_model import batches_of
from scantling.methods.catalogue import CARDS, implementation_of
from scantling.records.run import read_run
from scantling.training import Options, train
from scantling.training.readers import Sampling, readers_of

TINY = Options(preset="tiny", seed=2, validation=0.25)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return images_for(CARDS["unet"], tmp_path_factory.mktemp("data"), dimensions=2)


def opened(folder: Path, **settings: Any) -> tuple[Dataset, Method]:
    dataset = divide(open_dataset(folder), validation=0.0)
    traits = measure_traits(dataset, partial=True)
    kind = implementation_of(CARDS["unet"])
    return dataset, build(kind, kind.Settings.preset("tiny", settings).resolve(traits), traits)


def stage(*streams: Stream) -> Stage:
    return SimpleNamespace(name="s", streams=streams)  # type: ignore[return-value]


def test_an_optional_stream_without_a_case_is_left_out(data: Path) -> None:
    dataset, method = opened(data)
    streams = (Stream(name="labelled"), Stream(name="scribbled", reads=("image", "scribbles"), optional=True))
    assert list(readers_of(stage(*streams), method, dataset, seed=0)) == ["labelled"]
    with pytest.raises(DataError, match="stream 'scribbled' is empty: no training case has image and scribbles"):
        readers_of(stage(streams[0], replace(streams[1], optional=False)), method, dataset, seed=0)


def test_cases_may_lack_channels_where_a_stream_says_so(tmp_path: Path) -> None:
    cases = []
    for number in range(4):
        images = {"flair": f"{number}-flair.png"} | ({"t1": f"{number}-t1.png"} if number % 2 else {})
        for name in images.values():
            Image.fromarray(np.full((16, 16), 60, np.uint8) + np.eye(16, dtype=np.uint8) * 9).save(tmp_path / name)
        cases.append({"id": f"c{number}", "images": images, "split": "train"})
    (tmp_path / "scantling.json").write_text(json.dumps({"classes": {"x": 1}, "case": cases}))
    dataset, method = opened(tmp_path)
    assert method.traits.channels == ("flair", "t1")
    stream = Stream(name="a", reads=("image",), batch=4, patch=(16, 16), partial=True)
    batch = readers_of(stage(stream), method, dataset, seed=0)["a"].batch(0)
    assert sorted(batch.present["image"].tolist()) == [[True, False]] * 2 + [[True, True]] * 2
    assert not batch.image[~batch.present["image"]].any()
    assert batch.image[batch.present["image"]].flatten(1).std(1).min() > 0
    assert not method.partial
    sample = load(dataset.cases[0], channels=method.channels, reads=("image",), partial=True)
    (answered,) = batches_of(preprocess(sample, method.preprocessing, method.traits), slicing=False, many=1)
    assert answered.present["image"].tolist() == [[True, False]]
    assert not answered.image[:, 1].any()
    with pytest.raises(DataError, match="case c0: it has the images flair; expected flair, t1 as in other cases"):
        readers_of(stage(replace(stream, partial=False)), method, dataset, seed=0)


def test_the_changes_of_all_streams_can_be_left_out_or_made_strong(data: Path) -> None:
    dataset, method = opened(data)
    own = Augmentation(flips=False, spacing=(1.0, 2.0))
    streams = stage(Stream(name="own", augment=own), Stream(name="bare"))

    def changes(augment: Any) -> list[Augmentation | None]:
        readers = readers_of(streams, method, dataset, seed=0, sampling=Sampling(augment=augment))
        return [readers[name].stream.augment for name in ("own", "bare")]

    assert changes("own") == [own, None]
    assert changes("none") == [None, None]
    assert changes("strong") == [
        replace(Augmentation.strong(spacing=(1.0, 2.0)), flips=False), Augmentation.strong(spacing=(1.0, 1.0)),
    ]  # fmt: skip


def test_an_order_by_kind_asks_for_both_kinds(data: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--order synthetic-first: found no synthetic training case"):
        train("unet", [data], tmp_path / "run", replace(TINY, order="synthetic-first"), console=Console(quiet=True))
    with pytest.raises(SettingsError, match=r"--augment-share 1\.5: expected a share from 0 to 1"):
        train("unet", [data], tmp_path / "run", replace(TINY, augment_share=1.5), console=Console(quiet=True))


def test_shares_order_and_changes_are_recorded_and_part_of_the_run(data: Path, tmp_path: Path) -> None:
    options = replace(TINY, steps=1, share={"real": 1.0}, order="sequential", augment="strong", augment_share=0.5)
    train("unet", [data], tmp_path / "run", options, console=Console(quiet=True))
    recorded = read_run(tmp_path / "run").options
    assert recorded["share"] == {"real": 1.0}
    assert (recorded["order"], recorded["augment"], recorded["augment_share"]) == ("sequential", "strong", 0.5)
    with pytest.raises(RunError, match=r"options.augment was strong, is none"):
        train("unet", [data], tmp_path / "run", replace(options, augment="none"), console=Console(quiet=True))


@pytest.mark.parametrize(
    ("share", "sentence"),
    [
        ({"synthetic": 0.5}, "--share synthetic: found no training case .* expected one of real"),
        ({"real": 0.7, "synthetic": 0.7}, "expected shares from 0 to 1 that add up to 1 at most"),
        ({"real": -0.1}, "expected shares from 0 to 1"),
    ],
)
def test_shares_that_cannot_be_are_sentences(
    share: dict[str, float], sentence: str, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=sentence):
        train("unet", [data], tmp_path / "run", replace(TINY, share=share), console=Console(quiet=True))
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_share_of_made_cases_is_what_the_batches_hold(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "data")
    part = tmp_path / "data" / "train"
    cases = [
        {
            "id": path.stem, "images": f"images/{path.name}", "masks": f"masks/{path.name}", "split": "train",
            "origin": {"kind": "synthetic" if path.stem == "case0" else "real"},
        }
        for path in sorted((part / "images").iterdir())
    ]  # fmt: skip
    (part / "scantling.json").write_text(json.dumps({"case": cases}))
    dataset, method = opened(part)
    stream = Stream(name="a", batch=4, patch=(16, 16))
    reader = readers_of(stage(stream), method, dataset, seed=0, sampling=Sampling(share={"synthetic": 0.25}))["a"]
    made = [position for position, place in enumerate(reader.places) if place.case.origin.kind == "synthetic"]
    assert [sum(int(case) in made for case in reader.batch(step).case) for step in range(5)] == [1] * 5


def test_of_a_class_without_a_file_nothing_is_known_where_a_stream_says_so(tmp_path: Path) -> None:
    cases = []
    for number in range(2):
        files = {"x": f"{number}-x.png"} | ({"y": f"{number}-y.png"} if number else {})
        for name in (f"{number}-image.png", *files.values()):
            Image.fromarray(np.eye(16, dtype=np.uint8) * 255).save(tmp_path / name)
        cases.append({"id": f"c{number}", "images": f"{number}-image.png", "masks": files, "split": "train"})
    (tmp_path / "scantling.json").write_text(json.dumps({"classes": {"x": [], "y": []}, "case": cases}))
    dataset, method = opened(tmp_path)
    stream = Stream(name="a", batch=2, patch=(16, 16), partial=True)
    batch = readers_of(stage(stream), method, dataset, seed=0)["a"].batch(0)
    rows = {int(position): row for row, position in enumerate(batch.case)}
    assert [batch.present["mask"][rows[number]].tolist() for number in range(2)] == [[True, False], [True, True]]
    assert batch.mask[rows[0], 1].unique().tolist() == [IGNORE]
    assert batch.mask[rows[1], 1].unique().tolist() == [0, 1]
    whole = readers_of(stage(replace(stream, partial=False)), method, dataset, seed=0)["a"].batch(0)
    assert whole.present["mask"].all()
    assert whole.mask[rows[0], 1].unique().tolist() == [0], "else there is nothing of a class without a file"


def test_a_share_of_training_cases_leaves_validation_cases_alone(data: Path) -> None:
    dataset, method = opened(data)
    held_out = replace(dataset, cases=tuple(replace(case, split="validation") for case in dataset.split("train")))
    sampling = Sampling(share={"real": 0.0})
    reader = readers_of(stage(Stream(name="a")), method, held_out, seed=0, split="validation", sampling=sampling)["a"]
    assert len(reader.places) == len(held_out.cases)
    with pytest.raises(DataError, match="the shares leave no case"):
        readers_of(stage(Stream(name="a")), method, dataset, seed=0, sampling=sampling)
