"""Made images beside real ones: equal sets are equal, copies are found, wrong inputs are sentences, pages are whole."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

import scantling
from api.untrained import untrained
from commands import command
from made import write
from scantling.core.case import Geometry
from scantling.core.errors import DataError, RunError, SettingsError
from scantling.core.samples import Intensity
from scantling.evaluation.anatomy import anatomy, distributions
from scantling.evaluation.generated import GENERATED, GENERATED_REAL, REAL, SHUFFLED, assess
from scantling.evaluation.made_and_real import halves, pairs_within

TWO = (Intensity(mean=100, std=50, low=0, high=255, minimum=0, maximum=255),) * 2


class Means(nn.Module):
    """A network of a user: the means of the four quarters of an image."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 12)."""
        return nn.functional.adaptive_avg_pool2d(image, 2).flatten(1)


def data(folder: Path, images: list[np.ndarray], *, made: bool) -> Path:
    """A data set of images, real or made."""
    for number, image in enumerate(images):
        write(folder / "images", f"{'m' if made else 'r'}{number}", image)
    if made:
        files = sorted((folder / "images").iterdir())
        cases = [
            {
                "id": path.name.split(".")[0],
                "images": f"images/{path.name}",
                "origin": {"kind": "synthetic", "model": "test"},
            }
            for path in files
        ]
        (folder / "scantling.json").write_text(json.dumps({"name": folder.name, "case": cases}))
    return folder


def smooth(count: int, *shape: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    found = [gaussian_filter(rng.standard_normal(shape), 2.5) for _ in range(count)]
    return [np.clip(128 + 60 * one / one.std(), 0, 255).astype(np.uint8) for one in found]


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Made images like the real ones, copies of these, and the real ones."""
    folder = tmp_path_factory.mktemp("sets")
    real = smooth(24, 40, 48, seed=0)
    copies = [one[:, ::-1] for one in real[:12]]
    return (
        data(folder / "new", smooth(20, 40, 48, seed=1), made=True),
        data(folder / "copied", copies, made=True),
        data(folder / "real", real, made=False),
    )


def test_images_of_one_kind_are_as_near_to_the_real_ones_as_these_to_each_other(
    sets: tuple[Path, Path, Path],
) -> None:
    found = assess(sets[0], sets[2], split="all", features=f"{__name__}:Means")
    means = {name: values.mean() for name, values in found.structural.items()}
    assert means[GENERATED_REAL] == pytest.approx(means[REAL], abs=0.05)
    assert means[GENERATED] == pytest.approx(means[REAL], abs=0.05)
    assert found.features is not None
    made, half, noisy = (found.features.rows[name] for name in found.features.rows)
    assert found.features.count == 12
    assert made["frechet"] < 2 * half["frechet"] + 1e-3
    assert set(half) == set(noisy) == {"frechet", "kernel", "precision", "recall", "density", "coverage"}
    assert found.clean
    assert [each.space for each in found.memorisation] == ["pixels", "features"]
    assert found.counts == {"made": 20, "real": 24, "made measured": 20, "real measured": 24}
    assert not found.failed


def test_copies_are_found_though_they_are_mirrored_and_shown_beside_their_originals(
    sets: tuple[Path, Path, Path],
) -> None:
    found = assess(sets[1], sets[2], split="all", most=12)
    (pixels,) = found.memorisation
    assert not found.clean
    assert pixels.copied == 12
    assert pixels.nearer == 1
    assert "memorised" in pixels.verdict()
    assert {(pair.made[1:], pair.real[1:]) for pair in pixels.pairs} <= {(str(n), str(n)) for n in range(12)}
    assert all(pair.copied for pair in pixels.pairs)
    assert any("--features" in sentence for sentence in found.remarks)


def test_the_command_writes_one_page_that_loads_nothing_and_its_numbers(
    sets: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    page, numbers = tmp_path / "page.html", tmp_path / "numbers.json"
    done = command(
        "assess", sets[1], "--real", sets[2], "--split", "all", "--features", f"{__name__}:Means", "--out", page,
        "--json", numbers,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "memorised, by pixels: 12 of 12 made images copy a training image" in done.stdout
    facts = json.loads(numbers.read_text())
    assert facts["memorisation"][0]["clean"] is False
    assert set(facts["ms_ssim"]) == {"generated-real", "generated-generated", "real-real"}
    html = page.read_text()
    assert not re.search(r"(src|href)=\"(?!data:|#)", html)
    assert html.count("a copy") >= 8
    assert "real with 10% noise" in html
    again = scantling.assess(sets[1], sets[2], split="all", features=f"{__name__}:Means")
    assert json.loads(json.dumps(again.facts()["ms_ssim"])) == facts["ms_ssim"]


def test_volumes_have_slices_that_are_consistent_beside_shuffled_ones(tmp_path: Path) -> None:
    made = data(tmp_path / "made", smooth(4, 14, 12, 13, seed=1), made=True)
    real = data(tmp_path / "real", smooth(5, 14, 12, 13, seed=0), made=False)
    found = scantling.assess(made, real, split="all", out=tmp_path / "page.html")
    assert found.slices["real"].mean() > found.slices[SHUFFLED].mean() + 0.05
    assert found.slices["made"].mean() == pytest.approx(found.slices["real"].mean(), abs=0.1)
    assert "Slice consistency" in (tmp_path / "page.html").read_text()


def test_images_without_a_common_unit_are_compared_each_in_its_own_range(tmp_path: Path) -> None:
    same = smooth(6, 16, 16, 16, seed=0)
    scales = (1, 300, 2, 40, 100, 7)
    for name, factors in (("same", (1,) * 6), ("scaled", scales)):
        data(
            tmp_path / name / "real",
            [one.astype(np.float32) * k for one, k in zip(same, factors, strict=True)],
            made=False,
        )
        data(tmp_path / name / "made", [one.astype(np.float32) for one in smooth(4, 16, 16, 16, seed=1)], made=True)
    found = {
        name: assess(tmp_path / name / "made", tmp_path / name / "real", split="all") for name in ("same", "scaled")
    }
    assert found["scaled"].grid.own_range
    assert not found["same"].grid.own_range
    assert "own range" in found["scaled"].table()
    assert found["scaled"].structural[REAL].mean() == pytest.approx(found["same"].structural[REAL].mean(), abs=0.05)


def test_a_run_gives_features_and_marks_both_sets_and_refuses_other_channels(
    sets: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    made, _, real = sets
    labelled = tmp_path / "labelled"
    for number, image in enumerate(smooth(3, 40, 48, seed=4)):
        write(labelled / "images", f"c{number}", image)
        write(labelled / "masks", f"c{number}", (image > 150).astype(np.uint8) * 255)
    run = untrained("unet", labelled, tmp_path / "run")
    found = scantling.assess(made, real, split="all", most=6, features=run, use={"segmenter": run})
    assert found.features is not None
    assert found.features.network == found.segmenter
    assert found.features.network.startswith("unet ")
    assert {each.quantity for each in found.anatomy} >= {"foreground: volume", "foreground: pieces"}
    assert found.features.count == 3
    assert np.isnan(found.features.rows["made"]["density"])  # five neighbours of three images there are not
    colour = untrained("unet", labelled, tmp_path / "colour", traits={"channels": ("r", "g"), "intensity": TWO})
    for how in ({"features": colour}, {"segmenter": colour}):
        with pytest.raises(DataError, match=r"was trained on images with 2 channels; case \w+ has 1"):
            assess(made, real, split="all", **how)  # type: ignore[arg-type]


def test_anatomy_of_a_square_is_what_it_is() -> None:
    layers = np.zeros((2, 20, 40), bool)
    layers[0, 5:10, 10:20] = True
    layers[1, 10:15, 10:20] = True
    layers[1, 18, 38] = True
    found = anatomy(layers, ("upper", "lower"), Geometry((20, 40), (1.0, 1.0)))
    assert found["upper: volume"] == 50 / 800
    assert found["upper: centre, axis 1"] == pytest.approx(7.5 / 20)
    assert found["upper: centre, axis 2"] == pytest.approx(15 / 40)
    assert (found["upper: pieces"], found["lower: pieces"]) == (1, 2)
    assert found["upper: contact with lower"] == 10 / 26  # of the border of a 5 x 10 box one long side touches
    assert found["lower: contact with upper"] == 10 / 27
    empty = anatomy(layers & False, ("upper", "lower"), Geometry((20, 40), (1.0, 1.0)))
    assert empty["upper: volume"] == 0
    assert np.isnan(empty["upper: thickness"])


def test_distributions_are_held_in_deviations_of_the_real_values() -> None:
    real = [{"size": float(value)} for value in range(10)]
    made = [{"size": float(value) + 3} for value in range(10)]
    divided = [(np.arange(0, 10, 2), np.arange(1, 10, 2))]
    (found,) = distributions(real, made, divided)
    assert found.distance == pytest.approx(3 / np.std(np.arange(10)))
    assert found.scale == pytest.approx(1 / np.std(np.arange(10)))


def test_halves_and_pairs_keep_subjects_apart() -> None:
    subjects = [f"s{number // 3}" for number in range(12)]
    for one, other in halves(subjects):
        assert sorted([*one, *other]) == list(range(12))
        assert not {subjects[place] for place in one} & {subjects[place] for place in other}
    pairs = pairs_within(subjects, 1000)
    assert len(pairs) == len(set(pairs)) == 12 * 11 / 2 - 4 * 3
    assert all(subjects[one] != subjects[other] for one, other in pairs)


def test_wrong_inputs_end_in_a_sentence(sets: tuple[Path, Path, Path], tmp_path: Path) -> None:
    made, _, real = sets
    colour = data(tmp_path / "one", smooth(1, 40, 48, seed=3), made=True)
    volumes = data(tmp_path / "volumes", smooth(3, 12, 12, 12, seed=3), made=True)
    masks = tmp_path / "masks"
    shutil.copytree(real / "images", masks / "masks")
    for found, expected in (
        ((real, real), "holds no made case: all 24 are real by their origin"),
        ((colour, real), "found 1 made image; expected 2 or more"),
        ((volumes, real), "its image has 3 axes; expected 2"),
        ((made, made), "found 0 real images"),
        ((made, masks), "holds no images"),
    ):
        with pytest.raises(DataError, match=expected):
            assess(*found, split="all")
    with pytest.raises(
        SettingsError, match="--features nothing: expected the folder of a run that is there, or MODULE:FACTORY"
    ):
        assess(made, real, split="all", features="nothing")
    with pytest.raises((RunError, DataError), match="found no model"):
        assess(made, real, split="all", segmenter=tmp_path)
    for words, expected in (
        (("assess", made), "--real: found none"),
        (("assess", made, "--real", real, "--use", "encoder=x"), "expected segmenter=RUN"),
        (("assess", made, "--real", real, "--out", tmp_path / "page.txt"), "name a file ending in .html"),
        (("assess", made, made, "--real", real), "found 2 data sets of made images"),
    ):
        done = command(*words)
        assert done.returncode == 2
        assert expected in done.stderr


def test_an_image_that_cannot_be_read_is_listed_and_the_rest_is_measured(
    sets: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    made = tmp_path / "made"
    shutil.copytree(sets[0], made)
    (made / "images" / "m3.png").write_bytes(b"nothing")
    found = assess(made, sets[2], split="all")
    assert len(found.failed) == 1
    assert "m3" in found.failed[0]
    assert found.counts["made measured"] == 19
