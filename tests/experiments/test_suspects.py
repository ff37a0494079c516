"""Masks that were damaged on purpose are found by models that have not seen them, and nothing is changed."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from made import blobs, write
from scantling.core.case import Geometry
from scantling.core.errors import DataError, SettingsError
from scantling.data.dataset import file_hashes, fingerprint, open_dataset
from scantling.data.files import write_labels
from scantling.data.loading import with_spacing
from scantling.data.opening import OPENING
from scantling.data.orientation import canonical, turned
from scantling.experiments.suspects import _layers, suspects
from scantling.training import Options, train

QUIET = Console(quiet=True)


def data(root: Path, count: int = 12) -> Path:
    """Bright blobs with their masks; those of 3 are empty, and those of 7 are shifted by 12 rows."""
    generator = np.random.default_rng(0)
    for number in range(count):
        mask = blobs((40, 44), generator, 1)
        image = np.clip(40 + 120 * mask + generator.normal(0, 8, mask.shape), 0, 255).astype(np.uint8)
        drawn = mask * 0 if number == 3 else np.roll(mask, 12, axis=0) if number == 7 else mask
        write(root / "train" / "images", f"case{number:02d}", image)
        write(root / "train" / "masks", f"case{number:02d}", (drawn * 255).astype(np.uint8))
    write(root / "test" / "images", "held", image)
    (root / "test" / "masks").mkdir()
    (root / "test" / "masks" / "held.png").write_bytes(b"nobody opens the masks for testing")
    return root


def test_damaged_masks_stand_out_and_are_said_what_they_look_like(tmp_path: Path) -> None:
    root, run = data(tmp_path / "set"), tmp_path / "run"
    before = fingerprint(file_hashes(open_dataset(root)))
    train(
        "unet",
        [root],
        run,
        Options(preset="tiny", steps=60, settings={"rate": 5e-2}, augment="none", validation=0.0),
        console=QUIET,
    )
    found = suspects(open_dataset(root), run, console=QUIET)
    assert (found.judged, found.cross_fitted, found.failed) == (12, 12, ())
    kinds = {one.case.id: one.found.kind for one in found.listed if one.stands_out}
    assert {"case03", "case07"} <= {*kinds}
    assert (kinds["case03"], kinds["case07"]) == ("empty", "shifted")
    assert len(kinds) <= 4
    with Image.open(found.picture) as sheet:
        assert sheet.width > 300
    assert fingerprint(file_hashes(open_dataset(root))) == before
    again = suspects(open_dataset(root), run, console=QUIET)  # nothing is trained or predicted again
    assert again.facts() == found.facts()


def test_a_run_answers_itself_about_cases_that_it_has_not_learned_from(tmp_path: Path) -> None:
    root, run = data(tmp_path / "set", 9), tmp_path / "run"
    train("unet", [data(tmp_path / "other" / "elsewhere", 6)], run, Options(preset="tiny", steps=20), console=QUIET)
    for path in (root / "train" / "images").iterdir():  # none of these images is among those
        Image.fromarray(255 - np.asarray(Image.open(path))[::-1]).save(path)
    found = suspects(open_dataset(root), run, console=QUIET)
    assert (found.judged, found.cross_fitted) == (9, 0)


def test_runs_that_do_not_segment_and_data_without_masks_are_refused(tmp_path: Path) -> None:
    root, run = data(tmp_path / "set", 5), tmp_path / "run"
    train("unet", [root], run, Options(preset="tiny", validation=0.0), console=QUIET)
    write(tmp_path / "bare" / "images", "a", np.zeros((20, 20), np.uint8))
    with pytest.raises(DataError, match="nothing can be suspected"):
        suspects(open_dataset(tmp_path / "bare"), run, console=QUIET)
    with pytest.raises((SettingsError, DataError), match=r"one subject|segment"):
        suspects(open_dataset(data(tmp_path / "one" / "a", 1)), _on_one(tmp_path), console=QUIET)


def _on_one(tmp_path: Path) -> Path:
    run = tmp_path / "run-on-one"
    train("unet", [tmp_path / "one" / "a"], run, Options(preset="tiny", validation=0.0), console=QUIET)
    return run


@pytest.mark.parametrize("spaced", [False, True])
@pytest.mark.parametrize("mask", ["array without a place", "other orientation"])
def test_a_mask_is_held_against_the_answer_where_it_lies(tmp_path: Path, mask: str, spaced: bool) -> None:
    drawn, affine = np.zeros((14, 14, 14), np.uint8), np.diag([-1.0, -1.0, 2.0, 1.0])
    drawn[2:6, 3:9, 1:4] = 1
    for folder in ("images", "masks", "answers"):
        (tmp_path / "set" / folder).mkdir(parents=True)
    nib.save(nib.Nifti1Image(100.0 * drawn, affine), tmp_path / "set/images/a.nii.gz")
    grid = Geometry((14, 14, 14), (1.0, 1.0, 2.0), affine, container="volume", unit="mm")
    grid = canonical(grid)
    grid = with_spacing(grid, (1.5, 1.5, 2.0), "a") if spaced else grid  # as `predict` writes it
    write_labels(tmp_path / "set/answers", "a", turned(drawn[None], grid)[0], grid)
    if mask == "other orientation":
        stored = nib.as_closest_canonical(nib.Nifti1Image(drawn, affine))
        nib.save(stored, tmp_path / "set/masks/a.nii.gz")
    else:
        np.save(tmp_path / "set/masks/a.npy", drawn)
    (tmp_path / "set/scantling.toml").write_text(
        f'[classes]\nblob = 1\n[[case]]\nid = "a"\nimages = "images/a.nii.gz"\nspacing = [1.5, 1.5, 2.0]\n'
        f'masks = "masks/a.{"npy" if mask.startswith("array") else "nii.gz"}"\n'
    )
    dataset = open_dataset(tmp_path / "set")
    assert dataset.labels is not None
    one, other = _layers(dataset.cases[0], tmp_path / "set/answers", dataset, dataset.labels, OPENING)
    assert one.any()
    assert np.array_equal(one, other)
