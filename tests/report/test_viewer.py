"""What the case viewer is given of a case: the right way up, exact masks, one scale, and never too much."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from reported import evaluation, page_of
from scantling.core.case import Geometry
from scantling.fusion import uncertainties
from scantling.report.case_files import Layer, Mask, channel_names
from scantling.report.targets import open_evaluation
from scantling.report.uncertainty import entropy_of, scale_of
from scantling.report.viewer import LIMIT, case_payload
from scantling.report.viewer_arrays import as_picture, exact, fitted
from scantling.report.viewer_cases import ViewerCase, as_sequences, chosen, photographs, scored
from scantling.report.viewer_planes import Upright
from viewed import VOLUME, decoded, payloads, volume_page, volumes


def found(folder: Path, facts: dict[str, Any]) -> Any:
    (folder / "a.json").write_text(json.dumps(facts))
    return open_evaluation(folder / "a.json")


def flat(shape: tuple[int, ...]) -> Geometry:
    return Geometry(shape, (1.0,) * len(shape))


@pytest.mark.parametrize("way", [[(0, 1), (1, 1), (2, 1)], [(2, -1), (0, 1), (1, -1)]])
def test_a_volume_lies_head_first_front_first_and_right_first_however_it_is_stored(
    way: list[tuple[int, int]], tmp_path: Path
) -> None:
    facts = volumes(tmp_path / "masks", cases=1)
    for what in ("image", "truth", "prediction"):
        path = tmp_path / "masks" / f"{what}-0.nii.gz"
        nib.save(nib.load(path).as_reoriented(np.array(way)), path)
    evaluation = found(tmp_path, facts)
    payload = case_payload(scored(evaluation.record.cases[0], evaluation))
    assert payload["shape"] == [6, 10, 12]
    assert payload["spacing"] == [3.0, 1.0, 1.0]
    right, front, head = (np.arange(side)[::-1] for side in VOLUME)
    places = 1000.0 * right + 40.0 * front[:, None] + head[:, None, None]
    (channel,) = payload["channels"]
    shown = decoded(channel).astype(float) / 255 * (channel["high"] - channel["low"]) + channel["low"]
    inside = (places > channel["low"]) & (places < channel["high"])
    assert np.abs(shown - places)[inside].max() <= (channel["high"] - channel["low"]) / 255
    planes = {plane["name"]: plane for plane in payload["planes"]}
    assert next(iter(planes)) == "Axial", "the plane of the acquisition, whose slices are thick"
    assert planes["Axial"]["marks"] == ["R", "L", "A", "P"]
    assert planes["Coronal"]["marks"] == ["R", "L", "S", "I"]
    assert planes["Sagittal"]["marks"] == ["A", "P", "S", "I"]
    assert sorted(planes["Axial"]["numbers"]) == [1, 2, 3, 4, 5, 6]
    assert planes["Axial"]["errors"] == [0, 1, 0, 1, 0, 0], "from the head: one added, one of the wrong class"


def test_the_viewer_starts_at_the_slice_with_most_errors_and_masks_are_exact(tmp_path: Path) -> None:
    evaluation = found(tmp_path, volumes(tmp_path / "masks"))
    payload = case_payload(scored(evaluation.record.cases[2], evaluation))
    axial = payload["planes"][0]
    assert axial["errors"][axial["start"]] == 3 == max(axial["errors"])
    truth = [decoded(layer) for layer in payload["truth"]["layers"]]
    assert [int(layer.sum()) for layer in truth] == [6 * 6 * 4 - 16, 16]
    codes = decoded(payload["errors"])
    assert {code: int((codes == code).sum()) for code in (2, 3, 4)} == {2: 1, 3: 0, 4: 3}
    assert [one["name"] for one in payload["codes"]] == [
        "missed (false negative)",
        "added (false positive)",
        "wrong class",
    ]


def test_a_volume_that_says_nothing_of_the_body_has_no_letters_and_stays_as_stored() -> None:
    upright = Upright.of(Geometry((3, 4, 5), (1.0, 1.0, 1.0)))
    array = np.arange(60).reshape(3, 4, 5)
    assert (upright(array) == array).all()
    assert [plane.name for plane in upright.planes] == ["Axis 1", "Axis 2", "Axis 3"]
    assert all(plane.marks is None for plane in upright.planes)
    assert upright.planes[2].axes == (2, 0, 1)


@pytest.mark.parametrize("shape", [(4, 7, 5), (1, 3, 9), (5, 2, 2)])
def test_arrays_come_back_as_they_were(shape: tuple[int, int, int]) -> None:
    draws = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for delta in (False, True):
        assert (decoded(exact(draws, delta=delta)) == draws).all()
    level = np.zeros(shape, np.uint8)
    level += (40 * np.arange(shape[0]) % 250).astype(np.uint8)[:, None, None]
    assert np.abs(decoded(as_picture(level, quality=100)).astype(int) - level).mean() < 20, "slices keep their places"


def test_a_large_case_stays_below_the_limit_and_says_what_was_made_smaller() -> None:
    draws = np.random.default_rng(1)
    shape = (20, 192, 192)  # noise is what compresses worst
    classes = np.zeros((1, *shape), bool)
    classes[0, 3, 20:90, 30:80] = True
    mask = Mask(classes, np.ones_like(classes), flat(shape))
    noise = [(name, Layer(draws.integers(0, 4000, shape, dtype=np.int16), flat(shape))) for name in ("t1", "flair")]
    payload = case_payload(ViewerCase("x", tuple(noise), mask, mask, classes=("lesion",)))
    assert len(json.dumps(payload)) <= LIMIT
    assert {one["codec"] for one in payload["channels"]} == {"picture"}
    assert payload["channels"][0]["shape"][0] == 20, "no slice is left out"
    assert (decoded(payload["truth"]["layers"][0]) == classes[0]).all()
    assert any("masks are exact" in note for note in payload["notes"])


def test_a_picture_of_any_size_is_shown_with_its_colours(tmp_path: Path) -> None:
    picture = np.zeros((2000, 3000, 3), np.uint8)
    picture[:, 1500:] = (200, 60, 20)
    classes = np.zeros((1, 2000, 3000), bool)
    classes[0, :, 1500:] = True
    mask = Mask(classes, np.ones_like(classes), flat((2000, 3000)))
    case = ViewerCase("x", (("colour", Layer(picture, flat((2000, 3000)))),), mask, mask, classes=("lesion",))
    payload = case_payload(case)
    assert payload["shape"] == [1, 853, 1280]
    assert len(json.dumps(payload)) <= LIMIT
    assert np.abs(decoded(payload["channels"][0])[0, 100, 1000].astype(int) - (200, 60, 20)).max() < 8
    assert decoded(payload["mask"]["layers"][0])[0].mean() == 0.5
    assert any("1280 × 853 of its 3000 × 2000 pixels" in note for note in payload["notes"])


def test_three_sequences_are_three_greys_and_a_photograph_stays_in_colour() -> None:
    draws = np.random.default_rng(2)
    level = draws.integers(40, 200, (30, 30, 1))
    tissue = np.clip(level + draws.integers(-4, 5, (30, 30, 3)) + (50, 5, 10), 0, 255).astype(np.uint8)
    sequences = draws.integers(0, 256, (30, 30, 3), dtype=np.uint8)
    cases = [ViewerCase("x", (("colour", Layer(one, flat((30, 30)))),)) for one in (tissue, sequences)]
    assert [photographs([case]) for case in cases] == [True, False]
    greys = as_sequences(cases[1]).channels
    assert [name for name, _ in greys] == ["red", "green", "blue"]
    assert all((layer.array == sequences[..., place]).all() for place, (_, layer) in enumerate(greys))


@pytest.mark.parametrize("exclusive", [True, False])
def test_uncertainty_has_one_scale_that_no_map_exceeds(exclusive: bool) -> None:
    import torch

    probabilities = torch.full((2, 3, 3), 1 / 3 if exclusive else 0.5)
    expected = uncertainties(probabilities[None, None], exclusive=exclusive)["entropy"][0, 0].numpy()
    assert np.allclose(entropy_of(probabilities.numpy(), exclusive=exclusive), expected, atol=1e-5)
    scale = scale_of("entropy", classes=2, exclusive=exclusive)
    assert expected.max() == pytest.approx(scale.highest, abs=1e-5)
    assert "the largest possible value" in scale.sentence("entropy")
    other = scale_of("surprise", classes=2, exclusive=exclusive, values=[2.5, math.nan])
    assert other.highest == 2.5
    assert "largest value in this case" in other.sentence("surprise")


def test_a_map_of_uncertainty_fills_the_range_from_none_to_the_largest_possible() -> None:
    values = np.array([[0.0, 0.25, 0.5]], np.float32)
    payload = case_payload(ViewerCase("x", uncertainty=(("deviation", Layer(values, flat((1, 3)))),)))
    assert decoded(payload["uncertainty"][0]).ravel().tolist() == [0, 128, 255]
    assert payload["uncertainty"][0]["highest"] == 0.5


def test_the_worst_the_median_and_the_best_come_first_and_then_the_lowest(tmp_path: Path) -> None:
    evaluation_file = found(tmp_path, evaluation(tmp_path / "masks", cases=12))
    listed = chosen(evaluation_file, most=6)
    assert [rank for rank, _ in listed] == ["Worst", "Median", "Best", "", "", ""]
    assert [case.id[-2:] for _, case in listed] == ["00", "05", "11", "01", "02", "03"]


def test_files_that_are_gone_leave_a_case_with_sentences(tmp_path: Path) -> None:
    facts = evaluation(tmp_path / "masks", cases=2)
    Path(facts["cases"][0]["files"]["image"][0]).unlink()
    Image.new("L", (5, 5)).save(facts["cases"][0]["files"]["prediction"])
    evaluation_file = found(tmp_path, facts)
    payload = case_payload(scored(evaluation_file.record.cases[0], evaluation_file))
    assert payload["mask"] is None
    assert payload["channels"] == []
    assert payload["truth"] is not None
    assert any(text.startswith("The image is not shown") for text in payload["missing"])
    nothing = case_payload(ViewerCase("x", missing=("Nothing could be read.",)))
    assert nothing["shape"] is None
    assert nothing["missing"] == ["Nothing could be read."]


def test_outside_the_region_no_voxel_is_wrong(tmp_path: Path) -> None:
    facts = volumes(tmp_path / "masks", cases=1)
    region = np.zeros(VOLUME, np.uint8)
    region[:, :, :3] = 1
    nib.save(nib.Nifti1Image(region, np.diag([1.0, 1.0, 3.0, 1.0])), tmp_path / "region.nii.gz")
    facts["cases"][0]["files"]["region"] = str(tmp_path / "region.nii.gz")
    evaluation_file = found(tmp_path, facts)
    payload = case_payload(scored(evaluation_file.record.cases[0], evaluation_file))
    assert payload["planes"][0]["errors"] == [0, 0, 0, 1, 0, 0]
    assert decoded(payload["counted"])[:3].sum() == 0


def test_the_page_holds_its_cases_and_rows_and_pictures_open_them(tmp_path: Path) -> None:
    page = volume_page(tmp_path)
    assert [*payloads(page)] == ["case-00", "case-01", "case-02"]
    read = page_of(tmp_path / "run")
    openers = [one for one in read.all("button") if "data-opens" in one]
    assert sorted(one["data-opens"] for one in openers) == sorted(2 * [*payloads(page)]), "rows and pictures"
    dots = [one for one in read.all("a") if "data-opens" in one]
    assert {one["data-opens"] for one in dots} == {*payloads(page)}
    assert [one["tabindex"] for one in dots] == ["0", "-1", "-1"], "one stop of the Tab key"
    (viewer,) = [one for one in read.all("div") if one.get("class") == "viewer"]
    assert [one["title"].split(":")[0] for one in json.loads(viewer["data-cases"])] == ["Worst", "Median", "Best"]
    positions = [
        read.source.index(text) for text in ('class="figures"', 'class="viewer"', "What to doubt", "About this run")
    ]
    assert positions == sorted(positions), "result and picture first, administration last"


def test_files_of_a_case_are_called_by_what_tells_them_apart() -> None:
    assert channel_names(["p01_t1", "p01_t1ce", "p01_flair"]) == ["t1", "t1ce", "flair"]
    assert channel_names(["scan"]) == ["scan"]
    assert channel_names(["a", "b"]) == ["a", "b"]


def test_what_does_not_fit_exactly_is_a_picture_and_then_a_smaller_one() -> None:
    noise = np.random.default_rng(3).integers(0, 256, (2, 128, 128), dtype=np.uint8)
    sizes = [60_000, 30_000, 8_000]
    kinds = [fitted(noise, room) for room in sizes]
    assert [one["codec"] for one in kinds] == ["deflate", "picture", "picture"]
    assert all(len(one["data"]) <= room for one, room in zip(kinds, sizes, strict=True))
    assert kinds[2]["shape"][1] < 128
