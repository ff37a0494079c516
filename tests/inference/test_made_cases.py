"""What made cases are written as: number types, files of several channels, grids, scribbles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from scantling.contract.results import Generation, Objects
from scantling.core.case import IGNORE, Case, Geometry, Sample
from scantling.core.errors import FileError, RunError
from scantling.core.samples import Preprocessing, Storage, StoredImage, Traits
from scantling.data.dataset import open_dataset
from scantling.data.files import read
from scantling.data.loading import load
from scantling.data.moments import Moments, summed
from scantling.data.preprocessing import denormalise, preprocess
from scantling.inference import synthesize
from scantling.inference.conditions import Conditions, open_conditions
from scantling.inference.made_cases import files_of, geometry_of, stored, write_case
from scantling.methods.catalogue import added
from toys_generation import CARDS, Sower

COLOUR = ("red", "green", "blue")


@pytest.fixture(autouse=True)
def _toys() -> Iterator[None]:
    with added(*CARDS.values()):
        yield


def sower(**changes: object) -> Sower:
    """A generator whose traits are as given."""
    settings = Sower.Settings()
    return Sower(settings, Sower.blank(settings).model_copy(update=changes))


def facts() -> dict[str, object]:
    return {"split": "train", "origin": {"kind": "synthetic", "model": "sower", "seed": 0}}


def test_three_channels_of_one_colour_file_leave_as_one_and_others_by_themselves(tmp_path: Path) -> None:
    files = (
        StoredImage(name="photo", channels=tuple(f"photo {name}" for name in COLOUR), dtype="uint16"),
        StoredImage(name="depth", channels=("depth",), dtype="float32"),
    )
    channels = (*files[0].channels, "depth")
    intensity = Sower.blank(Sower.Settings()).intensity * 4
    method = sower(channels=channels, intensity=intensity, storage=Storage(files=files))
    assert files_of(method) == list(files)
    made = Generation(images=torch.rand(1, 4, 5, 6))
    entry = write_case(tmp_path, "a", made, method, facts=facts())
    photo, depth = (read(tmp_path / entry["images"][name]) for name in ("photo", "depth"))
    assert (photo.channels, photo.array.dtype, depth.array.dtype) == (COLOUR, np.uint16, np.float32)
    method.__class__ = type("Part", (Sower,), {"channels_out": ("photo green", "depth")})
    assert [(file.name, file.dtype) for file in files_of(method)] == [("photo green", "uint16"), ("depth", "float32")]


def test_the_spacing_of_pictures_stands_in_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    traits = sower(spacing=(0.5, 0.25)).traits
    monkeypatch.setattr(Sower, "blank", lambda settings: traits)
    synthesize("sower", count=1, out=tmp_path / "out")
    dataset = open_dataset(tmp_path / "out")
    sample = load(dataset.cases[0], labels=dataset.labels)
    assert sample.geometry.spacing == (0.5, 0.25)
    assert sample.points is not None
    assert len(sample.points) == 12


def test_pictures_keep_the_unit_of_the_training_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for unit, spacing in (("pixel", (1.0, 1.0)), ("mm", (1.0, 1.0)), ("mm", (0.5, 0.25))):
        traits = sower(spacing=spacing, unit=unit).traits
        monkeypatch.setattr(Sower, "blank", lambda settings, traits=traits: traits)
        out = tmp_path / f"{unit}-{spacing[0]}"
        synthesize("sower", count=1, out=out)
        dataset = open_dataset(out)
        geometry = load(dataset.cases[0], labels=dataset.labels).geometry
        assert (geometry.unit, geometry.spacing) == (unit, spacing)
    grid = sower(spacing=(1.0, 1.0), unit="pixel")
    resized = geometry_of((8, 8), grid, Geometry((16, 32), (1.0, 1.0)))
    assert (resized.unit, resized.spacing) == ("pixel", (1.0, 1.0))


def test_objects_without_masks_are_boxes_with_their_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = torch.tensor([[[1, 3], [2, 5]], [[0, 2], [4, 6]]]).float()
    objects = Objects(classes=torch.tensor([1, 0]), boxes=boxes)
    made = Generation(images=torch.zeros(1, 1, 8, 8), instances=[objects])
    monkeypatch.setattr(Sower, "generate", lambda *_: made)
    synthesize("sower", count=1, out=tmp_path / "out")
    dataset = open_dataset(tmp_path / "out")
    sample = load(dataset.cases[0], labels=dataset.labels)
    np.testing.assert_array_equal(sample.boxes, boxes)
    assert sample.classes["boxes"].tolist() == [1, 0]


def test_values_are_rounded_and_clipped_to_their_type() -> None:
    values = np.array([-3.2, 0.5, 1.5, 254.6, 70000.0], np.float32)
    assert stored(values, "uint8").tolist() == [0, 0, 2, 255, 255]
    assert stored(values, "int16").tolist() == [-3, 0, 2, 255, 32767]
    assert stored(values, "float32").tolist() == values.tolist()


def test_values_between_0_and_1_reach_from_the_least_to_the_greatest_of_the_data(tmp_path: Path) -> None:
    (intensity,) = Sower.blank(Sower.Settings()).intensity
    storage = Storage(files=(StoredImage(name="image", channels=("grey",), dtype="int16"),))
    method = sower(intensity=(intensity.model_copy(update={"minimum": -1000.0, "maximum": 3000.0}),), storage=storage)
    made = Generation(images=torch.tensor([0, 0.5, 1]).view(1, 1, 1, 3))
    entry = write_case(tmp_path, "a", made, method, facts=facts())
    assert read(tmp_path / entry["images"]["image"]).array.ravel().tolist() == [-1000, 1000, 3000]


AFFINE = np.array([[0, 0, 3.0, -5], [-0.5, 0, 0, 20], [0, 0.6, 0, 7], [0, 0, 0, 1]])
VOLUME = Traits(
    dimensions=3,
    channels=("grey",),
    spacing=(0.5, 0.6, 3.0),
    shape=(20, 30, 9),
    smallest=(20, 30, 9),
    slice_axis=2,
    intensity=(),
    storage=Storage(container="volume", affine=tuple(map(tuple, AFFINE.tolist()))),
)


class Volumes(Sower):
    """A generator of volumes or slices on a grid of its own."""

    recipe = Preprocessing(dimensions=3)

    @property
    def preprocessing(self) -> Preprocessing:
        return self.recipe


def volumes(**recipe: object) -> Volumes:
    method = Volumes(Sower.Settings(), VOLUME)
    method.recipe = Preprocessing(**{"dimensions": 3, **recipe})
    return method


def world(geometry: Geometry, index: tuple[float, ...]) -> np.ndarray:
    """Millimetres of an index."""
    assert geometry.affine is not None
    return (geometry.affine @ [*index, *(0,) * (3 - len(index)), 1])[:3]


def test_a_made_volume_has_the_spacing_and_directions_of_the_data_or_of_the_grid_of_the_method() -> None:
    plain = geometry_of((8, 8, 8), volumes())
    assert plain.spacing == VOLUME.spacing
    np.testing.assert_allclose(plain.affine, AFFINE)
    finer = geometry_of((8, 8, 8), volumes(spacing=(1.0, 1.0, 1.0)))
    assert finer.spacing == (1.0, 1.0, 1.0)
    np.testing.assert_allclose(np.linalg.norm(finer.affine[:3, :3], axis=0), 1)  # type: ignore[index]
    sized = geometry_of((10, 15, 3), volumes(size=(10, 15, 3)))
    np.testing.assert_allclose(sized.spacing, (1.0, 1.2, 9.0))


def test_a_made_slice_has_the_spacing_and_directions_of_its_plane() -> None:
    flat = geometry_of((20, 30), volumes(dimensions=2))
    assert (flat.container, flat.spacing) == ("volume", (0.5, 0.6))
    np.testing.assert_allclose(world(flat, (2, 3)), world(Geometry((20, 30, 9), VOLUME.spacing, AFFINE), (2, 3, 0)))


def test_what_is_made_from_a_case_covers_the_same_space() -> None:
    parent = Geometry((20, 30, 8), VOLUME.spacing, AFFINE, "volume")
    made = geometry_of((10, 30, 4), volumes(size=(10, 30, 4)), parent)
    np.testing.assert_allclose(world(made, (-0.5, -0.5, -0.5)), world(parent, (-0.5, -0.5, -0.5)))
    np.testing.assert_allclose(world(made, (9.5, 29.5, 3.5)), world(parent, (19.5, 29.5, 7.5)))
    same = geometry_of(parent.shape, volumes(), parent)
    np.testing.assert_allclose(same.affine, AFFINE)


def test_a_method_in_2d_is_given_each_slice_of_volumes_in_turn_with_its_place(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0).integers(0, 2, (2, 4, 5, 3)).astype(np.uint8)
    for volume, mask in enumerate(numbers):
        (tmp_path / "masks").mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(mask, AFFINE), tmp_path / "masks" / f"v{volume}.nii.gz")
    cases = "".join(f'[[case]]\nid = "v{n}"\nmasks = "masks/v{n}.nii.gz"\n' for n in range(2))
    (tmp_path / "scantling.toml").write_text(f"classes = {{ thing = 1 }}\n{cases}")
    method = volumes(dimensions=2)
    method.traits = VOLUME.model_copy(update={"spacing": (3.0, 0.5, 0.6), "shape": (9, 20, 30), "slice_axis": 0})
    method.card = CARDS["translator"]
    given = open_conditions(method, Conditions(data=tmp_path), source="translator")
    assert given is not None
    for number, (volume, part) in enumerate([(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 0)]):
        batch, parent = given.batch(number)
        np.testing.assert_array_equal(batch.mask[0, 0], numbers[volume, ::-1, :, part])  # turned to the front and up
        assert given.parent(number).id == f"v{volume}"  # type: ignore[union-attr]
        place = world(geometry_of((4, 5), method, parent), (2, 3))
        np.testing.assert_allclose(place, (AFFINE @ [4 - 1 - 2, 3, part, 1])[:3], atol=1e-5)


def test_scribbles_region_and_class_names_are_read_back_as_they_were_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = torch.full((1, 1, 6, 7), IGNORE, dtype=torch.uint8)
    drawn[..., 0, :], drawn[..., 2, :], drawn[..., 4, 1:3] = 0, 1, 2
    region = torch.ones(1, 1, 6, 7, dtype=torch.bool)
    region[..., 0] = False
    made = Generation(
        images=torch.zeros(1, 1, 6, 7),
        fields={"scribbles": drawn, "region": region, "sketch": region},
        image_classes=torch.tensor([1]),
    )
    monkeypatch.setattr(Sower, "generate", lambda *_: made)
    blank = Sower.blank
    monkeypatch.setattr(
        Sower, "blank", lambda settings: blank(settings).model_copy(update={"image_classes": ("few", "many")})
    )
    synthesize("sower", count=1, out=tmp_path / "out")
    dataset = open_dataset(tmp_path / "out")
    (case,) = dataset.cases
    sample = load(case, labels=dataset.labels)
    assert case.image_class == "many"
    assert sample.scribbles is not None
    assert sample.region is not None
    np.testing.assert_array_equal(sample.scribbles[0], drawn[0, 0])
    np.testing.assert_array_equal(sample.region, region[0, 0])
    assert (tmp_path / "out" / "sketches" / f"{case.id}.png").is_file()


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (Generation(), "made neither images nor masks"),
        (Generation(images=torch.zeros(2, 1, 8, 8)), "made images of 2 cases; expected 1"),
        (Generation(images=torch.zeros(1, 2, 8, 8)), "made 2 channels; expected 1"),
        (Generation(images=torch.full((1, 1, 8, 8), torch.nan)), "made images that are not finite"),
        (Generation(masks=torch.full((1, 2, 8, 8), torch.nan)), "made masks that are not finite"),
        (
            Generation(images=torch.zeros(1, 1, 8, 8), masks=torch.zeros(1, 2, 8, 9)),
            r"its image has \(8, 8\) pixels; expected \(8, 9\)",
        ),
        (
            Generation(images=torch.zeros(1, 1, 8, 8), image_classes=torch.tensor([0])),
            "a class of its image has the number 0; the model knows 0",
        ),
    ],
)
def test_what_does_not_fit_the_model_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Generation, sentence: str
) -> None:
    monkeypatch.setattr(Sower, "generate", lambda *_: made)
    with pytest.raises(RunError, match=sentence):
        synthesize("sower", count=1, out=tmp_path / "out")


@pytest.mark.parametrize("normalise", ["image", "dataset", "foreground", "unit", "none"])
def test_denormalised_is_what_an_image_was_whose_values_are_those_of_the_data(normalise: str) -> None:
    image = np.random.default_rng(0).normal(300, 40, (1, 9, 11)).astype(np.float32)
    intensity = Moments.of(image.ravel(), 1).intensity()
    wide = intensity.model_copy(update={"low": intensity.minimum, "high": intensity.maximum})  # nothing is cut off
    traits = sower(intensity=(wide,)).traits
    recipe = Preprocessing(dimensions=2, normalise=normalise)  # type: ignore[arg-type]
    sample = Sample(Case(id="a", subject="a"), image, Geometry((9, 11), (1.0, 1.0)))
    there = preprocess(sample, recipe, traits).image
    assert there is not None
    np.testing.assert_allclose(denormalise(there.numpy(), recipe, (wide,)), image, rtol=1e-5)


def test_what_is_scaled_by_its_own_range_gets_the_usual_range_of_an_image_and_not_that_of_the_widest() -> None:
    scales = (1, 2, 1000)
    facts = summed(Moments.of(np.linspace(scale, 10 * scale, 50), 1) for scale in scales).intensity()
    assert (facts.minimum, facts.maximum) == (1, 10_000)
    made = denormalise(np.array([[-1.0, 0.0, 1.0]]), Preprocessing(dimensions=2, normalise="unit"), (facts,))
    np.testing.assert_allclose(made, [[2, 11, 20]])


def test_a_broken_file_among_those_that_are_asked_for_fails_when_its_turn_comes(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    for number in range(2):
        array = np.full((4, 5, 3), number, np.uint8)
        nib.save(nib.Nifti1Image(array, AFFINE), tmp_path / "masks" / f"v{number}.nii.gz")
    (tmp_path / "masks" / "v0.nii.gz").write_bytes(b"nothing")
    cases = "".join(f'[[case]]\nid = "v{n}"\nmasks = "masks/v{n}.nii.gz"\n' for n in range(2))
    (tmp_path / "scantling.toml").write_text(f"classes = {{ thing = 1 }}\n{cases}")
    method = volumes(dimensions=2)
    method.card = CARDS["translator"]
    given = open_conditions(method, Conditions(data=tmp_path), source="translator")
    assert given is not None
    with pytest.raises(FileError, match=r"v0\.nii\.gz"):
        given.batch(0)
    assert (given.batch(1)[0].mask == 1).all()
