"""The command `mend` on maps of any tool."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image

from scantling.core.errors import DataError, SettingsError
from scantling.inference import mend_folder
from scantling.mending.mend import RULES

HYSTERESIS = {"rule": "hysteresis"}


def broken_line(shape: tuple[int, ...] = (24, 60)) -> np.ndarray:
    """A bright line with a fainter part in its middle."""
    line = np.full(shape, 0.05, np.float32)
    line[..., 10:13, 5:55] = 0.9
    line[..., 10:13, 25:35] = 0.4
    return line


def mended(folder: Path, name: str, out: Path) -> np.ndarray:
    done, _, _ = mend_folder(folder, out, HYSTERESIS)
    assert not done.failed, done.failed
    return np.asarray(Image.open(out / f"{name}.png"))


@pytest.mark.parametrize("form", ["tif", "npy", "npz", "png", "png16"])
def test_every_form_of_a_map_gives_the_same_mask(tmp_path: Path, form: str) -> None:
    maps, folder = broken_line(), tmp_path / "maps"
    folder.mkdir()
    if form == "tif":
        tifffile.imwrite(folder / "a.tif", maps)
    elif form == "npy":
        np.save(folder / "a.npy", maps)
    elif form == "npz":
        np.savez(folder / "a.npz", anything=maps)
    elif form == "png":
        Image.fromarray((maps * 255).round().astype(np.uint8)).save(folder / "a.png")
    else:
        Image.fromarray((maps * 65535).round().astype(np.uint16)).save(folder / "a.png")
    mask = mended(folder, "a", tmp_path / "out")
    assert np.array_equal(mask == 255, maps > 0.3)
    listed = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert listed["mending"]["rule"] == "hysteresis"
    assert listed["cases"][0]["id"] == "a"


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1)], ids=["RAS", "LPS"])
def test_maps_of_nnunet_lose_their_background_and_take_the_place_of_the_mask_beside(
    tmp_path: Path, signs: tuple[int, ...]
) -> None:
    volume = broken_line((7, 24, 60))  # slices, rows, columns, as nnU-Net stores them
    np.savez_compressed(tmp_path / "case.npz", probabilities=np.stack([1 - volume, volume]).astype(np.float16))
    affine = np.diag([0.5 * signs[0], 0.5 * signs[1], 2.0 * signs[2], 1.0])
    nib.save(nib.Nifti1Image((volume.T > 0.5).astype(np.uint8), affine), tmp_path / "case.nii.gz")
    done, _, _ = mend_folder(tmp_path, tmp_path / "out", HYSTERESIS)
    assert not done.failed
    mask = nib.load(tmp_path / "out" / "case.nii.gz")
    assert np.allclose(mask.affine, affine)
    assert np.array_equal(np.asarray(mask.dataobj) > 0, volume.T > 0.3)


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (np.array([[0.2, 1.7]], np.float32), "values from 0.2 to 1.7; expected probabilities"),
        (np.array([[0.0, 1.0]], np.float32), "a mask of zeros and ones"),
        (np.pad([[np.nan]], 1).astype(np.float32), "NaN or infinite"),
    ],
)
def test_what_is_no_probability_map_fails_alone_with_a_sentence(tmp_path: Path, array: np.ndarray, told: str) -> None:
    np.save(tmp_path / "bad.npy", array)
    np.save(tmp_path / "good.npy", broken_line())
    done, _, _ = mend_folder(tmp_path, tmp_path / "out", HYSTERESIS)
    assert [case["id"] for case in done.cases] == ["good"]
    assert [case["id"] for case in done.failed] == ["bad"]
    assert told in done.failed[0]["error"]


def test_two_and_three_dimensions_may_lie_in_one_folder(tmp_path: Path) -> None:
    np.save(tmp_path / "flat.npy", broken_line())
    np.save(tmp_path / "deep.npy", broken_line((9, 24, 60)))
    done, _, _ = mend_folder(tmp_path, tmp_path / "out", {"rule": "anisotropic", "iterations": 5})
    assert [case["mask"] for case in done.cases] == ["deep.nii.gz", "flat.png"]


def test_nothing_to_mend_and_settings_out_of_range_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        mend_folder(tmp_path / "nowhere", tmp_path / "out", HYSTERESIS)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="found no probability map"):
        mend_folder(tmp_path / "empty", tmp_path / "out", HYSTERESIS)
    np.save(tmp_path / "a.npy", broken_line())
    with pytest.raises(SettingsError, match=r"holds .*a.npy, which is read"):
        mend_folder(tmp_path / "a.npy", tmp_path, HYSTERESIS)
    with pytest.raises(SettingsError, match="low threshold"):
        mend_folder(tmp_path / "a.npy", tmp_path / "out", {"rule": "hysteresis", "low": 0.9})
    with pytest.raises(SettingsError, match="--high"):
        mend_folder(tmp_path / "a.npy", tmp_path / "out", {"rule": "hysteresis", "high": 3})
    with pytest.raises(SettingsError, match="its radius is chosen by true masks"):
        mend_folder(tmp_path / "a.npy", tmp_path / "out", {"rule": "closing"}, auto=True)
    with pytest.raises(SettingsError, match="--rule: found 'glue'"):
        mend_folder(tmp_path / "a.npy", tmp_path / "out", {"rule": "glue"}, auto=True)
    with pytest.raises(SettingsError, match=r"conductivity of 9 allows at most .* or a lower conductivity"):
        mend_folder(tmp_path / "a.npy", tmp_path / "out", {"rule": "both", "perpendicular": 9})
    with pytest.raises(SettingsError, match="chooses everything but the rule; found --perpendicular"):
        mend_folder(tmp_path / "a.npy", tmp_path / "out", {"rule": "both", "perpendicular": 1}, auto=True)
    done, _, _ = mend_folder(tmp_path / "a.npy", tmp_path / "far", {"rule": "closing", "radius": 1e9})
    assert "radius: found 1000000000.0; expected a number from 0 to 64" in done.failed[0]["error"]


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "closing"])
def test_without_a_truth_the_mending_is_what_was_best_elsewhere_and_a_second_command_goes_on(
    rule: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "a.npy", np.pad(broken_line(), 20))
    done, used, choice = mend_folder(tmp_path / "a.npy", tmp_path / "out", {"rule": rule}, auto=True)
    assert choice is None
    assert (used.rule, used.smallest, used.high) == (rule, 50, 0.9 if RULES[used.rule][1] else 0.5)
    assert len(done.cases) == 1
    again, same, _ = mend_folder(tmp_path / "a.npy", tmp_path / "out", {"rule": rule}, auto=True)
    assert (same, len(again.cases)) == (used, 1)


def test_the_mending_is_chosen_on_validation_cases_alone(tmp_path: Path) -> None:
    """Test masks are wrecked; the choice is the same, because nobody opens them."""
    data, maps = tmp_path / "data", tmp_path / "maps"
    for split, names in (("train", "abc"), ("test", "xy")):
        for name in names:
            for kind in ("images", "masks"):
                (data / split / kind).mkdir(parents=True, exist_ok=True)
            truth = (broken_line() > 0.3).astype(np.uint8) * 255
            Image.fromarray(truth).save(data / split / "images" / f"{name}.png")
            Image.fromarray(truth).save(data / split / "masks" / f"{name}.png")
    maps.mkdir()
    for name in "abcxy":
        tifffile.imwrite(maps / f"{name}.tif", broken_line())

    def chosen(out: Path) -> dict[str, object]:
        done, used, choice = mend_folder(maps, out, HYSTERESIS, auto=True, validation=data)
        assert choice is not None
        assert {case["id"] for case in done.cases} == {"x", "y"}, "what chose is not mended"
        assert choice.table[0].scores["dice"] < max(row.scores["dice"] for row in choice.table)
        return used.model_dump()

    before = chosen(tmp_path / "one")
    assert before["rule"] == "hysteresis"
    assert np.array_equal(np.asarray(Image.open(tmp_path / "one" / "x.png")) > 0, broken_line() > 0.3)
    for name in "xy":
        (data / "test" / "masks" / f"{name}.png").write_bytes(b"wrecked")
    assert chosen(tmp_path / "two") == before


def test_maps_without_validation_cases_are_refused(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for kind in ("images", "masks"):
        (data / "train" / kind).mkdir(parents=True)
        Image.fromarray((broken_line() > 0.3).astype(np.uint8) * 255).save(data / "train" / kind / "a.png")
    np.save(tmp_path / "other.npy", broken_line())
    with pytest.raises(DataError, match="no probability map of a validation case"):
        mend_folder(tmp_path / "other.npy", tmp_path / "out", HYSTERESIS, auto=True, validation=data)
