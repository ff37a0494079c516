"""What `check` says of masks that may be inverted, and of images that are stored in different ways."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scantling.data.dataset import open_dataset
from scantling.data.integrity import check


def disc(seed: int) -> np.ndarray:
    y, x = np.random.default_rng(seed).uniform(25, 40, 2)
    grid = np.indices((64, 64))
    return (grid[0] - y) ** 2 + (grid[1] - x) ** 2 < 150


def dataset(root: Path, masks: list[np.ndarray]) -> Path:
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    for seed, mask in enumerate(masks):
        noise = np.random.default_rng(seed).integers(0, 255, mask.shape, dtype=np.uint8)
        Image.fromarray(noise).save(root / f"images/c{seed}.png")
        Image.fromarray(mask.astype(np.uint8) * 255).save(root / f"masks/c{seed}.png")
    return root


def findings(root: Path, kind: str) -> list[tuple[str, str]]:
    return [(found.level, found.sentence) for found in check(open_dataset(root)).findings if found.kind == kind]


def test_inverted_masks_are_said_with_the_lines_that_settle_it(tmp_path: Path) -> None:
    root = dataset(tmp_path / "d", [~disc(seed) for seed in range(4)])
    ((level, sentence),) = findings(root, "inverted masks")
    assert level == "warning"
    assert "4 masks" in sentence
    opened = open_dataset(root)
    assert opened.labels is not None
    assert opened.labels.values == ((255,),), "nothing is changed"
    for lines, share in (
        ("classes = { foreground = 0 }\nbackground = [255]\n", disc(0).mean()),
        ("classes = { foreground = 255 }\n", 1 - disc(0).mean()),
    ):
        assert all(line in sentence for line in lines.splitlines())
        (root / "scantling.toml").write_text(lines)
        assert not findings(root, "inverted masks"), "it is settled"
        report = check(open_dataset(root))
        assert not report.of("error")
        assert report.summary.classes["foreground"] == pytest.approx(share, rel=0.1)


def test_objects_on_a_background_and_those_that_fill_the_image_are_not_inverted(tmp_path: Path) -> None:
    assert not findings(dataset(tmp_path / "a", [disc(seed) for seed in range(4)]), "inverted masks")
    filling = [np.indices((64, 64))[0] > 9 for _ in range(4)]  # the background touches the border
    root = dataset(tmp_path / "b", filling)
    assert not findings(root, "inverted masks")
    ((level, sentence),) = findings(root, "background")
    assert (level, "minority in 4 of 4 masks" in sentence) == ("note", True)


def test_one_inverted_mask_among_many_is_a_note(tmp_path: Path) -> None:
    root = dataset(tmp_path / "d", [disc(0), disc(1), disc(2), ~disc(3)])
    assert not findings(root, "inverted masks")
    assert "1 of 4 masks (c3)" in findings(root, "background")[0][1]


def test_mixed_number_types_and_mixed_colours_are_one_line_each(tmp_path: Path) -> None:
    root = dataset(tmp_path / "d", [disc(seed) for seed in range(4)])
    assert not findings(root, "number types")
    Image.fromarray(np.random.default_rng(8).integers(0, 60000, (64, 64)).astype(np.uint16)).save(
        root / "images/c1.png"
    )
    colour = np.random.default_rng(9).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(colour).save(root / "images/c2.png")
    ((level, sentence),) = findings(root, "number types")
    assert level == "note"
    assert "3 uint8, 1 uint16" in sentence
    ((_, sentence),) = findings(root, "channels")
    assert "1 colour" in sentence
