"""Many samples: of chains, of dropout and of ensembles; what is written of them, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from made import images_for
from scantling.contract.method import Method
from scantling.contract.options import SegmentOptions
from scantling.contract.results import Segmentation
from scantling.contract.step import Inference
from scantling.core.case import Case, Geometry, Labels, Sample
from scantling.core.errors import RunError, SettingsError
from scantling.core.samples import Batch, Preprocessing
from scantling.data.dataset import open_dataset
from scantling.data.files import read
from scantling.data.loading import load
from scantling.fusion import RULES, fuse
from scantling.inference import predict
from scantling.inference.answering import Answered, decide, segment
from scantling.inference.tiles import Tiler
from scantling.methods.catalogue import CARDS
from scantling.methods.mask_diffusion import chains
from scantling.records.run_folder import load_model
from scantling.training import Options, train
from toys import TRAITS, Toy
from toys import small_berdiff as made

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return images_for(CARDS["berdiff"], tmp_path_factory.mktemp("data"), dimensions=2)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("berdiff") / "run"
    train("berdiff", [data], out, Options(preset="tiny", steps=30, validation=0.0), console=Console(quiet=True))
    return out


@pytest.fixture(scope="module")
def unets(data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, runs = tmp_path_factory.mktemp("unets"), []
    for seed in range(2):
        runs.append(folder / f"seed-{seed}")
        options = Options(preset="tiny", steps=20, validation=0.0, seed=seed, settings={"dropout": 0.3})
        train("unet", [data], runs[-1], options, console=Console(quiet=True))
    return runs


def answer(method: Method, data: Path, **how: Any) -> Answered:
    case = open_dataset(data).split("test")[0]
    sample = load(case, channels=method.traits.channels, reads=("image", "region"))
    return segment(method, sample, device=CPU, tiler=Tiler(memory=how.pop("memory", None)), **how)


def test_a_sample_does_not_depend_on_how_many_are_drawn_or_drawn_together(
    run: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = load_model(run).eval()
    many = answer(method, data, options=SegmentOptions(samples=5))
    few = answer(method, data, options=SegmentOptions(samples=3))
    monkeypatch.setitem(chains.TOGETHER, "cpu", 1)
    alone = answer(method, data, options=SegmentOptions(samples=5))
    for number in range(5):
        np.testing.assert_allclose(many.samples[number], alone.samples[number], atol=1e-5)
        if number < 3:
            np.testing.assert_allclose(many.samples[number], few.samples[number], atol=1e-5)


def test_samples_differ_and_their_mean_is_the_answer(run: Path, data: Path) -> None:
    found = answer(load_model(run).eval(), data, options=SegmentOptions(samples=4, fuse="mean"))
    drawn = np.stack(list(found.samples))
    assert len({sample.tobytes() for sample in drawn}) == 4
    np.testing.assert_allclose(found.probabilities, drawn.mean(0), atol=1e-6)
    assert found.uncertainty is not None
    np.testing.assert_allclose(found.uncertainty["deviation"], drawn.std(0)[0], atol=1e-5)


def test_a_tile_looks_for_itself_and_a_whole_canvas_is_looked_at_once(
    run: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = load_model(run).eval()
    once, looked = answer(method, data, options=SegmentOptions(samples=2)), []
    condition = type(method).condition
    monkeypatch.setattr(
        type(method), "condition", lambda self, image: looked.append(tuple(image.shape)) or condition(self, image)
    )
    monkeypatch.setattr("scantling.inference.tiles.TRIALS", (16, 32))
    again = answer(method, data, options=SegmentOptions(samples=2), memory=1)
    assert len(looked) > 3
    assert {shape[2:] for shape in looked} == {(16, 16)}, "where all is tiled, nothing looks at the whole"
    assert again.probabilities.shape == once.probabilities.shape
    looked.clear()
    answer(method, data, options=SegmentOptions(samples=2))
    assert [shape[2:] for shape in looked if shape[2:] != (16, 16)] == [once.probabilities.shape[1:]]


def test_dropout_draws_samples_that_a_seed_repeats_and_leaves_no_trace(unets: list[Path], data: Path) -> None:
    method = load_model(unets[0]).eval()
    plain = answer(method, data)
    state = torch.random.get_rng_state()
    one, other = (answer(method, data, options=SegmentOptions(samples=3, seed=7)) for _ in range(2))
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(np.array_equal(a, b) for a, b in zip(one.samples, other.samples, strict=True))
    assert not np.array_equal(one.samples[0], one.samples[1])
    assert np.array_equal(answer(method, data).probabilities, plain.probabilities)
    assert not len(plain.samples)
    # nor do they depend on what was answered before: the first answer of a tiler tries how much memory a pass takes
    case = open_dataset(data).split("test")[0]
    sample, tiler = load(case, channels=method.traits.channels, reads=("image", "region")), Tiler()
    for _ in range(2):
        found = segment(method, sample, device=CPU, tiler=tiler, options=SegmentOptions(samples=3, seed=7))
        assert all(np.array_equal(a, b) for a, b in zip(found.samples, one.samples, strict=True))


def test_predict_writes_samples_and_doubt_and_goes_on_where_it_was(run: Path, data: Path, tmp_path: Path) -> None:
    options = SegmentOptions(samples=3, steps=2, fuse="staple")
    done = predict(run, data, out=tmp_path, split="test", options=options, probabilities=True)
    facts = json.loads((tmp_path / "predictions.json").read_text())
    assert facts["calls"] == 6
    assert facts["options"]["fuse"] == "staple"
    for case in facts["cases"]:
        assert case["samples"] == [f"samples/{case['id']}/{number:02d}.png" for number in range(3)]
        assert all(set(np.unique(np.asarray(Image.open(tmp_path / name)))) <= {0, 255} for name in case["samples"])
        map_ = read(tmp_path / case["uncertainty_maps"]["deviation"]).array
        assert case["uncertainty"]["deviation"] == pytest.approx(float(map_.mean()), abs=1e-6)
    again = predict(run, data, out=tmp_path, split="test", options=options, probabilities=True)
    assert again.skipped == len(done.cases)
    (tmp_path / facts["cases"][0]["samples"][1]).unlink()
    assert (
        predict(run, data, out=tmp_path, split="test", options=options, probabilities=True).skipped == again.skipped - 1
    )
    with pytest.raises(RunError, match="made otherwise"):
        predict(run, data, out=tmp_path, split="test", options=SegmentOptions(samples=2), probabilities=True)


class Drawing(Toy):
    """Draws smooth samples of two classes on a grid coarser than the file, and remembers the seeds."""

    draws = True

    def __init__(self, *, exclusive: bool = True, votes: int | None = None) -> None:
        super().__init__()
        self.votes = votes
        values = ((1,), (2,)) if exclusive else ((1, 3), (2, 3))
        self.traits = TRAITS.model_copy(update={"labels": Labels(names=("a", "b"), values=values)})
        self.seeds: list[int] = []

    @property
    def preprocessing(self) -> Preprocessing:
        return Preprocessing(dimensions=2, normalise="none", size=(6, 6))

    def segment_options(self, options: SegmentOptions) -> SegmentOptions:
        votes = options.votes or self.votes
        return options.model_copy(
            update={"samples": options.samples or 5, "fuse": options.fuse or "vote", "votes": votes}
        )

    def segment(self, batch: Batch, inference: Inference) -> Segmentation:
        self.seeds.append(inference.seed)
        like = batch.image.new_empty(inference.options.samples or 0, len(batch.image), 3, 6, 6)
        return Segmentation(samples=(2 * inference.randn("samples", like=like)).softmax(2)[:, :, 1:])


def drawn(method: Method, **how: Any) -> Answered:
    image = np.random.default_rng(0).random((1, 33, 29), np.float32)
    sample = Sample(Case(id="a", subject="a"), image, Geometry((33, 29), (1.0, 1.0)))
    return segment(method, sample, device=CPU, tiler=Tiler(), **how)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("exclusive", [True, False])
def test_the_answer_is_the_fusion_of_the_samples_as_they_are_written(rule: str, exclusive: bool) -> None:
    found = drawn(Drawing(exclusive=exclusive), options=SegmentOptions(fuse=rule))
    samples = torch.from_numpy(np.stack(list(found.samples)))[:, None]
    assert samples.shape == (5, 1, 2, 33, 29)
    sources = samples.mean(0, keepdim=True) if rule == "dempster" else samples  # one model is one source
    np.testing.assert_allclose(found.probabilities, fuse(rule, sources, exclusive=exclusive)[0], atol=1e-6)
    if rule == "vote":
        masks = np.stack([decide(sample, exclusive=exclusive) for sample in found.samples])
        for number in range(2):
            votes = ((masks == number + 1) if exclusive else masks[:, number] == 1).sum(0)
            fused = decide(found.probabilities, exclusive=exclusive)
            assert np.array_equal(fused == number + 1 if exclusive else fused[number] == 1, votes >= 3)


def test_models_of_an_ensemble_draw_apart_and_vote_together() -> None:
    one, other = Drawing(), Drawing()
    both = drawn(one, others=[(other, Tiler())], options=SegmentOptions(votes=8))
    alone = drawn(Drawing())
    samples = np.stack(list(both.samples))
    assert len(samples) == 10
    assert np.array_equal(samples[:5], np.stack(list(alone.samples))), "the first model is as it is by itself"
    assert not np.array_equal(samples[:5], samples[5:])
    expected = fuse("vote", torch.from_numpy(samples)[:, None], votes=8, exclusive=True)[0]
    assert np.array_equal(both.probabilities, expected)
    votes = drawn(one, others=[(other, Tiler())], options=SegmentOptions(samples=1, votes=2))
    assert len(votes.samples) == 2, "no member counts the votes by itself"


def test_a_single_sample_is_the_answer_and_needs_no_rule() -> None:
    found = drawn(Drawing(), options=SegmentOptions(samples=1, fuse="staple"))
    assert len(found.samples) == 0
    assert len(np.unique(found.probabilities)) > 2


def volume(slices: int) -> Sample:
    image = np.repeat(np.random.default_rng(0).random((1, 1, 32, 32), np.float32), slices, axis=1)
    return Sample(Case(id="a", subject="a"), image, Geometry((slices, 32, 32), (1.0, 1.0, 1.0), slice_axis=0))


def test_samples_of_slices_share_their_noise_and_do_not_depend_on_how_many_come_together() -> None:
    method = made()
    torch.nn.init.normal_(method.network.head[-1].weight, std=0.1)  # it starts at zero
    method.traits = method.traits.model_copy(update={"dimensions": 3, "slice_axis": 0})
    found = [
        segment(method, volume(3), device=CPU, tiler=Tiler(), options=SegmentOptions(samples=2), slices_at_once=many)
        for many in (1, 2)
    ]
    for one, other in zip(*(answered.samples for answered in found), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
        np.testing.assert_allclose(one[:, 0], one[:, 2], atol=1e-5)
    assert not np.allclose(found[0].samples[0], found[0].samples[1], atol=1e-3)


class Dropping(Toy):
    """Answers with what its dropout leaves of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = torch.nn.Dropout(0.5)
        self.traits = TRAITS.model_copy(update={"dimensions": 3, "slice_axis": 0})

    def segment(self, batch: Batch, inference: Inference) -> Segmentation:
        return Segmentation(probabilities=self.drop(batch.image.abs() + 1).sigmoid())


def test_a_sample_of_dropout_drops_the_same_in_all_slices() -> None:
    found = segment(Dropping().eval(), volume(3), device=CPU, tiler=Tiler(), options=SegmentOptions(samples=2))
    for sample in found.samples:
        assert np.array_equal(sample[:, 0], sample[:, 2])
    assert not np.array_equal(found.samples[0], found.samples[1])


def test_shards_that_were_made_otherwise_do_not_become_one_list(run: Path, data: Path, tmp_path: Path) -> None:
    predict(run, data, out=tmp_path, split="test", options=SegmentOptions(samples=2, steps=2), shard=(1, 2))
    with pytest.raises(RunError, match=r"1-of-2.json: lists predictions made otherwise"):
        predict(run, data, out=tmp_path, split="test", options=SegmentOptions(samples=3, steps=2), shard=(2, 2))
    assert not (tmp_path / "predictions.json").exists()


def test_views_are_calls_too(unets: list[Path], data: Path, tmp_path: Path) -> None:
    predict(unets[0], data, out=tmp_path, split="test", options={"views": True})
    assert json.loads((tmp_path / "predictions.json").read_text())["calls"] == 8


def test_one_model_named_twice_is_no_ensemble(unets: list[Path], data: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="name each model of an ensemble once"):
        predict(unets[0], data, out=tmp_path, ensemble=unets[1:] + unets[:1])


def test_an_ensemble_is_the_mean_of_its_runs(unets: list[Path], data: Path, tmp_path: Path) -> None:
    for name, first, others in (("0", unets[0], ()), ("1", unets[1], ()), ("both", unets[0], unets[1:])):
        predict(first, data, out=tmp_path / name, split="test", ensemble=others, probabilities=True)
    for case in json.loads((tmp_path / "both" / "predictions.json").read_text())["cases"]:
        maps = {name: read(tmp_path / name / case["probability"]).array for name in ("0", "1", "both")}
        np.testing.assert_allclose(maps["both"], (maps["0"] + maps["1"]) / 2, atol=1e-6)
        assert len(case["samples"]) == 2


def test_the_votes_that_a_model_sets_for_itself_are_not_those_of_an_ensemble() -> None:
    one, other = Drawing(votes=5), Drawing(votes=5)
    assert one.segment_options(SegmentOptions()).votes == 5
    alone, both = drawn(one), drawn(one, others=[(other, Tiler())])
    samples = torch.from_numpy(np.stack(list(both.samples)))[:, None]
    assert np.allclose(both.probabilities, fuse("vote", samples, votes=None, exclusive=True)[0], atol=1e-6)
    assert np.allclose(
        alone.probabilities,
        fuse("vote", torch.from_numpy(np.stack(list(alone.samples)))[:, None], votes=5, exclusive=True)[0],
        atol=1e-6,
    )


def test_what_cannot_be_asked_is_refused_before_anything_is_written(
    run: Path, unets: list[Path], data: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="the chain has 20 steps; take 1 to 20"):
        predict(run, data, out=tmp_path / "out", options=SegmentOptions(steps=21))
    with pytest.raises(SettingsError, match="runs no chain"):
        predict(unets[0], data, out=tmp_path / "out", options=SegmentOptions(steps=2))
    with pytest.raises(SettingsError, match="--views"):
        predict(run, data, out=tmp_path / "out", options={"views": True})
    assert not (tmp_path / "out").exists()


def test_a_model_without_dropout_has_no_samples_to_give(data: Path, tmp_path: Path) -> None:
    train("unet", [data], tmp_path / "run", Options(preset="tiny", validation=0.0), console=Console(quiet=True))
    with pytest.raises(SettingsError, match="has no dropout"):
        predict(tmp_path / "run", data, out=tmp_path / "out", options=SegmentOptions(samples=4))


def test_more_classes_than_the_paper_knows_are_refused(tmp_path: Path) -> None:
    data = images_for(CARDS["berdiff"], tmp_path / "data", dimensions=2, classes=2)
    with pytest.raises(SettingsError, match="one class only; the data have 2"):
        train("berdiff", [data], tmp_path / "run", Options(preset="tiny"), console=Console(quiet=True))


def test_images_smaller_than_the_deepest_level_are_refused(data: Path, tmp_path: Path) -> None:
    options = Options(preset="tiny", settings={"widths": (8,) * 7})
    with pytest.raises(SettingsError, match="7 levels need images of 64 pixels a side"):
        train("berdiff", [data], tmp_path / "run", options, console=Console(quiet=True))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"widths": (8, 12), "heads": 5}, "--settings.heads 5: they share the 12 channels"),
        ({"attention": (1, 2)}, r"--settings.attention \(1, 2\): the levels are 0 to 1"),
        ({"widths": (8, 8, 8, 8), "patch": 4}, "--settings.patch 4: 4 levels need patches of 8 pixels"),
    ],
)
def test_layers_that_cannot_be_are_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        made(**changes)
