"""Each kind of damage is planted in a sound folder, and `check` must name it and nothing else."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from scantling.core.case import Address, Case, Geometry, Labels, Origin
from scantling.data.contact_sheet import contact_sheet
from scantling.data.dataset import Dataset, open_dataset
from scantling.data.duplicates import NEAR, Looks, looks, near_pairs
from scantling.data.integrity import CheckReport, check
from scantling.data.label_source import LabelSource
from scantling.data.pictures import CLASS_COLOURS
from scantling.data.splits import assign

SHAPE = (96, 80)


def texture(seed: int, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """A grey image with structure at several scales, 0 to 255."""
    generator = np.random.default_rng(seed)
    values = sum(
        weight * gaussian_filter(generator.normal(size=shape), scale) * scale for scale, weight in ((2, 1), (6, 1.5))
    )
    values = np.asarray(values)
    return (255 * (values - values.min()) / np.ptp(values)).astype(np.uint8)


def save(path: Path, array: np.ndarray, **options: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def mask(value: int = 255, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    array = np.zeros(shape, np.uint8)
    array[20:40, 30:60] = value
    return array


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """A folder with nothing wrong: four training and two test images."""
    root = tmp_path / "sound"
    for number, (split, id) in enumerate([("train", id) for id in "abcd"] + [("test", id) for id in "xy"]):
        save(root / split / "images" / f"{id}.png", texture(number))
        save(root / split / "masks" / f"{id}.png", mask())
        save(root / split / "fov" / f"{id}.png", np.pad(np.full((SHAPE[0] - 2, SHAPE[1] - 2), 255, np.uint8), 1))
    return root


def checked(root: Path) -> CheckReport:
    return check(open_dataset(root))


def kinds(report: CheckReport) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(finding.level, finding.kind, finding.cases) for finding in report.findings]


def test_a_sound_folder_has_no_findings(sound: Path) -> None:
    report = checked(sound)
    assert report.findings == ()
    assert "nothing is wrong" in report.text()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-60])


PLANTED: dict[str, tuple[Callable[[Path], object], list[tuple[str, str, tuple[str, ...]]], str]] = {
    "truncated image": (lambda root: truncate(root / "train/images/a.png"), [("error", "unreadable", ("a",))], "a.png"),
    "text as mask": (
        lambda root: (root / "train/masks/b.png").write_text("no image"),
        [("error", "unreadable", ("b",))],
        "b.png",
    ),
    "mask of another size": (
        lambda root: save(root / "train/masks/c.png", mask(shape=(80, 96))),
        [("error", "geometry", ("c",))],
        "found 80 x 96 pixels, expected 96 x 80",
    ),
    "unknown value": (
        lambda root: save(root / "test/masks/x.png", mask(7)),
        [("error", "label values", ("x",))],
        "the value 7, which is unknown; expected 0, 255",
    ),
    "constant image": (
        lambda root: save(root / "train/images/d.png", np.full(SHAPE, 9, np.uint8)),
        [("warning", "constant image", ("d",))],
        "1 case (d) with an image of one value only",
    ),
    "empty masks": (
        lambda root: [save(root / f"train/masks/{id}.png", mask(0)) for id in "ab"],
        [("warning", "empty mask", ("a", "b"))],
        "2 cases (a, b) with a mask in which no pixel has a class",
    ),
    "empty region": (
        lambda root: save(root / "train/fov/a.png", mask(0)),
        [("warning", "empty region", ("a",))],
        "empty region",
    ),
    "the same image twice in one split": (
        lambda root: save(root / "train/images/b.png", texture(0)),
        [("warning", "duplicate", ("a", "b"))],
        "pixel by pixel; keep one",
    ),
    "the same image in two splits": (
        lambda root: save(root / "test/images/x.png", np.repeat(texture(0)[..., None], 3, axis=2)),
        [("error", "duplicate", ("x", "a")), ("note", "channels", ())],
        "in train and test; keep the image in one split",
    ),
    "an image saved again in the other split": (
        lambda root: save(root / "test/images/y.png", (texture(1) * 0.8 + 20).astype(np.uint8)),
        [("warning", "near duplicate", ("y", "b"))],
        "in train and test (",
    ),
    "missing mask": (
        lambda root: (root / "train/masks/a.png").unlink(),
        [("note", "unlabelled", ("a",))],
        "1 of 6 images have no mask (a)",
    ),
    "mask without image": (
        lambda root: save(root / "train/masks/z.png", mask()),
        [("warning", "without image", ())],
        "train/masks/z.png is without an image of the same stem and was left out",
    ),
    "stranger among the images": (
        lambda root: (root / "train/images/notes.txt").write_text("x"),
        [("note", "unused files", ())],
        "train/images/notes.txt is no image and was left out",
    ),
    "documentation": (lambda root: (root / "SOURCE.md").write_text("x"), [], "nothing is wrong"),
    "an image of another size": (
        lambda root: [
            save(root / f"train/{role}/a.png", array)
            for role, array in (
                ("images", texture(9, (60, 50))),
                ("masks", mask(shape=(60, 50))),
                ("fov", mask(shape=(60, 50))),
            )
        ],
        [("note", "sizes", ())],
        "from 60 x 50 to 96 x 80 pixels",
    ),
    "instances that are not the mask": (
        lambda root: save(root / "train/instances/a.png", mask()[::-1].copy() // 255),
        [("warning", "instances", ("a",))],
        "case a: ",
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_planted_is_found_and_nothing_else(sound: Path, name: str) -> None:
    plant, expected, told = PLANTED[name]
    plant(sound)
    report = checked(sound)
    assert kinds(report) == expected
    assert told in report.text()
    json.dumps(report.facts(), allow_nan=False)


def test_not_finite_values_are_counted(tmp_path: Path) -> None:
    array = texture(0).astype(np.float32)
    array[3, 4] = np.nan
    np.save(tmp_path / "a.npy", array)
    np.save(tmp_path / "b.npy", texture(1).astype(np.float32))
    found = checked(tmp_path).of("error")
    assert [(finding.kind, finding.cases) for finding in found] == [("not finite", ("a",))]
    assert "1 of 7680 values are NaN or infinite" in found[0].sentence


def test_an_affine_that_disagrees_is_an_error(tmp_path: Path) -> None:
    for id, shift in (("a", 0.0), ("b", 3.0)):
        for role, there, array in (
            ("images", 0.0, np.random.default_rng(ord(id)).normal(size=(8, 9, 7))),
            ("masks", shift, np.ones((8, 9, 7))),
        ):
            affine = np.eye(4)
            affine[1, 3] = there
            (tmp_path / role).mkdir(exist_ok=True)
            nib.save(nib.Nifti1Image(array.astype(np.float32), affine), tmp_path / role / f"{id}.nii.gz")
    found = checked(tmp_path).of("error")
    assert [(finding.kind, finding.cases) for finding in found] == [("geometry", ("b",))]
    assert "up to 3 mm away" in found[0].sentence


def test_a_value_in_one_mask_of_many_is_doubted(tmp_path: Path) -> None:
    for number in range(20):
        save(tmp_path / "train" / "images" / f"{number:02}.png", texture(number, (40, 40)))
        array = np.zeros((40, 40), np.uint8)
        array[:5], array[5:9] = 1, 2
        if number == 7:
            array[20, 20] = 3
        save(tmp_path / "train" / "masks" / f"{number:02}.png", array)
    report = checked(tmp_path)
    assert [(finding.kind, finding.cases) for finding in report.of("warning")] == [("classes", ("07",))]
    assert "the value 3 was taken for a class and occurs in 1 of 20" in report.text()
    assert report.summary.classes["class-2"] == pytest.approx(4 / 40)


def synthetic_dataset(root: Path, cases: list[Case]) -> Dataset:
    images = {case.id: Address(save(root / f"{case.id}.png", texture(number))) for number, case in enumerate(cases)}
    return Dataset("d", root, assign([replace(case, images={"image": images[case.id]}) for case in cases]))


def test_subjects_links_and_origins_across_splits_are_errors(tmp_path: Path) -> None:
    made = Origin(kind="synthetic", model="m", seed=0, parents=("a1", "c"))
    cases = [
        Case(id="a1", subject="a", split="train"),
        Case(id="a2", subject="a", split="test"),
        Case(id="b", subject="b", split="train", links={"background": "a2", "after": "gone"}),
        Case(id="c", subject="c", split="validation"),
        Case(id="s", subject="s", split="train", origin=made),
        Case(id="o", subject="o", split="train", origin=Origin(kind="synthetic", parents=("elsewhere",))),
    ]
    report = check(synthetic_dataset(tmp_path, cases))
    assert kinds(report) == [
        ("error", "subject", ("a1", "a2")),
        ("error", "link", ("b", "a2")),
        ("error", "link", ("b",)),
        ("error", "parents", ("s", "a1", "c")),
        ("warning", "parents", ("s",)),
        ("note", "parents", ("o",)),
    ]


def test_a_synthetic_case_among_test_cases_is_moved_to_its_parents_and_told(tmp_path: Path) -> None:
    for number, id in enumerate("ab"):
        save(tmp_path / f"{id}.png", texture(number))
    origin = {"kind": "synthetic", "model": "m", "parents": ["a"]}
    cases = [
        {"id": "a", "images": "a.png", "split": "test"},
        {"id": "b", "images": "b.png", "split": "train", "origin": origin},
    ]
    (tmp_path / "scantling.json").write_text(json.dumps({"case": cases}))
    dataset = open_dataset(tmp_path)
    assert dataset.cases[1].split == "test"
    assert ("error", "parents", ("b",)) in kinds(check(dataset))


def test_check_writes_nothing_into_the_folder(sound: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in sorted(sound.rglob("*"))}
    checked(sound)
    assert {path: path.stat().st_mtime_ns for path in sorted(sound.rglob("*"))} == before


def test_a_jpeg_mask_stops_the_labels_and_not_the_check(sound: Path) -> None:
    (sound / "train/masks/a.png").unlink()
    save(sound / "train/masks/a.jpg", texture(1))
    truncate(sound / "train/images/b.png")
    report = checked(sound)
    assert [(level, kind) for level, kind, _ in kinds(report)] == [("error", "labels"), ("error", "unreadable")]


# Copies


def seen(array: np.ndarray) -> Looks:
    planes = np.moveaxis(array, -1, 0) if array.ndim == 3 else array[None]
    found = looks(planes, Geometry(planes.shape[1:], (1.0, 1.0)))
    assert found is not None
    return found


def jpeg(array: np.ndarray, quality: int) -> np.ndarray:
    held = io.BytesIO()
    Image.fromarray(array).save(held, "JPEG", quality=quality)
    return np.asarray(Image.open(held))


def resized(array: np.ndarray, factor: float) -> np.ndarray:
    size = (round(array.shape[1] * factor), round(array.shape[0] * factor))
    return np.asarray(Image.fromarray(array).resize(size, Image.Resampling.LANCZOS))


COPIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "saved as JPEG": lambda array: jpeg(array, 60),
    "brightened": lambda array: np.clip(array * 1.1 + 10.0, 0, 255).astype(np.uint8),
    "gamma": lambda array: (255 * (array / 255.0) ** 0.8).astype(np.uint8),
    "reduced": lambda array: resized(array, 0.5),
    "enlarged": lambda array: resized(array, 1.3),
    "reduced and saved as JPEG": lambda array: jpeg(resized(array, 0.7), 80),
}


@pytest.mark.parametrize("name", COPIES)
def test_copies_are_found_and_different_images_are_not(name: str) -> None:
    originals = [texture(seed, (300, 280)) for seed in range(10)]
    found = [seen(array) for array in originals] + [seen(COPIES[name](array)) for array in originals]
    assert {(first, second) for first, second, *_ in near_pairs(found)} == {
        (number, number + 10) for number in range(10)
    }


def test_equal_pixels_are_equal_whatever_their_type() -> None:
    array = texture(0)
    assert seen(array).pixels == seen(np.repeat(array[..., None], 3, axis=2)).pixels
    assert seen(array).pixels == seen(array.astype(np.uint16)).pixels
    assert seen(array).pixels != seen(array.T.copy()).pixels
    assert not list(near_pairs([seen(array), seen(array)]))  # equal, so not near


def test_pairs_are_found_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    originals = [texture(seed) for seed in range(6)]
    found = [seen(array) for array in originals] + [seen((array * 0.9).astype(np.uint8)) for array in originals]
    whole = sorted(near_pairs(found))
    monkeypatch.setattr("scantling.data.duplicates._BLOCK", 4)
    assert sorted(near_pairs(found)) == whole
    assert all(apart <= NEAR for *_, apart, _ in whole)
    assert len(whole) == 6


def test_frames_of_one_subject_and_linked_cases_may_look_alike(tmp_path: Path) -> None:
    cases = [Case(id=id, subject=subject, split="train", links=links) for id, subject, links in (
        ("a", "p", {}), ("b", "p", {}), ("c", "q", {"before": "d"}), ("d", "r", {}),
    )]  # fmt: skip
    images = [texture(0), (texture(0) * 0.9).astype(np.uint8), texture(1), (texture(1) * 0.9).astype(np.uint8)]
    held = [
        replace(case, images={"image": Address(save(tmp_path / f"{case.id}.png", image))})
        for case, image in zip(cases, images, strict=True)
    ]
    assert check(Dataset("d", tmp_path, tuple(held))).findings == ()
    strangers = tuple(replace(case, subject=case.id, links={}) for case in held)
    assert [finding.kind for finding in check(Dataset("d", tmp_path, strangers)).findings] == ["near duplicate"] * 2


# The contact sheet

OUTLINE = tuple(bytes.fromhex(CLASS_COLOURS[0][1:]))


def test_the_contact_sheet_shows_every_case_and_its_outline(sound: Path, tmp_path: Path) -> None:
    truncate(sound / "test/images/y.png")
    out = contact_sheet(open_dataset(sound), tmp_path / "sheet.png")
    with Image.open(out) as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    outline = (pixels == OUTLINE).all(axis=-1)
    columns = np.flatnonzero(np.diff(np.flatnonzero(outline.any(axis=0))) > 1).size + 1
    assert outline.any()
    assert columns >= 4  # left and right edges of the outlines of the training images
    # the outline of a 20 x 30 rectangle, enlarged to a tile of 176 pixels, five times; corners and rounding aside
    assert outline.sum() == pytest.approx(5 * 2 * (20 + 30) * 176 / 96, rel=0.05)


def test_the_contact_sheet_thins_out_large_datasets_and_shows_volumes_and_bare_masks(tmp_path: Path) -> None:
    array = np.zeros((6, 7, 5), np.float32)
    array[2, 3, 2] = 1
    nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "v.nii.gz")
    scan = {"image": Address(tmp_path / "v.nii.gz")}
    cases = [Case(id=f"{number:03}", subject=f"{number:03}", images=scan, split="train") for number in range(50)]
    cases.append(Case(id="m", subject="m", masks=(Address(save(tmp_path / "m.png", mask())),), split="test"))
    dataset = Dataset("d", tmp_path, tuple(cases), LabelSource(Labels(names=("v",), values=((255,),))))
    sheets = []
    for most in (16, 64):
        with Image.open(contact_sheet(dataset, tmp_path / "sheet.png", most=most)) as sheet:
            sheets.append(np.asarray(sheet.convert("RGB")))
    assert len(sheets[0]) < len(sheets[1])
    assert all((sheet == OUTLINE).all(axis=-1).any() for sheet in sheets)


# Real data


FINDINGS = {
    "arcade-stenosis": ["channels"],
    "drive": [],
    "glas": ["background", "sizes"],
    "stare": ["split"],
    "msd-hippocampus": ["sizes", "number types"],
}
"""What is known of the sample data: colour and grey files, different sizes, and no two images alike."""


@pytest.mark.parametrize("name", FINDINGS)
def test_real_folders_give_no_false_alarm(name: str, shared_data: Path) -> None:
    report = checked(shared_data / name)
    assert [finding.kind for finding in report.findings] == FINDINGS[name]
    assert {finding.level for finding in report.findings} <= {"note"}


def test_copies_of_real_images_are_found_among_images_that_look_alike(shared_data: Path) -> None:
    paths = sorted((shared_data / "drive").glob("*/images/*.png"))
    arrays = [np.asarray(Image.open(path)) for path in paths]
    found = [seen(array) for array in arrays]
    found += [seen(copy(array)) for array, copy in zip(arrays, [*COPIES.values()] * 7, strict=False)]
    assert {(first, second) for first, second, *_ in near_pairs(found)} == {
        (number, number + 40) for number in range(40)
    }
