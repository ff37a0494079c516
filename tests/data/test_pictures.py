"""A slice is shown the same way however its file stores it: which one, which way up, with which letters."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from scantling.core.case import Address, Case, Geometry, Labels
from scantling.core.samples import Preprocessing, Traits
from scantling.data import files
from scantling.data.contact_sheet import contact_sheet
from scantling.data.dataset import Dataset
from scantling.data.label_source import LabelSource
from scantling.data.pictures import CLASS_COLOURS, Marks, View, grey
from scantling.training.pictures import draw

ALL = [
    np.array(list(zip(order, signs, strict=True)))
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]
"""The 48 ways to store a volume."""


def bright_corner(spacing: tuple[float, float, float], *, tilt: float = 0.0) -> nib.Nifti1Image:
    """A volume of 8 x 10 x 6 voxels, right, front and head first, whose corner there is the brightest."""
    values = np.zeros((8, 10, 6), np.int16)
    values += np.arange(8, dtype=np.int16)[:, None, None] + 20 * np.arange(10, dtype=np.int16)[None, :, None]
    values += 300 * np.arange(6, dtype=np.int16)
    values[7, 9, 3] = 5000
    affine = np.diag([*spacing, 1.0])
    turn = np.array([[np.cos(tilt), -np.sin(tilt), 0], [np.sin(tilt), np.cos(tilt), 0], [0, 0, 1]])
    affine[:3, :3] = turn @ affine[:3, :3]
    return nib.Nifti1Image(values, affine)


def stored(image: nib.Nifti1Image, way: np.ndarray, path: Path) -> Path:
    """The same volume with its axes in another order and direction."""
    nib.save(image.as_reoriented(way), path)
    return path


@pytest.mark.parametrize("tilt", [0.0, 0.5])
@pytest.mark.parametrize(
    ("spacing", "plane", "marks"),
    [
        ((1.0, 1.2, 1.0), "Axial", Marks("R", "L", "A", "P")),
        ((0.8, 0.8, 5.0), "Axial", Marks("R", "L", "A", "P")),
        ((0.8, 5.0, 0.8), "Coronal", Marks("R", "L", "S", "I")),
        ((5.0, 0.8, 0.8), "Sagittal", Marks("A", "P", "S", "I")),
    ],
)
def test_a_volume_gives_the_same_picture_in_all_48_ways_to_store_it(
    spacing: tuple[float, float, float], plane: str, marks: Marks, tilt: float, tmp_path: Path
) -> None:
    seen = []
    for way in ALL:
        path = stored(bright_corner(spacing, tilt=tilt), way, tmp_path / "a.nii")
        picture = files.read(path)
        view = View.of(picture.geometry)
        seen.append((view(picture.array[0]), view.pixel, view.marks))
        assert view.note.startswith(f"{plane} slice ")
    first, pixel, letters = seen[0]
    assert letters == marks
    for other, other_pixel, other_letters in seen[1:]:
        np.testing.assert_array_equal(other, first)
        assert other_pixel == pytest.approx(pixel)
        assert other_letters == letters
    up, across = {"Axial": (1, 0), "Coronal": (2, 0), "Sagittal": (2, 1)}[plane]
    assert pixel == pytest.approx((spacing[up], spacing[across]))
    assert first[0, 0] == first.max(), "right, front and head are left or up: the corner there is upper left"


def test_the_slice_with_most_labels_is_shown_however_it_is_stored(tmp_path: Path) -> None:
    labels = np.zeros((8, 10, 6), np.uint8)
    labels[1:7, 1:9, 4] = 1
    labels[7, 9, 4] = 2
    labels[2:5, 2:5, 2] = 1
    for way in ALL:
        path = stored(nib.Nifti1Image(labels, np.eye(4)), way, tmp_path / "a.nii")
        array, geometry = files.read_labels(path)
        shown = View.of(geometry, array)(array)
        assert shown[0, 0] == 2
        assert (shown > 0).sum() == 6 * 8 + 1


def test_a_volume_that_does_not_say_how_it_lies_is_shown_as_stored_and_has_no_letters() -> None:
    array = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    view = View.of(Geometry((4, 5, 6), (3.0, 1.0, 2.0), container="volume"))
    np.testing.assert_array_equal(view(array), array[2])
    assert view.marks is None
    assert "patient" not in view.note
    flat = View.of(Geometry((5, 6), (1.0, 1.0)))
    np.testing.assert_array_equal(flat(array[0]), array[0])
    assert (flat.marks, flat.note) == (None, "")


def test_a_single_slice_that_says_how_it_lies_is_turned_too(tmp_path: Path) -> None:
    image = np.zeros((8, 10, 1), np.uint8)
    image[7, 9] = 255
    for signs in itertools.product((1, -1), repeat=2):
        way = np.array([[0, signs[0]], [1, signs[1]], [2, 1]])
        picture = files.read(stored(nib.Nifti1Image(image, np.eye(4)), way, tmp_path / "a.nii"))
        view = View.of(picture.geometry)
        assert view.marks == Marks("R", "L", "A", "P")
        assert view(picture.array[0])[0, 0] == 255


def test_contact_sheets_of_one_volume_in_all_48_ways_are_one_picture(tmp_path: Path) -> None:
    image = bright_corner((1.0, 1.0, 2.5))
    marked = np.zeros(image.shape, np.uint8)
    marked[3:, 4:8, 2:4] = 1
    mask = nib.Nifti1Image(marked, image.affine)
    sheets = []
    for way in ALL[::5]:
        case = Case(
            id="a", subject="a", split="train",
            images={"image": Address(stored(image, way, tmp_path / "i.nii"))},
            masks=(Address(stored(mask, way, tmp_path / "m.nii")),),
        )  # fmt: skip
        dataset = Dataset("d", tmp_path, (case,), LabelSource(Labels(names=("v",), values=((1,),))))
        with Image.open(contact_sheet(dataset, tmp_path / "sheet.png")) as sheet:
            sheets.append(np.asarray(sheet.convert("RGB")))
    assert all((sheet == sheets[0]).all() for sheet in sheets)
    assert (sheets[0] == tuple(bytes.fromhex(CLASS_COLOURS[0][1:]))).all(axis=-1).any()


def test_thumbnails_have_the_proportions_of_the_body() -> None:
    geometry = Geometry((20, 20, 20), (1.0, 1.0, 3.0), affine=np.diag([1.0, 3.0, 1.0, 1.0])[:, [0, 2, 1, 3]])
    view = View.of(geometry)
    assert view.index is not None
    assert view.index[0] == 2, "its slices are three times as thick as its pixels are wide"
    across = View.of(Geometry((20, 10), (1.0, 2.0)))
    assert across.size(np.zeros((20, 10)), 176) == (176, 176)
    assert across.size(np.zeros((20, 5)), 176) == (88, 176)


def test_untrusted_files_of_a_contact_sheet_are_decoded_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(np.full((8, 8), 9, np.uint8)).save(tmp_path / "a.png")
    case = Case(id="a", subject="a", split="train", images={"image": Address(tmp_path / "a.png")})
    asked = []

    def watched(case: Case, **options: object) -> object:
        asked.append((options["untrusted"], options["limits"]))
        return load_apart(case, **options)  # type: ignore[arg-type]

    from scantling.data import contact_sheet as module

    load_apart = module.load_apart
    monkeypatch.setattr(module, "load_apart", watched)
    limits = files.Limits()
    module.contact_sheet(Dataset("d", tmp_path, (case,)), tmp_path / "s.png", limits=limits, untrusted=True)
    assert asked == [(True, limits)]


@pytest.mark.parametrize("dimensions", [2, 3])
def test_pictures_of_a_training_are_the_right_way_up(dimensions: int, tmp_path: Path) -> None:
    image = bright_corner((0.8, 1.2, 2.5))
    values = np.asarray(image.dataobj).copy()
    values[7, 9] = 5000
    image = nib.Nifti1Image(values, image.affine)
    drawn = []
    for signs in itertools.product((1, -1), repeat=3):
        way = np.array([[0, signs[0]], [1, signs[1]], [2, signs[2]]])
        case = Case(id="a", subject="a", images={"image": Address(stored(image, way, tmp_path / "a.nii"))})
        traits = Traits(
            dimensions=3, channels=("image",), spacing=(0.8, 1.2, 2.5), shape=(8, 10, 6), smallest=(8, 10, 6),
            slice_axis=2, intensity=(),
        )  # fmt: skip
        middle = (lambda batch: batch.image[0]) if dimensions == 2 else (lambda batch: batch.image[0, :, 4])
        method = SimpleNamespace(
            traits=traits, channels=traits.channels, partial=False, dtype=torch.float32,
            preprocessing=Preprocessing(dimensions=dimensions, normalise="none"),
            pictures=lambda batch, step, middle=middle: {"What it sees": (middle(batch) / 5000).expand(3, -1, -1)},
        )  # fmt: skip
        draw(method, [case], tmp_path / "run", device=torch.device("cpu"))  # type: ignore[arg-type]
        drawn.append(np.asarray(Image.open(tmp_path / "run" / "samples" / "01.png")).astype(int))
        said = (tmp_path / "run" / "samples" / "captions.json").read_text()
        place = (
            (4 if signs[2] > 0 else 3) if dimensions == 2 else 5 if signs[0] > 0 else 4
        )  # the file counts from its end
        assert (
            f"Axial slice {place} of 6 (axis 3 of the file)" if dimensions == 2 else f"Sagittal slice {place} of 8"
        ) in said
    for picture in drawn:
        corners = [picture[r, c].mean() for r, c in ((4, 4), (4, -5), (-5, 4), (-5, -5))]
        height, width = picture.shape[:2]
        if dimensions == 2:
            assert np.argmax(corners) == 0, "right and front"
            assert width / height == pytest.approx(8 * 0.8 / (10 * 1.2), rel=0.01)
        else:
            assert width / height == pytest.approx(10 * 1.2 / (6 * 2.5), rel=0.01)
            left, right = picture[:, 4].mean(), picture[:, -5].mean()
            assert left > right, "the front is on the left"


@pytest.mark.parametrize("kind", [np.int16, np.uint16, np.float32, ">i2"])
def test_every_voxel_of_a_volume_becomes_the_grey_of_its_value(kind: str) -> None:
    volume = np.random.default_rng(0).integers(0, 2000, (3, 160, 150)).astype(kind)
    if volume.dtype.kind != "u":
        volume -= 900
    limits = (-50.5, 777.25)
    expected = np.clip((volume.astype(np.float64) - limits[0]) / (limits[1] - limits[0]), 0, 1) * 255
    np.testing.assert_array_equal(grey(volume, limits=limits), expected.round().astype(np.uint8))
    np.testing.assert_array_equal(grey(volume.T, limits=limits)[7], grey(volume, limits=limits)[:, :, 7].T)


def test_what_is_not_finite_is_black() -> None:
    plane = np.array([[np.nan, np.inf], [-np.inf, 5.0]])
    assert grey(plane, limits=(-3.0, 5.0)).tolist() == [[0, 0], [0, 255]]
    assert grey(np.stack([plane, plane]), limits=(-3.0, 5.0))[1].tolist() == [[0, 0], [0, 255]]
