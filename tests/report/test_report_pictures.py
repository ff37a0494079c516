"""The pictures of the page show what is in the files: errors, classes, regions, the right way up."""

from __future__ import annotations

import base64
import io
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reported import SIZE, evaluation, labels_of, page_of, settled_run
from scantling.core.case import Geometry
from scantling.data.pictures import View, class_colours, grey, outline
from scantling.report import pictures
from scantling.report.case_files import read_case
from scantling.report.contours import RIM, contours
from scantling.report.exemplars import choose, draw
from scantling.report.targets import open_evaluation


@pytest.fixture(name="run")
def a_run(tmp_path: Path) -> Path:
    return settled_run(tmp_path)


def test_errors_are_what_an_enumeration_of_all_pairs_says() -> None:
    pairs = list(itertools.product(range(3), range(3), (False, True)))
    truth, mask, judged = (np.array([column]) for column in zip(*pairs, strict=True))
    layers = [np.stack([numbers == 1, numbers == 2]) for numbers in (truth, mask)]
    found = pictures.errors(*layers, judged=np.stack([judged, judged]))[0]
    for (true, said, counts), code in zip(pairs, found, strict=True):
        if not counts or (true == 0 and said == 0):
            assert code == 0
        elif true == said:
            assert code == pictures.HIT
        elif true == 0:
            assert code == pictures.EXTRA
        elif said == 0:
            assert code == pictures.MISSED
        else:
            assert code == pictures.CONFUSED


def pixels(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGBA"))


def test_the_overlay_shows_the_image_as_it_is_under_contours_and_counts_the_errors(run: Path) -> None:
    found = open_evaluation(run / "evaluations" / "test0.json")
    case = found.record.cases[4]
    drawn = draw("Worst", case, found)
    assert drawn.overlay is not None
    photo, lines = (pixels(layer) for layer in drawn.overlay.layers)
    assert (photo[..., :3] == np.asarray(Image.open(str(case.files.image[0])))).all(), "neither dimmed nor grey"
    truth, mask = (np.asarray(Image.open(str(address))) > 0 for address in (case.files.truth, case.files.prediction))
    colours = {tuple(pixel) for pixel in lines.reshape(-1, 4).tolist() if pixel[3]}
    assert colours == {(*bytes.fromhex(class_colours(1)[1][1:]), 255), RIM}
    scale = lines.shape[0] // truth.shape[0]
    inner = truth & mask
    for _ in range(2):
        inner &= ~outline(inner)
    middle = lines[scale // 2 :: scale, scale // 2 :: scale, 3]
    assert not middle[inner].any(), "what is inside stays free"
    assert (lines[..., 3] > 0).mean() < 0.2
    assert f"{int((truth & ~mask).sum()):,} pixels missed" in drawn.overlay.alt
    assert drawn.overlay.title == "Truth solid, mask dashed"


def test_the_contour_of_a_mask_is_dashed_and_that_of_the_truth_is_not() -> None:
    square = np.zeros((20, 20), bool)
    square[5:15, 5:15] = True
    view = View.of(Geometry((20, 20), (1.0, 1.0)))
    colour = [*bytes.fromhex(class_colours(1)[1][1:]), 255]
    drawn = [contours([([square], dashed)], class_colours(1), view, longest=400) for dashed in (False, True)]
    along = [(one[100, 120:280] == colour).all(axis=-1) for one in drawn]
    assert along[0].all()
    assert 0.4 < along[1].mean() < 0.8


def test_outside_the_region_nothing_is_an_error(run: Path, tmp_path: Path) -> None:
    region = np.zeros(SIZE, np.uint8)
    region[:, :10] = 255
    Image.fromarray(region).save(tmp_path / "region.png")
    facts = json.loads((run / "evaluations" / "test0.json").read_text())
    facts["cases"][0]["files"]["region"] = str(tmp_path / "region.png")
    (run / "evaluations" / "test0.json").write_text(json.dumps(facts))
    found = open_evaluation(run / "evaluations" / "test0.json")
    drawn = draw("Worst", found.record.cases[0], found)
    assert drawn.overlay is not None
    painted = pixels(drawn.overlay.layers[1])
    assert not painted[:, 11:, 3].any()
    truth, mask = (
        np.asarray(Image.open(str(one)))[:, :10] > 0
        for one in (found.record.cases[0].files.truth, found.record.cases[0].files.prediction)
    )
    assert f"{int((truth & ~mask).sum()):,} pixels missed" in drawn.overlay.alt, "only inside"
    edge = [*bytes.fromhex(pictures.OUTLINE[1:]), 255]
    assert (painted[:, 10] == edge).all(), "its edge is drawn, outside, where it hides no error"
    assert drawn.legend[-1][1] == pictures.OUTLINE


@pytest.mark.parametrize("shape", [(7, 9), (1, 5)])
def test_an_outline_is_where_a_neighbour_lies_outside(shape: tuple[int, int]) -> None:
    region = np.random.default_rng(2).random(shape) < 0.7
    expected = np.zeros(shape, bool)
    for row, column in np.argwhere(region):
        around = [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
        inside = [(r, c) for r, c in around if 0 <= r < shape[0] and 0 <= c < shape[1]]
        expected[row, column] = any(not region[place] for place in inside)
    np.testing.assert_array_equal(outline(region), expected)


def test_shrinking_takes_means_and_never_enlarges() -> None:
    picture = np.random.default_rng(3).integers(0, 256, (40, 60), dtype=np.uint8)
    means = picture.reshape(20, 2, 30, 2).mean(axis=(1, 3))
    assert np.abs(pictures.shrink(picture, 30) - means).max() <= 1
    assert pictures.shrink(picture, 60) is picture
    line = np.zeros((400, 400, 4), np.uint8)
    line[:, 201] = (230, 159, 0, 255)
    small = pictures.shrink(line, 100)
    assert (small[:, 50, 3] == 64).all(), "a line of one pixel in four stays, a quarter as strong"
    assert np.abs(small[:, 50, :3].astype(int) - (230, 159, 0)).max() <= 2, "in its colour"


@pytest.mark.parametrize("colours", [3, 256, 257])
def test_a_png_holds_every_pixel_exactly(colours: int) -> None:
    draws = np.random.default_rng(colours)
    table = draws.integers(0, 256, (colours, 4), dtype=np.uint8)
    picture = table[draws.permutation(np.arange(1024) % colours)].reshape(32, 32, 4)
    np.testing.assert_array_equal(pixels(pictures.png_uri(picture)), picture)


def test_grey_values_fill_the_range_and_survive_what_is_not_finite() -> None:
    ramp = np.linspace(-5, 5, 256)[None]
    np.testing.assert_array_equal(grey(ramp, limits=(-5, 5))[0], np.arange(256))
    assert grey(np.array([[np.nan, 0.0, 1.0, np.inf]]), limits=(0, 1)).tolist() == [[0, 0, 255, 0]]
    assert grey(np.full((2, 2), 7.0)).tolist() == [[0, 0], [0, 0]]
    assert grey(np.full((2, 2), np.nan)).tolist() == [[0, 0], [0, 0]]
    kept = np.array([[3, 200]], np.uint8)
    np.testing.assert_array_equal(grey(kept), kept)


def test_best_median_and_worst_go_by_dice_or_the_first_measure_that_has_a_direction(run: Path) -> None:
    path = run / "evaluations" / "test0.json"
    by, chosen = choose(open_evaluation(path))
    assert (by.key, [(rank, case.id) for rank, case in chosen]) == (
        "dice", [("Worst", "case-00"), ("Median", "case-05"), ("Best", "case-11")],
    )  # fmt: skip
    facts = json.loads(path.read_text())
    facts["mean"] = {"hd95": 1.0, "unheard_of": 2.0}
    path.write_text(json.dumps(facts))
    by, chosen = choose(open_evaluation(path))
    assert (by.key, [case.id for _, case in chosen]) == ("hd95", ["case-00", "case-05", "case-11"]), "lower is better"
    for count, ranks in ((2, ["Worst", "Best"]), (1, ["Only case"]), (0, [])):
        path.write_text(json.dumps(facts | {"cases": facts["cases"][:count]}))
        assert [rank for rank, _ in choose(open_evaluation(path))[1]] == ranks


def test_classes_keep_their_colours_and_wrong_ones_are_marked(tmp_path: Path) -> None:
    facts = evaluation(tmp_path / "masks", cases=1, classes=["head", "tail"])
    facts["labels"] = labels_of(["head", "tail"], [[1], [2]], ignore=255)
    truth, mask = np.array([[0, 1, 2, 1, 255]], np.uint8), np.array([[1, 1, 1, 0, 1]], np.uint8)
    Image.fromarray(truth).save(facts["cases"][0]["files"]["truth"])
    Image.fromarray(mask).save(facts["cases"][0]["files"]["prediction"])
    Image.fromarray(np.zeros((1, 5), np.uint8)).save(facts["cases"][0]["files"]["image"][0])
    (tmp_path / "a.json").write_text(json.dumps(facts))
    found = open_evaluation(tmp_path / "a.json")
    arrays = read_case(found.record.cases[0], found)
    assert arrays.truth is not None
    assert arrays.truth.classes[:, 0].tolist() == [
        [False, True, False, True, False],
        [False, False, True, False, False],
    ]
    assert not arrays.truth.known[:, 0, 4].any()
    drawn = draw("Only case", found.record.cases[0], found)
    assert drawn.overlay is not None
    assert drawn.overlay.alt.endswith(
        "1 pixels found, 1 pixels added (false positive), 1 pixels missed (false negative), 1 pixels wrong class"
    )
    assert [name for name, _ in drawn.classes] == ["head", "tail"]


def test_no_class_has_the_colour_of_an_error() -> None:
    errors = {colour[:7] for colour in pictures.ERROR_COLOURS.values()} | {pictures.OUTLINE}
    assert not errors & {*class_colours(20).values()}
    assert class_colours(1)[1] == class_colours(20)[1], "a class alone has the colour that it has among others"


def test_of_classes_that_overlap_the_smallest_is_seen_and_an_error_is_one_of_any_class(tmp_path: Path) -> None:
    facts = evaluation(tmp_path / "masks", cases=1, classes=["whole", "core"])
    facts["labels"] = labels_of(["whole", "core"], [[], []])
    rows = {"whole": ([0, 1, 1, 1], [0, 1, 1, 0]), "core": ([0, 1, 0, 0], [0, 0, 0, 1])}
    files = facts["cases"][0]["files"]
    for place, side in enumerate(("truth", "prediction")):
        files[side] = {name: str(tmp_path / f"{side}-{name}.png") for name in rows}
        for name, row in rows.items():
            Image.fromarray(np.array([row[place]], np.uint8) * 255).save(files[side][name])
    files["image"] = []
    (tmp_path / "a.json").write_text(json.dumps(facts))
    found = open_evaluation(tmp_path / "a.json")
    drawn = draw("Only case", found.record.cases[0], found)
    assert drawn.overlay is not None
    assert "1 pixels found, 0 pixels added (false positive), 1 pixels missed (false negative), 1 pixels wrong" in (
        drawn.overlay.alt
    )
    shown = [tuple(pixel[:3]) for pixel in pixels(drawn.thumbnails[0].layers[0])[0].tolist()]
    colours = [tuple(bytes.fromhex(colour[1:])) for _, colour in drawn.classes]
    assert shown[1:] == [colours[1], colours[0], colours[0]]
    assert "Classes overlap" in page_of(tmp_path / "a.json").text


def test_an_evaluation_that_does_not_say_what_values_mean_has_no_masks_drawn(tmp_path: Path) -> None:
    facts = evaluation(tmp_path / "masks", cases=1, labels=None)
    (tmp_path / "a.json").write_text(json.dumps(facts))
    found = page_of(tmp_path / "a.json")
    assert "does not say what the values of the masks mean" in found.text
    assert len(found.all("img")) == 1, "the image"
