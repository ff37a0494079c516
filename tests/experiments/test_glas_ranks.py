"""The script that ranks by the six scores of GlaS."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scantling.core.errors import DataError
from script import script

ranks = script("benchmarks/glas_ranks.py")
PARTS = ("testA", "testB")


def save(path: Path, mask: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask.astype(np.uint8) * 255).save(path)


def test_six_scores_are_of_all_objects_of_a_part_and_the_better_one_has_the_lesser_sum(tmp_path: Path) -> None:
    mask = np.zeros((24, 40), bool)
    mask[4:10, 4:10] = mask[4:10, 20:26] = mask[14:20, 20:26] = True
    missed, shifted = mask.copy(), np.roll(mask, 3, axis=1)
    missed[14:] = False
    for part in ("train_1", "testA_1", "testA_2", "testB_1"):
        folder = tmp_path / "data" / ("train" if part == "train_1" else "test")
        save(folder / "masks" / f"{part}.png", mask)
        save(folder / "images" / f"{part}.png", mask)
        if part != "train_1":
            save(tmp_path / "first" / f"{part}.png", missed if part == "testA_2" else mask)
            save(tmp_path / "second" / f"{part}.png", shifted)
    rows = [ranks.scores_of(tmp_path / each, tmp_path / "data", PARTS, pixel=2) for each in ("first", "second")]
    # test A of the first: 5 objects found of 6
    assert rows[0][:2] == [pytest.approx(2 * 5 / (2 * 5 + 1)), 1]
    assert rows[0][3] == 1
    assert rows[0][5] == 0
    assert rows[1][:2] == [1, 1]  # half of each is enough
    assert rows[1][2:4] == [pytest.approx(0.5)] * 2
    assert rows[1][4:] == [pytest.approx(6)] * 2  # three pixels, each two across
    # F1 of A is lost, that of B shared, Dice of both won, so is the distance of B; that of A is the missed object's
    assert ranks.rank_sums([[0.9, 1, 0.9, 1, 5, 0], [1, 1, 0.5, 0.5, 6, 6]], 2) == [7.5, 10.5]
    with pytest.raises(DataError, match="begins with testC"):
        ranks.scores_of(tmp_path / "first", tmp_path / "data", ("testC",), pixel=1)
