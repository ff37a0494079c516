"""Nuclei in pairs: signs of the maps, nuclei found again, what no structure is, other layouts, the way to files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from commands import command
from scantling.contract.card import Card
from scantling.contract.method import build
from scantling.contract.step import Inference, Step
from scantling.core.case import Address, Labels
from scantling.core.errors import DataError, SettingsError
from scantling.core.samples import Batch, Intensity, Traits
from scantling.data.files import read_labels
from scantling.methods.generation.nuclei_diffusion import NUCLEUS, NucleiDiffusion
from scantling.methods.generation.nuclei_layouts import filled, moved, rebalanced
from scantling.metrics import instances
from scantling.objects import signed_turn
from scantling.testing.data import make_data

FACTS = Intensity(mean=0, std=1, low=0, high=1, minimum=0, maximum=255)
TWO = Labels(names=("round", "long"), values=((1,), (2,)))
SIZE = 48


def maker(labels: Labels | None = None, **settings: Any) -> NucleiDiffusion:
    traits = Traits(
        dimensions=2, channels=("image",), spacing=(1.0, 1.0), shape=(SIZE, SIZE), smallest=(SIZE, SIZE),
        intensity=(FACTS,), labels=labels, labelled=3,
    )  # fmt: skip
    given = {"patch": SIZE, "kernel": 11, **settings}
    return build(NucleiDiffusion, NucleiDiffusion.Settings.preset("tiny", given).resolve(traits), traits).eval()


def discs(*middles: tuple[int, int], radius: int = 8) -> np.ndarray:
    """An instance map; each point belongs to the nearest of the discs that hold it."""
    rows, columns = np.indices((SIZE, SIZE))
    far = np.stack([np.hypot(rows - y, columns - x) for y, x in middles])
    return np.where(far.min(0) <= radius, far.argmin(0) + 1, 0).astype(np.int32)


def batch(*maps: np.ndarray, mask: np.ndarray | None = None) -> Batch:
    none = torch.zeros(len(maps), dtype=torch.int64)
    fields = {"instances": torch.from_numpy(np.stack(maps))[:, None], "image": torch.zeros(len(maps), 1, SIZE, SIZE)}
    if mask is not None:
        fields["mask"] = torch.from_numpy(mask)[None, None]
    return Batch(none, none, fields)


def structure(method: NucleiDiffusion, numbers: np.ndarray) -> torch.Tensor:
    """What the first stage learns of an instance map."""
    seen = list[torch.Tensor]()
    method.structures.denoising = lambda clean, step, known: seen.append(clean) or {}  # type: ignore[method-assign, assignment, return-value, func-returns-value, misc]
    list(method.learn_structures({"structures": batch(numbers)}, Step(seed=0)))
    return seen[0]


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("quarters", range(4))
def test_the_structure_of_a_turned_picture_is_the_turned_structure_with_its_signs(quarters: int, mirror: bool) -> None:
    method, numbers = maker(), discs((14, 12), (30, 35), (35, 20))
    whole = structure(method, numbers)[0].numpy()
    turned = np.rot90(numbers[:, ::-1] if mirror else numbers, quarters).copy()
    found = structure(method, turned)[0].numpy()
    expected = signed_turn(whole[1:], quarters=quarters, mirror=mirror)
    np.testing.assert_allclose(found[1:], expected, atol=1e-6)
    assert set(np.unique(found[0])) == {-1.0, 1.0}


@pytest.mark.parametrize(
    ("middles", "least"),
    [(((12, 12), (34, 34), (12, 36)), 0.95), (((22, 15), (22, 28)), 0.9)],
    ids=["apart", "touching"],
)
def test_the_nuclei_of_a_structure_are_found_again(middles: tuple[tuple[int, int], ...], least: float) -> None:
    method, numbers = maker(smallest=10, opening=1), discs(*middles)
    found, classes = method.found(structure(method, numbers))
    assert len(classes) == len(middles)
    assert instances(found, numbers).aji >= least
    alone = instances(ndimage.label(numbers > 0)[0], numbers).aji
    assert (alone < 0.9) == (least < 0.95)  # a mask alone merges nuclei that touch


def test_a_structure_without_nuclei_has_none_and_a_nucleus_of_one_pixel_has_no_distance() -> None:
    method, empty = maker(), np.zeros((SIZE, SIZE), np.int32)
    found, classes = method.found(structure(method, empty))
    assert not found.any()
    assert not len(classes)
    speck = empty.copy()
    speck[5, 5] = 1
    assert not method.distances_of(batch(speck)).any()


def test_the_condition_is_classes_with_distances_or_edges_and_no_structure_is_zero_with_a_flag() -> None:
    numbers = discs((22, 15), (22, 28))
    mask = np.where(numbers == 1, 1, np.where(numbers == 2, 2, 0)).astype(np.uint8)
    planes = maker().label_map(batch(numbers))
    assert planes.shape[1] == 3
    assert set(planes[0, 0].unique().tolist()) == {0.0, 1.0}
    method = maker(TWO, with_classes=True, condition="edges")
    planes = method.label_map(batch(numbers, mask=mask))
    assert planes.shape[1] == 3
    assert planes[0, 2][numbers == 0].sum() == 0
    between = (numbers[:, :-1] == 1) & (numbers[:, 1:] == 2)  # an edge runs where two nuclei touch
    assert (planes[0, 2][:, :-1][between] == 1).all()
    nothing = method.with_flag(planes, torch.ones(1, dtype=torch.bool))
    assert not nothing[:, :-1].any()
    assert (nothing[:, -1] == 1).all()


def test_the_classes_of_found_nuclei_are_those_of_most_of_their_pixels() -> None:
    method, numbers = maker(TWO, with_classes=True, smallest=10, opening=1), discs((12, 12), (34, 34))
    one = structure(maker(), numbers)
    mixed = torch.cat([torch.where(torch.from_numpy(numbers == n), 1.0, -1.0)[None, None] for n in (2, 1)], 1)
    mixed[0, 0, :12] = torch.where(torch.from_numpy(numbers > 0)[:12], 1.0, -1.0)
    _, classes = method.found(torch.cat([mixed, one[:, 1:]], 1))
    assert classes.tolist() == [1, 0]


def test_moved_nuclei_keep_their_shapes_and_do_not_overlap_and_the_image_moves_with_them() -> None:
    numbers = discs((12, 12), (34, 34), (12, 36), radius=5)
    image = np.where(numbers > 0, 0.5 + 0.1 * numbers, -1.0)[None]
    again, painted = moved(numbers, image, np.random.default_rng(0))
    assert (again != numbers).any()
    assert np.bincount(again.ravel())[1:].tolist() == np.bincount(numbers.ravel())[1:].tolist()
    for number in (1, 2, 3):
        np.testing.assert_allclose(painted[0][again == number], 0.5 + 0.1 * number)
    np.testing.assert_allclose(painted[0][again == 0], -1)


def test_rebalanced_nuclei_keep_their_places_and_most_of_the_frequent_ones_are_rare() -> None:
    numbers = np.arange(1, 101, dtype=np.int32).repeat(9).reshape(30, 30)
    numbers[::3] = 0
    classes = np.array([0] * 90 + [1] * 6 + [2] * 4)
    new, _ = rebalanced(numbers, classes, np.zeros((1, 30, 30)), 3, np.random.default_rng(0))
    assert 5 < (new == 0).sum() < 35  # 18 = 20 % of 90, four deviations of 4
    assert (new[90:] == classes[90:]).all()
    assert (new == 2).sum() > (new == 1).sum() - 30


def test_what_is_filled_shows_what_lies_beside_it_and_an_image_without_objects_stays() -> None:
    image = np.zeros((1, 9, 9))
    image[0, 4, 4] = 1
    where = image[0] > 0
    assert not filled(image, where).any()
    assert (filled(image, np.zeros((9, 9), bool)) == image).all()


def test_settings_and_options_that_nothing_can_be_made_of_are_refused() -> None:
    with pytest.raises(SettingsError, match="odd"):
        maker(kernel=4)
    with pytest.raises(SettingsError, match="with_classes"):
        maker(with_classes=True)
    method = maker()
    assert NucleiDiffusion.resolve_traits(method.settings, method.traits.model_copy(update={"labels": TWO})).labels == (
        NUCLEUS
    )
    for options, words in (({"layout": "rebalanced"}, "one class"), ({"start": 0.5}, "--from")):
        own = Inference(seed=0, options=method.generate_with.of(options))
        with pytest.raises(SettingsError, match=words):
            method.generate(1, own)


def test_an_image_that_begins_with_a_given_one_stays_nearer_to_it() -> None:
    method = maker()
    given = batch(discs((22, 15), (22, 28)))
    given.image.fill_(0.8)
    far = {}
    for start in (0.05, 1.0):
        own = Inference(seed=0, options=method.generate_with.of({"start": start}))
        with torch.no_grad():
            made = method.generate(1, own, given).images
        assert made is not None
        far[start] = float((made - 0.8).abs().mean())
    assert far[0.05] < 0.5 * far[1.0]


def test_of_a_larger_given_case_a_square_as_in_training_is_painted_with_its_own_nuclei() -> None:
    method = maker(patch=16)
    given, squares = batch(discs((12, 12), (34, 34), (12, 36))), set[int]()
    given.image[:] = given.instances  # so that the image says which nucleus lies where
    for number in range(3):
        own = Inference(seed=0, number=number, options=method.generate_with())
        part = method._square(given, own)
        assert part.image.shape[2:] == part.instances.shape[2:] == (16, 16)
        assert torch.equal(part.image, part.instances.to(part.image))
        squares.add(int(part.instances.sum()))
        with torch.no_grad():
            assert method.generate(1, own, given).images.shape[2:] == (16, 16)  # type: ignore[union-attr]
    assert len(squares) == 3
    own = Inference(seed=0, options=method.generate_with.of({"whole": True}))
    with torch.no_grad():
        assert method.generate(1, own, given).images.shape[2:] == (SIZE, SIZE)  # type: ignore[union-attr]
    with pytest.raises(SettingsError, match=r"--options.whole.*--from"):
        method.generate(1, own)


def test_objects_of_which_no_class_is_known_are_refused_and_small_made_ones_dropped() -> None:
    method, numbers = maker(TWO, with_classes=True), discs((12, 12), (34, 34))
    mask = np.where(numbers == 1, 2, 0).astype(np.uint8)
    with pytest.raises(DataError, match="no class of 1 of its 2 objects"):
        method.generate(1, Inference(seed=0, options=method.generate_with()), batch(numbers, mask=mask))
    small = discs((12, 12), (34, 34), radius=3)  # 29 pixels each
    for smallest, count in ((29, 2), (30, 0)):
        method = maker(smallest=smallest, opening=1)
        assert method.found(structure(maker(smallest=2), small))[0].max() == count


@pytest.mark.parametrize(
    ("steps", "shares", "each"),
    [
        (500_000, (0.4, 0.3, 0.3), (200_000, 150_000, 150_000)),
        (101, (0.5, 0.5, 0.0), (50, 51, 0)),
        (1, (0.4, 0.3, 0.3), (1, 1, 1)),
    ],
)
def test_stages_share_the_steps(steps: int, shares: tuple[float, ...], each: tuple[int, ...]) -> None:
    method = maker(steps=steps, shares=shares)
    assert method.settings.stage_steps == each
    assert [stage.steps for stage in method.stages()] == [number for number in each if number]
    assert NucleiDiffusion.Settings().stage_steps == (200_000, 150_000, 150_000)


def test_made_cases_hold_images_masks_and_instance_maps(tmp_path: Path) -> None:
    card: Card = NucleiDiffusion.card
    data = make_data(card, tmp_path / "data", dimensions=2)
    run, out = tmp_path / "run", tmp_path / "made"
    done = command("train", "nuclei-diffusion", "--data", data, "--out", run, "--preset", "tiny")
    assert done.returncode == 0, done.stderr
    done = command("synthesize", run, "--from", data, "--count", "2", "--out", out, "--options.layout", "moved")
    assert done.returncode == 0, done.stderr
    cases = json.loads((out / "scantling.json").read_text())["case"]
    assert [case["origin"]["hand_drawn"] for case in cases] == [3, 3]  # of four training cases one is held out
    assert all(case["origin"]["parents"] for case in cases)
    for case in cases:
        numbers = read_labels(Address(out / case["instances"]))[0]
        mask = read_labels(Address(out / case["masks"][0]))[0]
        assert numbers.shape == (16, 16)  # a square as those of training
        assert numbers.any()
        assert ((numbers > 0) == (mask > 0)).all()
