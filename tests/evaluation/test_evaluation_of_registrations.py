"""Scores of registrations, against numbers that follow from how the images were made."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, ornt_transform
from PIL import Image

from scantling.cli.main import main
from scantling.core.case import Case, Geometry
from scantling.core.errors import DataError, FileError
from scantling.data.displacements import write_displacement
from scantling.data.files import write_labels
from scantling.data.orientation import canonical
from scantling.evaluation import evaluate_registrations
from scantling.evaluation.registrations import landmark_errors

SHAPE = (20, 24)
GRID = Geometry(SHAPE, (2.0, 0.5))
HEAD = {
    "version": 1, "run": "run", "method": "toy", "model": "0", "fixed": "data", "split": "all", "classes": ["a", "b"],
    "values": [[1], [2]], "total": 2,
}  # fmt: skip


def square(row: int, column: int) -> np.ndarray:
    """A square of class 1, and one of class 2 beside it."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[row : row + 6, column : column + 6] = 1
    mask[row : row + 6, column + 7 : column + 10] = 2
    return mask


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two cases whose squares lie 2 rows and 3 columns apart, with points at their corners and a spacing."""
    folder, corners = tmp_path / "data", {"one": (5, 6), "two": (7, 9)}
    entries = ["name = 'squares'", "classes = { a = 1, b = 2 }"]
    for name, (row, column) in corners.items():
        for kind in ("images", "masks"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(square(row, column)).save(folder / kind / f"{name}.png")
        entries += ["[[case]]", f"id = '{name}'", f"images = 'images/{name}.png'", f"masks = 'masks/{name}.png'"]
        entries += ["spacing = [2.0, 0.5]", f"points = [[{row}.0, {column}.0], [{row + 5}.0, {column}.0]]"]
    (folder / "scantling.toml").write_text("\n".join(entries))
    return folder


def registered(folder: Path, shift: tuple[float, float], *, name: str = "one_from_two", **head: object) -> Path:
    """A folder that says that `two` was warped onto `one` by a shift."""
    field = np.broadcast_to(np.array(shift)[:, None, None], (2, *SHAPE))
    write_displacement(folder / "displacement", name, field, GRID)
    write_labels(folder / "masks", name, np.roll(square(7, 9), [-int(s) for s in shift], (0, 1)), GRID)
    files = {"image": "", "mask": f"masks/{name}.png", "displacement": f"displacement/{name}.nii.gz"}
    case = {"id": name, "fixed": "one", "moving": ["two"], "files": [files]}
    failed = [{"id": "two_from_one", "error": "it broke"}]
    (folder / "registrations.json").write_text(json.dumps({**HEAD, "cases": [case], "failed": failed, **head}))
    return folder


def test_a_shift_that_is_right_wins_all_that_there_is_to_win(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = registered(tmp_path / "out", (2, 3))
    words = ["evaluate", str(out), str(data), "--json", str(tmp_path / "s.json"), "--csv", str(tmp_path / "s.csv")]
    assert main(words) == 1, "one pair was not registered"
    found = json.loads((tmp_path / "s.json").read_text())
    assert found["failed"] == [{"id": "two_from_one", "error": "it was not registered: it broke"}]
    (pair,) = found["pairs"]
    assert (pair["dice"], pair["hd95"], pair["folded"]) == (1, 0, 0)
    assert pair["landmarks"] == pytest.approx(0, abs=1e-5)
    assert pair["log_jacobian"] == pytest.approx(0, abs=1e-5)
    # 2 rows of 2 mm and 3 columns of 0.5 mm
    assert pair["landmarks_before"] == pytest.approx(math.hypot(4, 1.5))
    # of 36 pixels, 4 rows of 3 columns are shared; of the 18 of the other class none
    assert pair["classes"]["a"]["dice_before"] == pytest.approx(12 / 36)
    assert pair["dice_before"] == pytest.approx((12 / 36 + 0) / 2)
    assert pair["hd95_before"] > 1
    assert pair["unit"] == "mm"
    assert set(found["units"].values()) == {"mm"}
    told = capsys.readouterr().out
    assert "Landmark error before (mm)" in told
    assert "95 % Hausdorff distance after (mm)" in told
    assert "Dice before" in told
    assert "Dice after" in told
    lines = (tmp_path / "s.csv").read_text().splitlines()
    assert lines[0].startswith("id,subject,class,fixed,moving,dice,dice_before,hd95,hd95_before,landmarks")
    assert [line.split(",")[:5] for line in lines[1:]] == [["one_from_two", "one", c, "one", "two"] for c in "ab"]


def test_without_a_spacing_landmarks_and_distances_are_in_pixels(data: Path, tmp_path: Path) -> None:
    manifest = data / "scantling.toml"
    lines = manifest.read_text().splitlines(keepends=True)
    manifest.write_text("".join(line for line in lines if not line.startswith("spacing")))
    found = evaluate_registrations(registered(tmp_path / "out", (2, 3)), data)
    assert found.unit == "pixel"
    assert found.pairs[0].scores["landmarks_before"] == pytest.approx(math.hypot(2, 3))
    assert "Landmark error before (pixels)" in found.table()
    assert found.facts()["units"]["landmarks"] == "pixel"


def test_no_shift_leaves_everything_as_it_was(data: Path, tmp_path: Path) -> None:
    (pair,) = evaluate_registrations(registered(tmp_path / "out", (0, 0)), data).pairs
    for name in ("dice", "hd95", "landmarks"):
        assert pair.scores[name] == pytest.approx(pair.scores[f"{name}_before"])


def test_it_is_said_whether_the_moving_images_or_the_fixed_ones_have_no_masks(data: Path, tmp_path: Path) -> None:
    out = registered(tmp_path / "out", (0, 0), moving=str(data))
    bare = tmp_path / "bare"
    shutil.copytree(data / "images", bare / "images")
    (bare / "scantling.toml").write_text("".join(
        f"[[case]]\nid = '{name}'\nimages = 'images/{name}.png'\nspacing = [2.0, 0.5]\n" for name in ("one", "two")
    ))  # fmt: skip
    assert f"{bare} has no masks" in evaluate_registrations(out, bare).table()
    none = registered(tmp_path / "none", (0, 0), classes=[], values=[])
    assert "No mask was warped" in evaluate_registrations(none, data).table()
    assert "subjects are few" not in evaluate_registrations(none, data).table(), "of one there is no interval"


def test_folding_and_the_spread_of_the_jacobian_are_those_of_the_field(data: Path, tmp_path: Path) -> None:
    out = registered(tmp_path / "out", (0, 0))
    rows, columns = np.meshgrid(*map(np.arange, SHAPE), indexing="ij")
    field = np.stack([np.where(columns < 12, 0.5, -2.0) * rows, np.zeros(SHAPE)])
    write_displacement(out / "displacement", "one_from_two", field, GRID)
    (pair,) = evaluate_registrations(out, data).pairs
    # 1 + 0.5 in one half, 1 - 2 in the other
    assert pair.scores["folded"] == pytest.approx(0.5)
    assert pair.scores["log_jacobian"] == pytest.approx(0, abs=1e-5)
    field[0] = np.where(columns < 12, 0.5, 0.2) * rows
    write_displacement(out / "displacement", "one_from_two", field, GRID)
    (pair,) = evaluate_registrations(out, data).pairs
    assert pair.scores["log_jacobian"] == pytest.approx(math.log(1.5 / 1.2) / 2, rel=1e-4)


def test_landmarks_meet_in_the_world_whatever_the_grids() -> None:
    generator = np.random.default_rng(0)
    fixed = np.diag([1.0, 2.0, 3.0, 1.0])
    moving = np.eye(4)
    moving[:3, :3] = np.linalg.qr(generator.normal(size=(3, 3)))[0] * 0.7
    moving[:3, 3] = 3, -2, 5
    world = generator.uniform(0, 10, (6, 3))
    away = np.array([0.3, -0.4, 1.2])  # 1.3 mm
    sides = []
    for affine, points in ((fixed, world), (moving, world + away)):
        pixels = (np.linalg.inv(affine) @ np.c_[points, np.ones(6)].T)[:3].T
        geometry = Geometry((12, 8, 6), tuple(np.linalg.norm(affine[:3, :3], axis=0)), affine, "volume")
        sides += [Case(id="x", subject="x", points=tuple(map(tuple, pixels))), geometry]
    still = np.zeros((3, 12, 8, 6))
    assert landmark_errors(*sides, still) == pytest.approx((1.3, 1.3))
    right = still + (away / [1, 2, 3])[:, None, None, None]
    assert landmark_errors(*sides, right) == pytest.approx((0, 1.3))


def test_points_that_are_not_as_many_are_told_and_none_are_no_error() -> None:
    few, many = (Case(id=f"{n}", subject="x", points=((1.0, 1.0),) * n) for n in (1, 2))
    none = Case(id="none", subject="x")
    field = np.zeros((2, *SHAPE))
    with pytest.raises(DataError, match="1 has 1 points and 2 has 2; expected as many"):
        landmark_errors(few, GRID, many, GRID, field)
    assert all(math.isnan(value) for value in landmark_errors(few, GRID, none, GRID, field))


def test_a_list_that_leads_out_of_its_folder_or_is_none_is_refused(data: Path, tmp_path: Path) -> None:
    out = registered(tmp_path / "out", (0, 0))
    text = (out / "registrations.json").read_text()
    (out / "registrations.json").write_text(text.replace("displacement/one", "../data/one"))
    scores = evaluate_registrations(out, data)
    assert not scores.pairs
    assert "no pair could be scored" in scores.table()
    (out / "registrations.json").write_text(text.replace('"version": 1', '"version": 2'))
    with pytest.raises(FileError, match=r"it has version 2.*update Scantling"):
        evaluate_registrations(out, data)


def test_what_an_evaluation_of_registrations_does_not_take_is_told(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = registered(tmp_path / "out", (0, 0))
    assert main(["evaluate", str(out), str(data), "--split", "test"]) == 2
    assert "holds registrations, of which all are scored; leave --split out" in capsys.readouterr().err


@pytest.mark.parametrize("codes", ["RAS", "LPI", "SRP"])
def test_points_are_turned_with_the_volumes_that_they_lie_in(codes: str) -> None:
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    plain, dot = Geometry((6, 7, 8), (1.0, 2.0, 3.0), affine, "volume"), np.zeros((6, 7, 8), np.uint8)
    dot[2, 3, 4] = 1
    to = ornt_transform(axcodes2ornt(("R", "A", "S")), axcodes2ornt(tuple(codes)))
    stored = nib.Nifti1Image(dot, affine).as_reoriented(to)
    raw = Geometry(stored.shape, tuple(map(float, stored.header.get_zooms())), stored.affine, "volume")
    (point,) = (tuple(float(n) for n in row) for row in np.argwhere(np.asarray(stored.dataobj)))
    fixed, moving = Case(id="f", subject="f", points=((2, 3, 3),)), Case(id="m", subject="m", points=(point,))
    after, before = landmark_errors(fixed, plain, moving, canonical(raw), np.zeros((3, 6, 7, 8)))
    assert after == before == pytest.approx(3)


def test_regions_of_the_manifest_are_scored_in_place_of_the_classes(data: Path, tmp_path: Path) -> None:
    out = registered(tmp_path / "out", (2, 3))
    mask = square(5, 6)
    write_labels(out / "masks", "one_from_two", np.array([0, 2, 1], np.uint8)[mask], GRID)  # both classes, swapped
    assert evaluate_registrations(out, data).pairs[0].scores["dice"] == 0
    manifest = data / "scantling.toml"
    manifest.write_text(manifest.read_text().replace("[[case]]", '[regions]\nboth = ["a", "b"]\n[[case]]', 1))
    found = evaluate_registrations(out, data)
    (pair,) = found.pairs
    assert (pair.scores["dice"], list(pair.classes), found.classes) == (1, ["both"], ("both",))
    assert "Scored are the regions of the manifest, not the classes: both = a + b." in found.notes
    assert found.regions == {"both": ("a", "b")}  # kept beside the evaluation of the classes, not in its place
    manifest.write_text(manifest.read_text().replace('["a", "b"]', '["a", "c"]'))
    with pytest.raises(DataError, match="joins 'c', which is no class"):
        evaluate_registrations(out, data)
