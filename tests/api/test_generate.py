"""What `load_model(...).generate` makes is what `synthesize` writes."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from api.untrained import untrained
from made import images_for
from scantling import load_model
from scantling.core.errors import SettingsError
from scantling.data.dataset import open_dataset
from scantling.inference import synthesize
from scantling.inference.conditions import Conditions
from scantling.methods.catalogue import CARDS, added
from stored import read, read_labels
from toys_generation import CARDS as TOYS
from toys_generation import Translator


def test_a_rule_makes_in_memory_what_the_command_writes(tmp_path: Path) -> None:
    synthesize("retina-phantoms", count=3, out=tmp_path, options={"seed": 5}, settings={"size": 64})
    made = load_model("retina-phantoms", settings={"size": 96}).generate(3, size=64, seed=5)
    for one, case in zip(made, open_dataset(tmp_path).cases, strict=True):
        assert (one.id, one.origin, one.split) == (case.id, case.origin, case.split)
        np.testing.assert_array_equal(one.image, read(case.images["image"]).array)
        np.testing.assert_array_equal(one.mask, read_labels(case.masks[0])[0])  # type: ignore[arg-type]
        np.testing.assert_array_equal(one.fields["region"], read_labels(case.region)[0])  # type: ignore[arg-type]
        assert one.channels == ("red", "green", "blue")
        assert max(one.plot(longest=50).size) == 50


def test_what_a_rule_is_told_is_checked_in_the_words_of_python() -> None:
    model = load_model("fractal-vessels")
    with pytest.raises(SettingsError, match=r"^count 0"):
        model.generate(0)
    with pytest.raises(SettingsError, match="size"):
        model.generate(1, size=3)
    with pytest.raises(SettingsError, match=r"^data .*: fractal-vessels asks for nothing"):
        model.generate(1, size=64, data="somewhere")
    with pytest.raises(SettingsError, match=r"^tempo: "):
        model.generate(1, size=64, tempo=2)


def test_a_trained_model_makes_of_a_data_set_what_the_command_makes(tmp_path: Path) -> None:
    data = images_for(CARDS["unet"], tmp_path / "data", dimensions=2)
    with added(TOYS["translator"]):
        run = untrained("translator", data, tmp_path / "run")
        facts = synthesize(
            run, count=2, out=tmp_path / "out", options={"brighter": 0.5}, conditions=Conditions(data=data)
        )
    model = load_model(run, method=Translator)  # its card is in no catalogue
    made = model.generate(2, data=data, brighter=0.5)
    assert facts["case"][0]["origin"]["parents"] == list(made[0].origin.parents)
    for one, case in zip(made, open_dataset(tmp_path / "out").cases, strict=True):
        assert one.origin == case.origin
        np.testing.assert_array_equal(one.image, read(case.images["image"]).array)
        np.testing.assert_array_equal(one.mask, read_labels(case.masks[0])[0])  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=r"name a data set that has them with data DATA"):
        model.generate(1)
    with pytest.raises(SettingsError, match=r"decided when it was trained"):
        model.generate(1, data=data, size=64)


def test_volumes_have_the_axes_of_the_files(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    affine = np.array([[0, 0, -2.0, 9], [-1, 0, 0, 8], [0, 1.0, 0, -4], [0, 0, 0, 1]])
    for number in range(3):
        array = np.random.default_rng(number).normal(50, 9, (9, 10, 11)).astype(np.float32)
        nib.save(nib.Nifti1Image(array, affine), data / f"images/{number}.nii.gz")
    with added(TOYS["volume-maker"]):
        run = untrained("volume-maker", data, tmp_path / "run")
        synthesize(run, count=1, out=tmp_path / "out")
        (made,) = load_model(run).generate(1)
    file = nib.load(next((tmp_path / "out" / "images").iterdir()))
    np.testing.assert_array_equal(made.image[0], np.asarray(file.dataobj))  # type: ignore[index]
    np.testing.assert_allclose(made.affine, file.affine)  # type: ignore[arg-type]
    assert made.mask is None


def test_what_is_made_before_ctrl_c_is_not_made_again(tmp_path: Path) -> None:
    def interrupted(done: int, total: int, id: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesize("vessel-trees", count=9, out=tmp_path, settings={"size": 64}, progress=interrupted)
    made = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "masks").iterdir()}
    assert len(made) == 8, "one group"
    synthesize("vessel-trees", count=9, out=tmp_path, settings={"size": 64})
    again = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "masks").iterdir()}
    assert len(open_dataset(tmp_path)) == len(again) == 9
    assert made.items() <= again.items()
