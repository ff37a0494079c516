"""`vessels`: what it learns from at each stage, in which units, and that phantoms are chosen and counted as it says."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from made import write
from scantling.contract.method import VESSEL, build
from scantling.contract.options import SegmentOptions
from scantling.contract.results import DISPUTED
from scantling.contract.step import Inference, Step
from scantling.core.case import Case, Geometry, Labels, Sample
from scantling.core.errors import SettingsError
from scantling.core.fields import IGNORE
from scantling.core.postprocessing import Postprocessing
from scantling.core.samples import Batch, Intensity, Traits
from scantling.data.preprocessing import preprocess
from scantling.inference import predict
from scantling.inference.answering import segment
from scantling.inference.bands import answer_in_bands
from scantling.inference.exporting import OnePass, example
from scantling.inference.tiles import Tiler
from scantling.methods.mask_diffusion.berdiff import BerDiff, BerDiffSettings
from scantling.methods.supervised.unet import UNetSegmenter
from scantling.methods.supervised.unet_settings import UNetSettings
from scantling.methods.weakly_supervised.box_supervised import BoxSettings, BoxSupervised
from scantling.methods.without_labels.vessels import Vessels, mirrored
from scantling.methods.without_labels.vessels_settings import VesselsOptions, VesselsSettings
from scantling.metrics.confidence import dice_confidence
from scantling.phantoms.kinds import PIXELS
from scantling.phantoms.tube_volume import tube_volume
from scantling.phantoms.tubes import tubes
from scantling.records.run import read_run
from scantling.records.run_folder import load_model
from scantling.testing.trainings import quiet
from scantling.training import Options, train
from scantling.training.material import asking_for_labels
from scantling.training.plan import taught

COLOUR = ("red", "green", "blue")
TWO = Labels(names=("artery", "vein"), values=((1,), (2,)))
STEP = Step(seed=1, stage="phantoms", number=0)


def traits(channels: tuple[str, ...] = ("grey",), **changes: Any) -> Traits:
    intensity = Intensity(mean=90, std=40, low=5, high=200, minimum=0, maximum=255)
    facts: dict[str, Any] = {
        "dimensions": 2, "channels": channels, "spacing": (1.0, 1.0), "shape": (72, 66), "smallest": (72, 66),
        "intensity": (intensity,) * len(channels), "unlabelled": 4,
    }  # fmt: skip
    return Traits.model_validate(facts | changes)


def method(facts: Traits | None = None, **changes: Any) -> Vessels:
    facts = Vessels.resolve_traits(VesselsSettings(), facts or traits())
    built = build(Vessels, VesselsSettings.preset("tiny", changes).resolve(facts), facts)
    assert isinstance(built, Vessels)
    return built.eval()


def a_batch(image: torch.Tensor, **fields: torch.Tensor) -> Batch:
    rows = torch.arange(len(image))
    return Batch(index=rows, case=rows, fields={"image": image, **fields})


def test_colour_takes_retinas_all_else_angiograms_and_a_kind_that_cannot_be_is_refused() -> None:
    assert VesselsSettings.preset("tiny").resolve(traits()).kind == "angiogram"
    assert VesselsSettings.preset("tiny").resolve(traits(COLOUR)).kind == "retina"
    with pytest.raises(SettingsError, match="expected images in red, green and blue, found grey"):
        VesselsSettings.preset("tiny", {"kind": "retina"}).resolve(traits())


@pytest.mark.parametrize(
    ("images", "shape", "each"), [(20, (584, 565), 10), (4, (584, 565), 50), (1, (64, 64), 64), (500, (584, 565), 1)]
)
def test_phantoms_are_counted_in_pixels_for_each_image(images: int, shape: tuple[int, int], each: int) -> None:
    assert VesselsSettings(phantoms=200).each(traits(unlabelled=images, shape=shape)) == each
    assert PIXELS == 584 * 565


@pytest.mark.parametrize("kind", ["angiogram", "bright tubes", "dark tubes", "fractal curves"])
def test_a_phantom_is_as_large_as_the_image_and_in_units_of_its_deviation(kind: str) -> None:
    found = method(kind=kind).made(a_batch(torch.zeros(1, 1, 72, 60)), STEP, ("a", "b"))
    assert [tuple(one.shape) for one in found.values()] == [(1, 2, 72, 60)] * 2
    image, truth = found["a"][0].float()
    assert set(truth.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(found["a"], found["b"])
    lighter = float(image[truth > 0].mean() - image[truth == 0].mean())
    assert (lighter > 0) == (kind == "bright tubes")
    assert abs(float(image.mean())) < 1
    again = method(kind=kind).made(a_batch(torch.zeros(1, 1, 72, 60)), STEP, ("a",))
    assert torch.equal(again["a"], found["a"])


def test_a_phantom_takes_the_look_of_the_image_in_whose_size_it_is_made() -> None:
    image = torch.rand(1, 1, 72, 60, generator=torch.Generator().manual_seed(0)) * 3 - 1
    plain, looks = (
        method(look=look, kind="dark tubes").made(a_batch(image), STEP, ("a",))["a"] for look in ("rule", "fourier")
    )
    assert torch.equal(plain[:, 1], looks[:, 1])
    assert not torch.allclose(plain[:, 0], looks[:, 0], atol=0.5)


def test_a_retina_has_three_channels_and_its_truth() -> None:
    found = method(traits(COLOUR)).made(a_batch(torch.zeros(1, 3, 64, 64)), STEP, ("a",))["a"]
    assert tuple(found.shape) == (1, 4, 64, 64)
    assert found.dtype == torch.float16


def test_the_filter_sees_the_same_whatever_the_units_of_the_image_are() -> None:
    phantom = tubes((72, 66), generator=np.random.default_rng(3), dark=True)
    light = torch.from_numpy(phantom.image - phantom.image.min())[None]
    of = method(kind="dark tubes")
    plain = of.filter.probabilities(a_batch(200 * light))
    assert torch.equal(of.filter_of(a_batch((200 * light - 90) / 40)) > 0.5, plain > 0.5)
    hit = (plain[0, 0] > 0.5).numpy()
    assert phantom.mask[hit].mean() > 2 * phantom.mask.mean()


def test_a_mended_answer_has_no_gap_and_decides_itself() -> None:
    of = method()
    light = torch.full((1, 1, 64, 64), 0.02)
    light[:, :, 30:34] = 0.95
    light[:, :, :, 31:34] = 0.45
    of.probabilities = lambda logits: light  # type: ignore[method-assign]
    plain, mended = (
        of.segment(a_batch(torch.zeros(1, 1, 64, 64)), Inference(seed=1, options=VesselsOptions(mended=each)))
        for each in (False, True)
    )
    assert plain.decision is None
    assert plain.probabilities is not None
    assert not (plain.probabilities[0, 0, 31] > 0.5).all()
    assert mended.decision is not None
    assert mended.decision[0, 0, 31].all()
    assert mended.decision.float().mean() < 0.1


def test_pseudo_labels_are_the_highest_of_network_and_filter_as_many_as_the_share_of_all_images() -> None:
    of, generator = method(share=0.2), torch.Generator().manual_seed(0)
    batches = [a_batch(torch.rand(1, 1, 72, 66, generator=generator), region=a_region(left)) for left in (0, 20)]
    with torch.no_grad():
        prepared = of.threshold(lambda name: batches, STEP)
        found = [of.label(batch, replace(STEP, prepared=prepared)) for batch in batches]
        mean = [of.together(batch) for batch in batches]
    known = torch.cat([labels[batch.region] for labels, batch in zip(found, batches, strict=True)])
    assert float(known.float().mean()) == pytest.approx(0.2, abs=0.01)
    assert all((labels[~batch.region] == IGNORE).all() for labels, batch in zip(found, batches, strict=True))
    chosen = torch.cat([values[labels == 1] for values, labels in zip(mean, found, strict=True)])
    others = torch.cat([values[labels == 0] for values, labels in zip(mean, found, strict=True)])
    assert float(chosen.min()) > float(others.max())
    own = 2 * mean[0] - of.filter_of(batches[0])
    assert float(own.min()) >= -1e-6, "the other half of the mean is a probability"
    assert float(own.max()) <= 1 + 1e-6


def a_region(left: int) -> torch.Tensor:
    region = torch.ones(1, 1, 72, 66, dtype=torch.bool)
    region[..., :left] = False
    return region


def test_stages_learn_from_phantoms_one_after_the_other_and_then_from_real_images() -> None:
    of = method(phantoms=1, steps=20, rounds=2)
    first, *rounds = of.stages()
    assert (first.steps, [stage.steps for stage in rounds]) == (12, [4, 4])
    assert first.draws is not None
    names = [stream.name for stream in first.streams]
    assert [first.draws(replace(STEP, number=number)) for number in range(2)] == [
        (names[number % len(names)],) for number in range(2)
    ]
    assert all("mask" not in stream.reads for stage in (first, *rounds) for stream in stage.streams)
    assert [stage.name for stage in method(rounds=0).stages()] == ["phantoms"]


def test_its_pictures_show_filter_and_network_and_how_far_they_agree() -> None:
    of, phantom = method(), tubes((72, 66), generator=np.random.default_rng(3), dark=True)
    with torch.no_grad():
        shown = of.pictures(a_batch(torch.from_numpy(phantom.image)[None]), Inference(seed=0))
        of.network.head.bias.fill_(-50.0)
        apart = of.pictures(a_batch(torch.from_numpy(phantom.image)[None]), Inference(seed=0))
    assert all(tuple(picture.shape) == (3, 72, 66) for picture in shown.values())
    assert "Dice of the two 0.00" in next(iter(apart))


@pytest.mark.parametrize("options", [{"views": False}, {"views": True}, {"samples": 2}], ids=str)
@pytest.mark.parametrize("most", [None, 150_000])
def test_the_dice_that_it_expects_is_that_of_its_mask_and_the_filter_however_it_is_asked(
    options: dict[str, Any], most: int | None
) -> None:
    of = method(traits(shape=(72, 400)), dropout=0.1)
    phantom = tubes((72, 400), generator=np.random.default_rng(3), dark=True)
    of.postprocessing = Postprocessing(thresholds=(0.45,))
    image = (255 * phantom.image / phantom.image.max()).astype(np.uint8)
    sample = Sample(Case(id="a", subject="a"), image, Geometry((72, 400), (1.0, 1.0), None, "raster"))
    about = partial(segment, of, tiler=Tiler(), device=torch.device("cpu"), options=SegmentOptions(**options))
    found = answer_in_bands(about, sample, [of], exclusive=True, maps=True, most=most)
    assert found.confidence_sums is not None
    mask, differs = found.decision > 0, found.uncertainty[DISPUTED]
    second = np.where(mask, 1 - differs, differs)
    assert set(np.unique(second)) <= {0.0, 1.0}
    expected = 2 * second[mask].sum() / (mask.sum() + second.sum())
    assert dice_confidence(found.confidence_sums) == pytest.approx(expected, abs=1e-5)
    batch = a_batch(preprocess(sample, of.preprocessing, of.traits).image[None])
    if most is None:
        with torch.no_grad():
            assert np.array_equal(second > 0.5, of.filter_of(batch)[0, 0].numpy() > 0.5)


def test_its_answer_stays_one_pass_of_the_network_which_can_be_exported() -> None:
    of = method().float()
    program = torch.export.export(OnePass(of), (example(of),), strict=False)
    assert len(program.graph_signature.user_outputs) == 1


def test_masks_that_it_is_asked_to_read_are_learned_from_within_their_budget(tmp_path: Path) -> None:
    for number in range(3):
        phantom = tubes((64, 64), generator=np.random.default_rng(number), dark=True)
        write(tmp_path / "data" / "images", f"v{number}", (255 * phantom.image[0]).astype(np.uint8))
        write(tmp_path / "data" / "masks", f"v{number}", phantom.mask * np.uint8(255))
        write(tmp_path / "data" / "fov", f"v{number}", 255 * np.eye(64, dtype=np.uint8).cumsum(1, dtype=np.uint8))
    settings = {"kind": "dark tubes", "patch": [16, 16], "rounds": 1}
    options = Options(preset="tiny", steps=6, settings=settings, validation=0.0, labels=1)
    train("vessels", [tmp_path / "data"], tmp_path / "run", options, console=quiet())
    record = read_run(tmp_path / "run")
    assert record.labelled is not None
    assert len(record.labelled) == 1
    log = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    logged = [set(json.loads(line).get("losses", {}).get("unet", {})) for line in log]
    assert any({"cross_entropy", "pseudo cross_entropy"} <= terms for terms in logged), logged
    read = load_model(tmp_path / "run")
    assert isinstance(read, Vessels)
    drawn = (tmp_path / "data" / "masks" / f"{record.labelled[0]}.png").read_bytes()
    covered = (np.asarray(Image.open(io.BytesIO(drawn))) > 0)[np.triu(np.ones((64, 64), bool))].mean()
    assert read.settings.share == pytest.approx((covered + 5 * 0.12) / 6, abs=1e-6)


def test_a_line_is_widened_drawn_background_counts_and_elsewhere_pseudo_labels_stand() -> None:
    phantom = tubes((72, 66), generator=np.random.default_rng(3), dark=True)
    line = phantom.centre_line & (np.arange(66) < 33)
    scribbles = np.where(line, 1, IGNORE).astype(np.uint8)
    scribbles[60:, 50:] = 0
    image = torch.from_numpy(phantom.image)[None]
    batch = a_batch(image, scribbles=torch.from_numpy(scribbles)[None, None], region=a_region(4))
    of = method(kind="dark tubes", with_centre_lines=True)
    with torch.no_grad():  # pseudo-labels say that all is vessel, or nothing
        everything, nothing = (
            of.label_around_lines(batch, replace(STEP, prepared={"threshold": torch.tensor(threshold)}))[0, 0].numpy()
            for threshold in (0.0, 2.0)
        )
    assert everything.dtype == np.uint8
    assert (everything[:, :4] == IGNORE).all()
    assert (everything[60:, 50:] == 0).all()
    assert (everything[:55, 50:] == 1).all()
    vessel, rim = nothing == 1, (everything == 0) & (np.arange(66) < 33)
    assert phantom.mask[vessel].mean() > 0.5
    assert phantom.mask[rim].mean() < 0.25


def test_one_line_alone_is_learned_from_beside_images_without(tmp_path: Path) -> None:
    for number in range(3):
        phantom = tubes((64, 64), generator=np.random.default_rng(number), dark=True)
        write(tmp_path / "data" / "images", f"v{number}", (255 * phantom.image[0]).astype(np.uint8))
        if number == 1:
            line = np.where(phantom.centre_line, 255, 128).astype(np.uint8)
            write(tmp_path / "data" / "lines", f"v{number}", line)
    cases = [{"id": f"v{number}", "images": f"images/v{number}.png", "split": "train"} for number in range(3)]
    cases[1]["scribbles"] = "lines/v1.png"
    manifest = {"name": "lined", "classes": {"vessel": 255}, "ignore": 128, "case": cases}
    (tmp_path / "data" / "scantling.json").write_text(json.dumps(manifest))
    settings = {"with_centre_lines": True, "kind": "dark tubes", "patch": [16, 16]}
    options = Options(preset="tiny", steps=6, settings=settings)
    train("vessels", [tmp_path / "data"], tmp_path / "run", options, console=quiet())
    read = load_model(tmp_path / "run")
    assert isinstance(read, Vessels)
    assert read.traits.labelled == 1
    assert read.settings.share == pytest.approx(0.12), "a line does not tell it"
    log = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    logged = [set(json.loads(line).get("losses", {}).get("unet", {})) for line in log]
    assert any({"cross_entropy", "pseudo cross_entropy"} <= terms for terms in logged), logged


def test_where_every_image_has_lines_they_stand_alone_with_pseudo_labels_between_them() -> None:
    stage = method(traits(labelled=4, unlabelled=0), with_centre_lines=True).stages()[1]
    assert [stream.reads for stream in stage.streams] == [("image", "centre lines 1")]
    assert [each.reads for each in stage.prepares] == [("image",), ("image", "scribbles")]
    with pytest.raises(SettingsError, match="expected one of them"):
        VesselsSettings.preset("tiny", {"with_masks": True, "with_centre_lines": True}).resolve(traits())


@pytest.mark.parametrize(
    "settings", [{"dimensions": 2}, {"with_masks": True}, {}], ids=["slices", "every volume has a mask", "volumes"]
)
def test_volumes_are_read_whole_or_slice_by_slice_and_all_may_have_masks(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    generator = np.random.default_rng(0)
    for number in range(3):
        for kind, values in (("images", generator.random((40, 36, 6))), ("masks", generator.random((40, 36, 6)) > 0.9)):
            path = tmp_path / "data" / kind / f"v{number}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(values.astype(np.float32 if kind == "images" else np.uint8), np.eye(4)), path)
    options = Options(preset="tiny", steps=4, settings=settings, validation=0.0, threads=1)
    train("vessels", [tmp_path / "data"], tmp_path / "run", options, console=quiet())
    done = predict(tmp_path / "run", tmp_path / "data", out=tmp_path / "masks", split="all")
    assert not done.failed
    assert np.asanyarray(nib.load(tmp_path / "masks" / "v0.nii.gz").dataobj).shape == (40, 36, 6)


@pytest.mark.parametrize(
    ("given", "reads"),
    [
        ({"labels": 1}, {"with_masks": True}),
        ({"label_slices": 2}, {"with_masks": True}),
        ({}, {}),
        ({"labels": 1, "settings": {"with_masks": False}}, {"with_masks": False}),
        ({"labels": 1, "settings": {"with_centre_lines": True}}, {"with_centre_lines": True}),
    ],
)
def test_a_budget_of_labels_has_masks_read_unless_a_setting_says_otherwise(
    given: dict[str, Any], reads: dict[str, bool]
) -> None:
    assert asking_for_labels(Vessels.card, Options(**given)).settings == reads


def test_a_phantom_of_a_large_volume_is_mirrored() -> None:
    small = tube_volume((8, 12, 10), generator=np.random.default_rng(0))
    large = mirrored(small, (8, 30, 11))
    assert large.image.shape == (1, 8, 30, 11)
    assert np.array_equal(large.mask[:, :12, :10], small.mask)
    assert np.array_equal(large.image[:, :, 12:24, :10], small.image[:, :, ::-1])
    assert mirrored(small, (8, 12, 10)) is small


def test_volumes_take_tubes_and_what_is_made_for_pictures_is_refused() -> None:
    volumes = traits(dimensions=3, spacing=(3.0, 1.0, 1.0), shape=(12, 40, 36), smallest=(12, 40, 36))
    of = VesselsSettings.preset("tiny").resolve(volumes)
    assert (of.kind, of.share) == ("bright tubes", 0.02)
    for changes in ({"kind": "angiogram"}, {"with_centre_lines": True}, {"look": "fourier"}):
        with pytest.raises(SettingsError, match="expected pictures, found volumes; volumes take bright tubes or dark"):
            VesselsSettings.preset("tiny", changes).resolve(volumes)
    assert VesselsSettings.preset("tiny", {"dimensions": 2}).resolve(volumes).kind == "angiogram"
    with pytest.raises(SettingsError, match="expected volumes, found pictures"):
        VesselsSettings.preset("tiny", {"dimensions": 3}).resolve(traits())


def test_another_segmenter_begins_in_place_of_phantoms_seen_in_its_own_units(tmp_path: Path) -> None:
    for number in range(3):
        phantom = tubes((64, 64), generator=np.random.default_rng(number), dark=True)
        write(tmp_path / "data" / "images", f"v{number}", (60 + 100 * phantom.image[0]).astype(np.uint8))
    options = Options(preset="tiny", steps=6, validation=0.0, threads=1)
    quick = replace(options, settings={"patch": [32, 32]})
    train("darl", [tmp_path / "data"], tmp_path / "other", options, console=quiet())
    uses = {"segmenter": tmp_path / "other"}
    train("vessels", [tmp_path / "data"], tmp_path / "run", replace(quick, uses=uses), console=quiet())
    of = load_model(tmp_path / "run")
    assert isinstance(of, Vessels)
    assert [stage.name for stage in of.stages()] == ["segmenter", "round 1"]
    assert "learns from what darl and a filter say" in of.explain(of.traits)[-1]
    image = (60 + 100 * tubes((64, 64), generator=np.random.default_rng(0), dark=True).image).astype(np.uint8)
    sample = Sample(Case(id="a", subject="a"), image, Geometry((64, 64), (1.0, 1.0), None, "raster"))
    seen, meant = (preprocess(sample, one.preprocessing, one.traits).image for one in (of, of.other))
    with torch.no_grad():
        found = of.others(a_batch(seen[None]))
        alone = of.other.segment(a_batch(meant[None]), Inference(seed=0)).probabilities
    np.testing.assert_allclose(found.numpy(), alone.numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "settings", "sentence"),
    [
        ({"channels": COLOUR}, {}, "trained for channels red, green, blue; expected grey"),
        ({"labels": TWO}, {}, "trained for classes 2; expected 1"),
        ({}, {"normalise": "dataset"}, "in units of its training data"),
        ({}, {"longest": 72}, "sees an image of 36 x 44 on a grid of 59 x 72; expected 36 x 44"),
    ],
)
def test_a_segmenter_that_cannot_begin_is_refused(
    changes: dict[str, Any], settings: dict[str, Any], sentence: str
) -> None:
    facts = traits(**({"labels": VESSEL} | changes), labelled=4)
    if "channels" in changes:
        facts = facts.model_copy(update={"intensity": (facts.intensity[0],) * 3})
    other = build(UNetSegmenter, UNetSettings.preset("tiny", settings).resolve(facts), facts)
    own = Vessels.resolve_traits(VesselsSettings(), traits(smallest=(36, 44)))
    with pytest.raises(SettingsError, match=sentence):
        build(Vessels, VesselsSettings.preset("tiny").resolve(own), own, uses={"segmenter": other})


def test_of_a_segmenter_that_draws_samples_their_mean_stands_whatever_the_size_of_the_image() -> None:
    facts = traits(labels=VESSEL, labelled=4)
    settings = BerDiffSettings.preset("tiny").resolve(facts)
    own = Vessels.resolve_traits(VesselsSettings(), traits())
    uses = {"segmenter": build(BerDiff, settings, facts).eval()}
    of = build(Vessels, VesselsSettings.preset("tiny", {"patch": (16, 16)}).resolve(own), own, uses=uses).eval()
    with torch.no_grad():
        found = of.others(a_batch(torch.randn(1, 1, 72, 66, generator=torch.Generator().manual_seed(0))))
    assert found.shape == (1, 1, 72, 66)
    assert 0 <= float(found.min()) <= float(found.max()) <= 1


def test_labels_that_would_not_be_read_are_refused() -> None:
    seen = traits(labels=VESSEL, labelled=4, unlabelled=0, foreground=(0.1,))
    with pytest.raises(SettingsError, match="rounds 0: no label would be read"):
        method(seen, with_masks=True, rounds=0)
    other = build(UNetSegmenter, UNetSettings.preset("tiny").resolve(seen), seen)
    settings = VesselsSettings.preset("tiny", {"with_masks": True}).resolve(seen)
    with pytest.raises(SettingsError, match="every training image has a mask"):
        build(Vessels, settings, seen, uses={"segmenter": other})
    with pytest.raises(SettingsError, match="vessels learns one class; found labels of artery, vein"):
        VesselsSettings.preset("tiny", {"with_masks": True}).resolve(seen.model_copy(update={"labels": TWO}))


def test_a_segmenter_that_boxes_have_taught_is_told_of_though_no_mask_stands_behind_it() -> None:
    facts = traits(labels=VESSEL, labelled=4)
    other = build(BoxSupervised, BoxSettings.preset("tiny").resolve(facts), facts)
    own = Vessels.resolve_traits(VesselsSettings(), traits())
    of = build(Vessels, VesselsSettings.preset("tiny").resolve(own), own, uses={"segmenter": other})
    assert taught(method()) == []
    assert taught(of) == ["the run is not free of labels: box-supervised, its segmenter, has learned from boxes"]
