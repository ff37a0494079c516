"""Masks in colour and in alpha channels mean what their makers meant, and what was understood is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter
from scipy.ndimage import binary_erosion, label

from scantling.core.case import COLOURED, Address, Labels
from scantling.core.errors import DataError, FileError
from scantling.data.colour_tables import colour_of, named_values
from scantling.data.dataset import Dataset, open_dataset
from scantling.data.files import read_labels
from scantling.data.integrity import check
from scantling.data.label_source import find_labels
from scantling.data.loading import load
from scantling.data.mask_colours import colour_name, colour_value

PALETTE = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
RED, GREEN, BLUE = (colour_value(*row) for row in PALETTE[1:].tolist())
Writer = Callable[[np.ndarray, Path], None]


def classes_of(seed: int, side: int = 96) -> np.ndarray:
    """Discs of the classes 1 to 3."""
    generator = np.random.default_rng(seed)
    mask, grid = np.zeros((side, side), np.uint8), np.indices((side, side))
    for number in range(6):
        y, x, radius = *generator.uniform(15, side - 15, 2), generator.uniform(8, 13)
        mask[(grid[0] - y) ** 2 + (grid[1] - x) ** 2 < radius**2] = 1 + number % 3
    return mask


def dataset(root: Path, writer: Writer, *, suffix: str = ".png", number: int = 6) -> Dataset:
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True, exist_ok=True)
    for seed in range(number):
        noise = np.random.default_rng(seed).integers(0, 90, (96, 96), dtype=np.uint8)
        Image.fromarray(noise + 60 * (classes_of(seed) > 0).astype(np.uint8)).save(root / f"images/c{seed}.png")
        writer(classes_of(seed), root / f"masks/c{seed}{suffix}")
    return open_dataset(root)


def agreement(opened: Dataset, order: tuple[str, ...] = ()) -> float:
    """The share of pixels that are read as they were drawn: their class, or with one class the foreground."""
    found = []
    for case in opened.cases:
        read = load(case, labels=opened.labels, reads=("mask",)).masks[0][0]
        drawn = classes_of(int(case.id[1:]))
        assert opened.labels is not None
        names = ("", *opened.labels.names)
        numbers = [0, *(names.index(name) for name in order)] if order else [0, 1, 1, 1]
        found.append((read == np.array(numbers)[drawn]).mean())
    return float(np.mean(found))


def coloured(mask: np.ndarray, path: Path) -> None:
    Image.fromarray(PALETTE[mask]).save(path)


def on_white(mask: np.ndarray, path: Path) -> None:
    Image.fromarray(np.where(mask[..., None] > 0, PALETTE[mask], np.uint8(255))).save(path)


def smooth(mask: np.ndarray, path: Path) -> None:
    small = Image.fromarray(PALETTE[mask]).resize((48, 48), Image.Resampling.BILINEAR)
    small.resize((96, 96), Image.Resampling.BILINEAR).save(path)


def palette(mask: np.ndarray, path: Path) -> None:
    image = Image.fromarray(mask)
    image.putpalette(PALETTE.ravel().tolist())
    image.save(path)


def plain(mask: np.ndarray, path: Path) -> None:
    Image.fromarray(mask).save(path)


@pytest.mark.parametrize(("writer", "background"), [(coloured, 0), (on_white, 255)])
def test_each_colour_is_a_class_called_by_its_name(tmp_path: Path, writer: Writer, background: int) -> None:
    opened = dataset(tmp_path, writer)
    names, values = ("blue", "green", "red"), ((BLUE,), (GREEN,), (RED,))
    assert opened.labels == Labels(names=names, values=values, background=(background,))
    assert agreement(opened, ("red", "green", "blue")) == 1
    (remark,) = opened.label_source.remarks
    assert '"red" = "#ff0000"' in remark
    assert f"background = [{background}]" in remark
    assert any("red (#ff0000)" in finding.sentence for finding in check(opened).of("warning"))


@pytest.mark.parametrize(("writer", "suffix"), [(smooth, ".png"), (coloured, ".jpg"), (on_white, ".jpg")])
def test_damaged_colours_are_the_nearest_and_the_share_is_said(tmp_path: Path, writer: Writer, suffix: str) -> None:
    opened = dataset(tmp_path, writer, suffix=suffix)
    assert opened.labels is not None
    assert opened.labels.others == "nearest"
    assert {*opened.labels.names} == {"red", "green", "blue"}
    assert agreement(opened, ("red", "green", "blue")) > 0.99
    assert "% of the pixels lie between" in opened.label_source.remarks[0]
    assert not check(opened).of("error")


def test_the_sentence_of_damaged_colours_is_a_manifest_that_reads_them_the_same(tmp_path: Path) -> None:
    opened = dataset(tmp_path, smooth)
    assert opened.labels is not None
    lines = opened.label_source.remarks[0].split("this is: ")[1]
    for key in ("background", "others"):
        lines = lines.replace(f", {key} =", f"\n{key} =")
    (tmp_path / "scantling.toml").write_text(lines)
    again = open_dataset(tmp_path)
    assert again.labels == opened.labels
    assert again.label_source.remarks == ()
    assert [case.id for case in again.cases] == [case.id for case in opened.cases]


def test_palettes_that_differ_from_file_to_file_are_read_as_their_colours(tmp_path: Path) -> None:
    def shuffled(mask: np.ndarray, path: Path) -> None:
        order = np.random.default_rng(int(path.stem[1:])).permutation(4)
        image = Image.fromarray(np.argsort(order).astype(np.uint8)[mask])
        image.putpalette(PALETTE[order].ravel().tolist())
        image.save(path)

    opened = dataset(tmp_path, shuffled)
    assert opened.labels is not None
    assert {*opened.labels.names} == {"red", "green", "blue"}
    assert agreement(opened, ("red", "green", "blue")) == 1
    assert not check(opened).of("error")


def test_photographs_and_smooth_pictures_are_no_masks(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    ramp = np.stack([*np.meshgrid(np.arange(96) * 2, np.arange(96) * 2), np.full((96, 96), 9)], axis=-1)
    for name, array in (("noise", generator.integers(0, 256, (96, 96, 3))), ("ramp", ramp)):
        Image.fromarray(array.astype(np.uint8)).save(tmp_path / f"{name}.png")
        with pytest.raises(DataError, match="different colours; expected a few"):
            find_labels([Address(tmp_path / f"{name}.png")])


def test_objects_that_have_a_colour_each_are_instances(tmp_path: Path) -> None:
    for seed in range(3):
        colours = np.random.default_rng(seed).integers(1, 256, (101, 3), dtype=np.uint8)
        colours[0] = 0
        grid = np.indices((100, 100))
        mask = np.where((grid % 10 < 8).all(axis=0), 1 + grid[0] // 10 * 10 + grid[1] // 10, 0)
        Image.fromarray(colours[mask]).save(tmp_path / f"{seed}.png")
    found = find_labels([Address(path) for path in sorted(tmp_path.iterdir())])
    assert found.labels == Labels(names=("object",), values=((255,),), others="object")


def picture(mask: np.ndarray, colours: np.ndarray, *, alpha: int = 255) -> Image.Image:
    """A picture of `colours` that is transparent where nothing is drawn."""
    layers = np.broadcast_to(np.asarray(colours, np.uint8), (*mask.shape, np.shape(colours)[-1]))
    return Image.fromarray(np.dstack([layers, np.uint8(alpha) * (mask > 0).astype(np.uint8)]))


ALPHA: dict[str, tuple[Writer, int]] = {
    "black": (lambda mask, path: picture(mask, [0, 0, 0]).save(path), 255),
    "white": (lambda mask, path: picture(mask, [255, 255, 255]).save(path), 255),
    "half": (lambda mask, path: picture(mask, [0, 0, 0], alpha=127).save(path), 127),
    "red": (lambda mask, path: picture(mask, [255, 0, 0], alpha=90).save(path), RED),
    "image": (
        lambda mask, path: picture(mask, np.random.default_rng(1).integers(0, 256, (96, 96, 3))).save(path),
        255,
    ),
    "grey": (lambda mask, path: picture(mask, [0]).save(path), 255),
}


@pytest.mark.parametrize("kind", ALPHA)
def test_a_mask_may_lie_in_the_alpha_channel(tmp_path: Path, kind: str) -> None:
    writer, value = ALPHA[kind]
    opened = dataset(tmp_path, writer)
    assert opened.labels == Labels(names=("foreground",), values=((value,),))
    assert agreement(opened) == 1
    assert ("alpha" in " ".join(opened.label_source.remarks)) == (value != RED)


def test_an_opaque_alpha_channel_says_nothing(tmp_path: Path) -> None:
    mask = classes_of(0)
    Image.fromarray(np.dstack([mask] * 3 + [np.full_like(mask, 255)])).save(tmp_path / "a.png")
    assert (read_labels(tmp_path / "a.png")[0] == mask).all()


TABLES = {
    "classes.json": json.dumps({"nothing": [0, 0, 0], "vessel": "#ff0000", "nerve": [0, 255, 0], "bone": "blue"}),
    "colormap.json": json.dumps(
        [
            {"name": "vessel", "color": "#f00"},
            {"name": "nerve", "color": [0, 255, 0]},
            {"label": "bone", "rgb": [0, 0, 255]},
        ]
    ),
    "labelmap.txt": "# label:color_rgb:parts:actions\nbackground:0,0,0::\nvessel:255,0,0::\nnerve:0,255,0::\n"
    "bone:0,0,255::\n",
    "class_dict.csv": "name,r,g,b\nvessel,255,0,0\nnerve,0,255,0\nbone,0,0,255\n",
    "label_colors.txt": "255 0 0 vessel\n0 255 0 nerve\n0 0 255 bone\n",
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("writer", [coloured, palette, smooth], ids=["colour", "palette", "smooth"])
def test_a_table_beside_the_masks_names_the_classes(tmp_path: Path, name: str, writer: Writer) -> None:
    tmp_path.joinpath(name).write_text(TABLES[name])
    opened = dataset(tmp_path, writer)
    assert opened.labels is not None
    assert {*opened.labels.names} - {"nothing"} == {"vessel", "nerve", "bone"}
    assert agreement(opened, ("vessel", "nerve", "bone")) >= (0.99 if writer is smooth else 1)
    assert name in opened.label_source.remarks[0]
    assert all(name not in remark.sentence for remark in opened.remarks)


def test_a_table_names_plain_values_too_and_one_that_does_not_fit_is_left_aside(tmp_path: Path) -> None:
    tmp_path.joinpath("classes.json").write_text('{"0": "background", "1": "vessel", "2": "nerve", "3": "bone"}')
    opened = dataset(tmp_path, plain)
    assert opened.labels == Labels(names=("vessel", "nerve", "bone"), values=((1,), (2,), (3,)))
    tmp_path.joinpath("classes.json").write_text('{"cat": "#102030", "dog": "#405060"}')
    opened = open_dataset(tmp_path)
    assert opened.labels is not None
    assert opened.labels.names == ("class-1", "class-2", "class-3")


@pytest.mark.parametrize("text", ["", "[", "[1, 2]", '{"a": {}}', "[" * 4000, '{"a": [1, 2]}', '{"a": 1e400}', "null"])
def test_what_is_no_table_is_passed_over(tmp_path: Path, text: str) -> None:
    (tmp_path / "classes.json").write_text(text)
    (tmp_path / "labelmap.txt").write_bytes(b"\xff\xfe\x00")
    assert named_values([tmp_path]) is None


CLASSES = {
    '{ vessel = "#ff0000", nerve = [0, 255, 0], bone = "blue" }': (RED, GREEN, BLUE),
    "{ vessel = [255, 0, 0], nerve = [0, 255, 0], bone = [0, 0, 255] }": (RED, GREEN, BLUE),
    '{ vessel = [[255, 0, 0]], nerve = "#0f0", bone = ["#00f"] }': (RED, GREEN, BLUE),
}


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("writer", [coloured, palette], ids=["colour", "palette"])
def test_a_manifest_declares_the_colour_of_each_class(tmp_path: Path, classes: str, writer: Writer) -> None:
    (tmp_path / "scantling.toml").write_text(f"classes = {classes}\n")
    opened = dataset(tmp_path, writer)
    assert opened.labels == Labels(
        names=("vessel", "nerve", "bone"), values=tuple((value,) for value in CLASSES[classes])
    )
    assert agreement(opened, ("vessel", "nerve", "bone")) == 1


def test_lists_of_values_stay_values_and_no_colour_is_an_error(tmp_path: Path) -> None:
    manifest = tmp_path / "scantling.toml"
    manifest.write_text("classes = { whole = [1, 2, 3], core = [1, 3], edge = 2 }\n")
    opened = dataset(tmp_path, plain)
    assert opened.labels is not None
    assert opened.labels.values == ((1, 2, 3), (1, 3), (2,))
    manifest.write_text('classes = { vessel = "rde" }\n')
    with pytest.raises(FileError, match=r"'classes' cannot be .*#ff0000"):
        open_dataset(tmp_path)


def test_a_colour_that_nobody_declared_is_named(tmp_path: Path) -> None:
    (tmp_path / "scantling.toml").write_text('classes = { vessel = "#ff0000", nerve = "#00ff00" }\n')
    errors = check(dataset(tmp_path, coloured)).of("error")
    assert all("#0000ff, which is unknown; expected 0, #00ff00, #ff0000" in error.sentence for error in errors)
    (tmp_path / "scantling.toml").write_text(
        'classes = { vessel = "#ff0000", nerve = "#00ff00" }\nignore = "#0000ff"\n'
    )
    assert not check(open_dataset(tmp_path)).of("error")


def test_colours_have_numbers_and_names() -> None:
    assert [colour_of(text) for text in ("#ff0000", "red", "255, 0, 0", [255, 0, 0])] == [COLOURED + 0xFF0000] * 4
    assert [colour_of(text) for text in ("#808080", "rde", [1, 2], [0, 0, 256], None)] == [128, None, None, None, None]
    assert [colour_name(value) for value in (0, 255, RED, colour_value(250, 3, 9))] == ["black", "white", "red", "red"]
    assert colour_name(colour_value(18, 171, 52)) == "#12ab34"


def blurred(mask: np.ndarray, path: Path) -> None:
    Image.fromarray(np.where(mask > 0, np.uint8(255), np.uint8(0))).filter(ImageFilter.GaussianBlur(0.6)).save(path)


def test_a_table_of_values_names_the_classes_of_blurred_masks_and_their_greys_are_no_classes(tmp_path: Path) -> None:
    (tmp_path / "classes.json").write_text('{"background": 0, "lesion": 255}')
    opened = dataset(tmp_path, blurred)
    assert opened.labels == Labels(names=("lesion",), values=((255,),), others="nearest")
    assert agreement(opened) > 0.99
    assert "lie between these" in opened.label_source.remarks[0]


def test_a_table_of_one_class_leaves_instance_maps_what_they_are(tmp_path: Path) -> None:
    def numbered(mask: np.ndarray, path: Path) -> None:
        Image.fromarray(label(binary_erosion(mask, iterations=4))[0].astype(np.uint8)).save(path)

    (tmp_path / "classes.json").write_text('{"background": 0, "cell": 1}')
    opened = dataset(tmp_path, numbered, number=12)
    assert opened.labels is not None
    assert (opened.labels.names, opened.labels.others) == (("object",), "object")
