"""Corrections: saved beside the originals, read back as the masks of their images, learned from, counted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from commands import command
from scantling.core.case import Address, Case, Correction
from scantling.core.errors import DataError, FileError, SettingsError
from scantling.data.corrections import absorbed, standing_in
from scantling.data.dataset import Dataset, distinct, join, open_dataset
from scantling.data.label_budget import keep_labels
from scantling.methods.catalogue import card_of
from scantling.records.curve import CurveRecord
from scantling.records.run import read_run
from scantling.records.run_data import dataset_of
from scantling.report.case_files import Mask
from scantling.report.viewer_planes import Upright
from scantling.testing.trainings import quiet
from scantling.training import Options, train
from scantling.training.material import open_material
from scantling.viewing.corrections import downright, on_grid
from scantling.viewing.opened import open_correctable
from scantling.viewing.server import CaseServer
from served import JSON, SHAPE, ask, correcting, masks_of_a_model, pictures, runs_of, sent, serving

TINY = Options(preset="tiny", steps=2, settings={"patch": [16, 16], "widths": [4, 8]}, validation=0.0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    pictures(tmp_path / "data")
    masks_of_a_model(tmp_path / "masks", ["p0", "p2", "p3", "p4", "p5"])
    return tmp_path


def corner(size: int) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[:size, :size] = True
    return mask


def save(root: Path, id: str = "p2", *, size: int = 5, out: str = "corrections", **how: object) -> dict[str, object]:
    with serving(correcting(root, root / out)) as server:
        status, found = ask(server, "POST", f"/{server.token}/save/{id}", sent(corner(size), **how), **JSON)
        assert status == 200, found
        return found


def both(root: Path) -> Dataset:
    return join(distinct([open_dataset(root / "data"), open_dataset(root / "corrections")]))


def test_what_is_saved_is_read_back_as_the_mask_of_its_image_which_stands_once(root: Path) -> None:
    before = {path: path.read_bytes() for name in ("data", "masks") for path in (root / name).rglob("*.png")}
    told = save(root)
    assert (told["seconds"], told["corrected"]) == (30.0, ["p2"])
    joined = both(root)
    assert [case.id for case in joined.cases] == [case.id for case in open_dataset(root / "data").cases]
    sample = joined["p2"].load(reads=("image", "mask"))
    assert sample.mask is not None
    assert (sample.mask[0] == corner(5)).all(), "class 1, and nothing else"
    assert joined["p2"].correction is not None
    assert joined["p2"].correction.author == "Dr Who"
    assert joined["p2"].split == "train"
    assert not joined["p3"].masks
    assert {path: path.read_bytes() for path in before} == before, "no original was touched"
    assert (root / "corrections" / "masks" / "p2.png").is_file()


def test_saved_again_the_time_adds_up_and_the_mask_is_the_last_one(root: Path) -> None:
    save(root, size=5)
    found = save(root, size=3, seconds=12.5)
    assert found["seconds"] == 42.5
    with serving(correcting(root, root / "corrections")) as server:
        case = ask(server, "GET", f"/{server.token}/case/p2")[1]
        listed = ask(server, "GET", f"/{server.token}/cases")[1]
    assert "corrected before" in case["notes"][-1]
    assert (listed["corrected"], listed["author"]) == (["p2"], "Dr Who")
    assert [entry["id"] for entry in listed["cases"]] == ["p0", "p2", "p3", "p4"], "p5 is for testing"
    record = json.loads((root / "corrections" / "corrections.json").read_text())
    assert (record["cases"][0]["revisions"], record["made_by"]) == (2, "scantling view")
    sample = both(root)["p2"].load(reads=("mask",))
    assert sample.mask is not None
    assert int(sample.mask.sum()) == 9


def test_a_correction_counts_as_drawn_by_hand_beside_the_budget_and_says_its_minutes(root: Path) -> None:
    save(root)
    data = [root / "data", root / "corrections"]
    train("unet", data, root / "run", replace(TINY, labels=1), console=quiet())
    record = read_run(root / "run")
    assert record.labelled is not None
    assert "p2" in record.labelled
    assert len(record.labelled) == 2
    assert record.corrections is not None
    assert (record.corrections.cases, record.corrections.minutes, record.corrections.ids) == (1, 0.5, ("p2",))
    assert record.labels_read is not None
    assert record.labels_read.training.cases == record.labels_read.behind == 2
    assert any("1 mask of 1 subject, 0.5 minutes, by Dr Who" in sentence for sentence in record.plan)
    again = dataset_of(root / "run")
    assert [case.id for case in again.cases if case.correction] == ["p2"]
    assert not keep_labels(both(root), 1, fields=("mask",)).dataset["p3"].masks


def test_a_curve_says_what_the_minutes_of_correction_have_gained_beside_the_same_labels(root: Path) -> None:
    save(root)
    words = ("--settings.widths", "2,4", "--settings.patch", "16,16", "--label-seeds", "1", "--labels", "1")
    arms = ("unet", f"unet@{root / 'corrections'}")
    places = ("--out", root / "curve", "--json", root / "found.json", "--csv", root / "table.csv")
    done = command("curve", *arms, "--data", root / "data", "--preset", "tiny", "--steps", "2", *words, *places)
    assert done.returncode == 0, done.stderr
    found = CurveRecord.model_validate(json.loads((root / "found.json").read_text()))
    without, corrected = found.points
    assert (corrected.method, corrected.effort["minutes"]) == ("unet@corrections", 0.5)
    assert corrected.effort["pixels"] == without.effort["pixels"] > 0
    assert any("the corrections of `unet@corrections` took 0.5 minutes" in sentence for sentence in found.sentences)
    assert "minutes corrected" in done.stdout
    assert not found.warnings
    assert (root / "table.csv").read_text().splitlines()[0].endswith("pixels,strokes,minutes")
    runs = {method: read_run(root / "curve" / "runs" / method / "labels-1" / "draw-0" / "seed-0") for method in (
        "unet", "unet@corrections"
    )}  # fmt: skip
    assert {run.options["augment"] for run in runs.values()} == {"strong"}
    labelled = {method: set(run.labelled or ()) for method, run in runs.items()}
    assert labelled["unet@corrections"] == labelled["unet"] | {"p2"}


@pytest.mark.parametrize("budget", [4, "20%"])
def test_a_budget_has_the_same_subjects_where_masks_of_the_data_were_corrected(root: Path, budget: int | str) -> None:
    data = open_dataset(root / "data")
    cases = tuple(
        replace(
            data.cases[0], id=f"s{number}", subject=f"s{number}", split="train", strata={"site": "ab"[number % 5 == 0]},
            images={"image": Address(Path(f"s{number}.png"))}, masks=(Address(Path(f"m{number}.png")),),
        )
        for number in range(20)
    )  # fmt: skip

    def labelled(cases: tuple[Case, ...]) -> set[str]:
        return {case.id for case in keep_labels(replace(data, cases=cases), budget).dataset.cases if case.masks}

    first = labelled(cases)
    assert len(first) == 4
    for ids in ({case.id for case in cases} - first, {*sorted(first)[:2], "s1"}):
        mask, how = Address(Path("c.png")), Correction(seconds=9)
        of = [standing_in(case, mask, None, how) for case in cases if case.id in ids]
        joined = absorbed([cases, of], ["data", "corrections"]).cases[0]
        assert sum(case.correction is not None for case in joined) == len(ids)
        assert labelled(joined) == first | ids


def test_a_mask_that_the_data_have_is_replaced_and_a_test_mask_is_not(root: Path) -> None:
    save(root, "p0")
    joined = both(root)
    sample = joined["p0"].load(reads=("mask",))
    assert sample.mask is not None
    assert (sample.mask[0] == corner(5)).all()
    data = open_dataset(root / "data")
    tested = replace(data, cases=tuple(replace(case, split="test") for case in data.cases))
    held = join([tested, open_dataset(root / "corrections")])
    assert held["p0"].correction is None
    assert any("of test cases left out" in remark.sentence for remark in held.remarks)


def test_corrections_find_their_images_in_a_copy_of_the_data_and_no_others(root: Path) -> None:
    save(root)
    (root / "data").rename(root / "moved")
    alone = open_dataset(root / "corrections")
    assert (alone["p2"].images, len(alone["p2"].masks)) == ({}, 1)
    copy = join(distinct([open_dataset(root / "moved"), alone]))
    assert copy["p2"].correction is not None
    other = pictures(root / "other", labelled=4, unlabelled=1)
    (other / "train" / "images" / "p2.png").write_bytes((other / "train" / "images" / "p1.png").read_bytes())
    with pytest.raises(DataError, match=r"the image of 1 corrected mask \(p2\) is another one in the data"):
        join(distinct([open_dataset(other), alone]))
    (other / "train" / "images" / "p2.png").unlink()
    (other / "train" / "masks" / "p2.png").unlink()
    with pytest.raises(DataError, match=r"\(p2\) is not in the data; name the data set that was corrected"):
        join(distinct([open_dataset(other), alone]))


def test_corrections_alone_are_a_data_set_while_their_images_are_there(root: Path) -> None:
    save(root)
    material = open_material(card_of("unet"), [root / "corrections"], None, TINY)
    assert material.labelled == ["p2"]


def test_a_folder_of_corrections_is_checked_and_no_manifest_can_name_its_images(root: Path) -> None:
    save(root)
    done = command("check", root / "corrections")
    assert done.returncode == 0, done.stderr
    assert "in the layout corrections" in done.stdout
    done = command("check", root / "corrections", "--write-manifest")
    assert (done.returncode, "no manifest can name them" in done.stderr) == (2, True)


def test_a_folder_of_something_else_of_other_data_or_of_the_masks_takes_no_corrections(root: Path) -> None:
    other = pictures(root / "other")
    save(root)
    with pytest.raises(SettingsError, match=r"holds corrections of .*data; choose another folder"):
        open_correctable(root / "masks", data=other, out=root / "corrections", author="")
    for out in (root / "masks", root / "data"):
        with pytest.raises(SettingsError, match="which is read; choose another folder"):
            open_correctable(root / "masks", data=root / "data", out=out, author="")
    with pytest.raises(SettingsError, match=r"holds a data set \(scantling.toml\)|holds test but no"):
        open_correctable(root / "masks", data=root / "data", out=other, author="")
    with pytest.raises(SettingsError, match="does not say of which images its masks are; name them with --data"):
        open_correctable(root / "masks", data=None, out=root / "new", author="")
    (root / "corrections" / "corrections.json").write_text('{"version": 99}')
    with pytest.raises(FileError, match="has version 99"):
        open_dataset(root / "corrections")
    (root / "corrections" / "corrections.json").write_text("[]")
    with pytest.raises(FileError, match="is no list of corrections"):
        open_dataset(root / "corrections")


def test_a_mask_that_leads_out_of_the_folder_is_refused(root: Path) -> None:
    save(root)
    path = root / "corrections" / "corrections.json"
    path.write_text(path.read_text().replace("masks/p2.png", "../masks/p3.png"))
    with pytest.raises(DataError, match="is no path below the root"):
        open_dataset(root / "corrections")


def test_a_volume_is_saved_on_its_own_grid_and_only_the_slices_that_count_are_known(tmp_path: Path) -> None:
    affine = np.array([[0, 0, -3.0, 40], [-1.5, 0, 0, 30], [0, 1.5, 0, -20], [0, 0, 0, 1]])  # no axis as we turn it
    image = np.random.default_rng(0).integers(0, 99, (14, 12, 6)).astype(np.int16)
    for folder, name, array in (
        ("data/train/images", "v0", image),
        ("data/train/images", "v1", image + 1),
        ("data/train/masks", "v1", (image > 50).astype(np.uint8)),
        ("masks", "v0", np.zeros(image.shape, np.uint8)),
    ):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(array, affine), tmp_path / folder / f"{name}.nii.gz")
    out = tmp_path / "corrections"
    found = open_correctable(tmp_path / "masks", data=tmp_path / "data", out=out, author="me")
    with serving(CaseServer(found.shown, save=found.save, state=found.corrections.state)) as server:
        case = ask(server, "GET", f"/{server.token}/case/v0")[1]
        shape, along = case["shape"], case["planes"][0]["axes"][0]
        drawn = np.random.default_rng(1).random(shape) > 0.5
        content = {"shape": shape, "layers": [runs_of(drawn)], "seconds": 1, "slices": [0, 2], "author": "me"}
        status, told = ask(server, "POST", f"/{server.token}/save/v0", content, **JSON)
        assert status == 200, told
    written = nib.load(out / "masks" / "v0.nii.gz")
    assert np.allclose(written.affine, affine)
    assert written.shape == image.shape
    joined = join(distinct([open_dataset(tmp_path / "data"), open_dataset(out)]))
    sample = joined["v0"].load(reads=("image", "mask"))
    assert sample.mask is not None
    upright = Upright.of(sample.geometry)
    seen = upright(sample.mask[0])
    counts = np.zeros(shape, bool)
    counts[(slice(None),) * along + ([0, 2],)] = True
    assert (seen[counts] == drawn[counts]).all()
    assert (seen[~counts] == 255).all(), "nobody vouches for the other slices"


def test_what_the_page_shows_smaller_changes_only_what_was_changed_there() -> None:
    from scantling.core.case import Geometry

    grid = Geometry((8, 8), (1.0, 1.0))
    fine = np.zeros((1, 8, 8), bool)
    fine[0, 0, 0] = fine[0, 4:8, 0:4] = True
    shown = np.zeros((1, 1, 4, 4), bool)
    shown[0, 0, 2:4, 0:2] = True
    shown[0, 0, 0, 3] = True
    changed = on_grid(shown, Upright.of(grid), grid, Mask(fine, np.ones_like(fine), grid))
    expected = fine.copy()
    expected[0, 0:2, 6:8] = True
    assert (changed == expected).all()


def test_turning_back_is_the_inverse_of_turning_upright() -> None:
    from scantling.core.case import Geometry

    array = np.random.default_rng(0).random((3, 4, 5)) > 0.5
    for affine in (None, np.diag([1.0, 2.0, 3.0, 1.0])):
        upright = Upright.of(Geometry((3, 4, 5), (1.0, 2.0, 3.0), affine, container="volume", slice_axis=2))
        assert (downright(np.asarray(upright(array)), upright) == array).all()
