"""The command `register`, from the command line, by a toy that shifts one image onto another."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from scantling.cli.main import main
from scantling.contract.capabilities import Registrar
from scantling.contract.options import RegisterOptions
from scantling.contract.results import Registration
from scantling.contract.step import Inference
from scantling.core.case import Case, Geometry, Sample
from scantling.core.errors import DataError, FileError, SettingsError
from scantling.core.samples import Batch, Preprocessing
from scantling.data.files import read
from scantling.data.opening import Opening
from scantling.data.orientation import as_stored
from scantling.evaluation import evaluate, evaluate_registrations
from scantling.inference import register
from scantling.inference.registration import displacement_between
from scantling.inference.resampling import resample_onto
from scantling.inference.tiles import Tiler
from scantling.methods import catalogue
from scantling.records.registrations import read_registrations
from toys import TRAITS
from toys_registration import CARD, ToyShiftSettings

SHAPE = (30, 36)
CENTRES = {"a": (12, 14), "b": (16, 20), "c": (15, 13), "d": (13, 19)}


@pytest.fixture(autouse=True)
def _catalogued(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(catalogue.CARDS, CARD.name, CARD)


def blob(centre: tuple[int, ...], shape: tuple[int, ...] = SHAPE, *, radius: float = 5) -> np.ndarray:
    """A ball, and an ellipsoid beside it of another class."""
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) - np.array(centre)
    mask = (np.linalg.norm(grid, axis=-1) < radius).astype(np.uint8)
    mask[np.linalg.norm(grid - 3, axis=-1) < radius / 2] = 2
    return mask


def draw(folder: Path, centres: dict[str, tuple[int, int]] = CENTRES, *, masks: bool = True) -> Path:
    """Images that are brighter where their masks are."""
    for name, centre in centres.items():
        mask = blob(centre)
        for kind, array in (("images", 20 + 100 * mask), ("masks", mask)):
            if masks or kind == "images":
                (folder / kind).mkdir(parents=True, exist_ok=True)
                Image.fromarray(array.astype(np.uint8)).save(folder / kind / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "toy"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(catalogue.CARDS, CARD.name, CARD)
        words = ["train", CARD.name, "--data", str(data), "--out", str(out), "--validation", "0", "--device", "cpu"]
        assert main(words) == 0
    return out


def record(out: Path) -> dict:
    return json.loads((out / "registrations.json").read_text())


def mask_of(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_each_image_is_warped_onto_the_one_before_it_and_its_mask_lands_on_the_fixed_one(
    data: Path, run: Path, tmp_path: Path
) -> None:
    assert main(["register", str(run), str(data), "--out", str(tmp_path / "w"), "--split", "all", "--jacobian"]) == 0
    listed = read_registrations(tmp_path / "w")
    assert [(case.fixed, case.moving) for case in listed.cases] == [
        ("a", ("b",)), ("b", ("c",)), ("c", ("d",)), ("d", ("a",)),
    ]  # fmt: skip
    for case in listed.cases:
        (files,) = case.files
        assert isinstance(files.mask, str)
        warped, fixed = mask_of(tmp_path / "w" / files.mask), mask_of(data / "masks" / f"{case.fixed}.png")
        assert np.array_equal(warped, fixed)
        image = read(tmp_path / "w" / files.image).array
        wanted = np.asarray(Image.open(data / "images" / f"{case.fixed}.png"))[6:24, 7:29]
        # less than a twentieth of a pixel off: at an edge of 100 or 200 grey levels, which few pixels are
        assert np.abs(image[0, 6:24, 7:29] - wanted).mean() < 3
        assert read(tmp_path / "w" / files.uncertainty["difference"]).array.shape == (1, *SHAPE)
        assert files.jacobian is not None
        np.testing.assert_allclose(read(tmp_path / "w" / files.jacobian).array, 1, atol=1e-5)
        shift = np.subtract(CENTRES[case.moving[0]], CENTRES[case.fixed])
        field = nib.load(tmp_path / "w" / files.displacement)
        assert isinstance(field, nib.Nifti1Image)
        assert field.shape == (*SHAPE[::-1], 1, 1, 2)
        # x, the columns, first
        np.testing.assert_allclose(field.get_fdata()[:, :, 0, 0], np.broadcast_to(shift[::-1], (36, 30, 2)), atol=0.05)


def test_itk_warps_a_raster_image_to_the_same_by_the_field(data: Path, run: Path, tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
    register(run, data / "images" / "a.png", data / "images" / "b.png", out=tmp_path / "w")
    (case,) = read_registrations(tmp_path / "w").cases
    field = sitk.ReadImage(str(tmp_path / "w" / case.files[0].displacement), sitk.sitkVectorFloat64)
    fixed, moving = (sitk.ReadImage(str(data / "images" / f"{name}.png"), sitk.sitkFloat32) for name in "ab")
    warped = sitk.Resample(moving, fixed, sitk.DisplacementFieldTransform(field), sitk.sitkLinear, 0.0)
    ours = read(tmp_path / "w" / case.files[0].image).array[0]
    np.testing.assert_allclose(ours, sitk.GetArrayFromImage(warped), atol=0.01)


def test_itk_warps_an_axial_slice_on_another_grid_to_the_same_by_the_field(run: Path, tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
    grids = {"f": ((34, 30), (0.7, 0.9, 1.0), (12.0, -7.0, 3.0), 0.0)}
    grids["m"] = ((31, 36), (0.8, 0.8, 1.0), (13.0, -8.0, 3.0), 8.0)
    files = []
    for name, (shape, steps, origin, degrees) in grids.items():
        image = (10 + 100 * (blob((15, 14) if name == "f" else (18, 15), shape) == 1)).astype(np.float32)
        files.append(str(tmp_path / f"{name}.nii.gz"))
        nib.save(nib.Nifti1Image(image, turned(steps, origin, degrees)), files[-1])
    assert main(["register", str(run), *files, "--out", str(tmp_path / "w")]) == 0
    (case,) = read_registrations(tmp_path / "w").cases
    field = sitk.ReadImage(str(tmp_path / "w" / case.files[0].displacement), sitk.sitkVectorFloat64)
    fixed, moving = (sitk.ReadImage(file, sitk.sitkFloat32) for file in files)
    assert field.GetDimension() == fixed.GetDimension() == 2
    np.testing.assert_allclose(field.GetOrigin(), fixed.GetOrigin(), atol=1e-5)
    warped = sitk.Resample(moving, fixed, sitk.DisplacementFieldTransform(field), sitk.sitkLinear, 0.0)
    picture = read(tmp_path / "w" / case.files[0].image)
    ours = as_stored(picture.array, picture.geometry)[0]  # (x, y)
    apart = np.abs(ours - sitk.GetArrayFromImage(warped).T)
    assert np.mean(apart > 0.1) < 1e-2  # a pixel on the very edge of the moving image is in or out by rounding


def turned(spacing: tuple[float, ...], origin: tuple[float, ...], degrees: float) -> np.ndarray:
    """An affine: mirrored, turned about z, with a spacing."""
    angle = np.deg2rad(degrees)
    affine = np.eye(4)
    affine[:2, :2] = [[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    affine[:3, :3] *= spacing
    affine[:3, 3] = origin
    return affine


@pytest.mark.parametrize("spacing", [None, "2,2,2"])
def test_itk_warps_a_volume_on_another_grid_to_the_same_by_the_field(
    run: Path, tmp_path: Path, spacing: str | None
) -> None:
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
    grids = {"f": ((20, 22, 18), (1.0, 1.0, 1.5), (4.0, -10.0, 3.0), 0.0)}
    grids["m"] = ((24, 17, 26), (0.9, 1.3, 1.0), (6.0, -9.0, 1.0), 10.0)
    for name, (shape, steps, origin, degrees) in grids.items():
        image = (10 + 100 * (blob((9, 10, 8 if name == "f" else 12), shape, radius=4) == 1)).astype(np.float32)
        folder = tmp_path / "volumes" / "images"
        folder.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(image, turned(steps, origin, degrees)), folder / f"{name}.nii.gz")
    settings = ["--settings.spacing", spacing] if spacing else []
    words = ["train", CARD.name, "--data", str(tmp_path / "volumes"), "--out", str(tmp_path / "run")]
    assert main([*words, "--validation", "0", "--device", "cpu", *settings]) == 0
    files = [str(tmp_path / "volumes" / "images" / f"{name}.nii.gz") for name in "fm"]
    assert main(["register", str(tmp_path / "run"), *files, "--out", str(tmp_path / "w")]) == 0
    (case,) = read_registrations(tmp_path / "w").cases
    field = sitk.ReadImage(str(tmp_path / "w" / case.files[0].displacement), sitk.sitkVectorFloat64)
    fixed, moving = (sitk.ReadImage(file, sitk.sitkFloat32) for file in files)
    warped = sitk.Resample(moving, fixed, sitk.DisplacementFieldTransform(field), sitk.sitkLinear, 0.0)
    ours = sitk.ReadImage(str(tmp_path / "w" / case.files[0].image))
    assert ours.GetSize() == fixed.GetSize()
    np.testing.assert_allclose(ours.GetOrigin(), fixed.GetOrigin(), atol=1e-5)
    apart = np.abs(sitk.GetArrayFromImage(ours) - sitk.GetArrayFromImage(warped))
    assert np.mean(apart > 0.1) < 1e-3  # a pixel on the very edge of the moving image is in or out by rounding
    # the blobs meet in their middles: they are of one size in voxels, not in mm
    middles = [centre_of(sitk.GetArrayFromImage(each)) for each in (ours, fixed)]
    before = sitk.Resample(moving, fixed, sitk.Transform(3, sitk.sitkIdentity), sitk.sitkLinear, 10.0)
    away = np.linalg.norm(centre_of(sitk.GetArrayFromImage(before)) - middles[1])
    assert np.linalg.norm(middles[0] - middles[1]) < 0.5 < away


def centre_of(image: np.ndarray) -> np.ndarray:
    weight = np.clip(image - 60, 0, None)
    return np.array([(weight * axis).sum() / weight.sum() for axis in np.indices(image.shape)])


def test_images_without_affines_of_other_shapes_are_taken_to_show_the_same(run: Path, tmp_path: Path) -> None:
    Image.fromarray((20 + 100 * blob((12, 14))).astype(np.uint8)).save(tmp_path / "small.png")
    large = np.kron(20 + 100 * blob((12, 14)), np.ones((2, 2))).astype(np.uint8)
    Image.fromarray(large).save(tmp_path / "large.png")
    done = register(run, tmp_path / "small.png", tmp_path / "large.png", out=tmp_path / "w")
    (case,) = read_registrations(tmp_path / "w").cases
    assert case.resampled == ("60 x 72 pixels onto 30 x 36; by shape, since not both files say where they lie",)
    assert done.notes == (f"1 of 1 moving image resampled onto another grid (large onto small: {case.resampled[0]})",)
    assert case.id == "small_from_large"
    field = nib.load(tmp_path / "w" / case.files[0].displacement)
    assert isinstance(field, nib.Nifti1Image)
    np.testing.assert_allclose(field.get_fdata(), 0, atol=0.1)


def test_several_atlases_give_masks_that_are_fused_and_no_atlas_is_a_target(
    data: Path, run: Path, tmp_path: Path
) -> None:
    words = ["register", str(run), str(data), "--out", str(tmp_path / "w"), "--split", "all"]
    assert main([*words, "--atlas", "a", "--atlas", "c", "--atlas", "d", "--fuse", "staple"]) == 0
    (case,) = read_registrations(tmp_path / "w").cases
    assert (case.id, case.moving) == ("b", ("a", "c", "d"))
    assert isinstance(case.mask, str)
    assert np.array_equal(mask_of(tmp_path / "w" / case.mask), mask_of(data / "masks" / "b.png"))


def test_pairs_come_from_a_table_from_equal_names_or_are_all(data: Path, run: Path, tmp_path: Path) -> None:
    table = tmp_path / "pairs.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("fixed", "moving", "note"), ("d", "a.png", ""), ("a", "d", "back")])
    register(run, data, out=tmp_path / "table", pairs=str(table), split="all")
    assert [case["id"] for case in record(tmp_path / "table")["cases"]] == ["d_from_a", "a_from_d"]
    register(run, data, out=tmp_path / "all", pairs="all", split="all")
    assert len(record(tmp_path / "all")["cases"]) == 4 * 3
    others = draw(tmp_path / "others", dict.fromkeys(CENTRES, CENTRES["a"]), masks=False)
    register(run, data, others, out=tmp_path / "named", split="all")
    register(run, data, others, out=tmp_path / "of the test split")
    assert len(read_registrations(tmp_path / "of the test split").cases) == 1
    path = tmp_path / "of the test split" / "registrations.json"
    path.write_text(path.read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(FileError, match=r"has version 2.*update Scantling"):
        register(run, data, others, out=path.parent)
    listed = read_registrations(tmp_path / "named")
    assert [(case.id, case.moving) for case in listed.cases] == [(name, (name,)) for name in CENTRES]
    assert listed.classes == ()
    assert listed.cases[0].files[0].mask is None


def test_what_cannot_be_paired_is_told_in_a_sentence(data: Path, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "w"
    with pytest.raises(SettingsError, match="--atlas x: there is no such image"):
        register(run, data, out=out, atlases=["x"], split="all")
    with pytest.raises(SettingsError, match="leave --pairs out"):
        register(run, data, out=out, atlases=["a"], pairs="all", split="all")
    with pytest.raises(SettingsError, match="name two with --atlas"):
        register(run, data, out=out, fuse="vote", split="all")
    bare = draw(tmp_path / "bare", masks=False)
    with pytest.raises(DataError, match="--fuse vote: fewer than two of the atlases of a have a mask"):
        register(run, data, bare, out=out, fuse="vote", atlases=["b", "c"], split="all")
    with pytest.raises(SettingsError, match="there is no such file"):
        register(run, data, out=out, pairs="nowhere.csv", split="all")
    others = draw(tmp_path / "others", {"a": CENTRES["a"], "a copy": CENTRES["a"]}, masks=False)
    with pytest.raises(DataError, match="no image of the other folder is called like b, c, d, a copy"):
        register(run, data, others, out=out, split="all")
    with pytest.raises(DataError, match="no pair of two images among a"):
        register(run, data / "images" / "a.png", out=out)
    for text, told in (
        ("fixed|moving\na|b\n", r"the columns fixed\|moving; expected the columns fixed and moving"),
        ("fixed,moving\na,e\n", "line 2 names the moving image 'e'"),
        ("fixed,moving\n", "has no row"),
        ("fixed,moving\na,b,c\n", "row 2 has 3 cells; expected 2"),
    ):
        (tmp_path / "pairs.csv").write_text(text)
        with pytest.raises(FileError, match=told):
            register(run, data, out=out, pairs=str(tmp_path / "pairs.csv"), split="all")
    (tmp_path / "pairs.csv").write_text("fixed,moving\na,b\na,b\n")
    with pytest.raises(DataError, match="list each once"):
        register(run, data, out=out, pairs=str(tmp_path / "pairs.csv"), split="all")
    assert not out.exists()


def test_a_broken_image_fails_alone_and_a_changed_one_is_done_again(run: Path, tmp_path: Path) -> None:
    data, out = draw(tmp_path / "data"), tmp_path / "w"
    whole = (data / "images" / "c.png").read_bytes()
    (data / "images" / "c.png").write_bytes(whole[:100])
    words = ["register", str(run), str(data), "--out", str(out), "--split", "all"]
    assert main(words) == 1
    assert [failure["id"] for failure in record(out)["failed"]] == ["b_from_c", "c_from_d"]
    assert [case["id"] for case in record(out)["cases"]] == ["a_from_b", "d_from_a"]
    (data / "images" / "c.png").write_bytes(whole)
    kept = (out / "masks" / "d_from_a.png").stat().st_mtime_ns
    changed = Image.fromarray((20 + 100 * blob((17, 21))).astype(np.uint8))
    changed.save(data / "images" / "b.png")
    done = register(run, data, out=out, split="all")
    assert not done.failed
    assert {case["id"] for case in done.cases} == {"a_from_b", "b_from_c", "c_from_d", "d_from_a"}
    assert done.skipped == 1
    assert (out / "masks" / "d_from_a.png").stat().st_mtime_ns == kept


def test_shards_give_what_one_command_gives(data: Path, run: Path, tmp_path: Path) -> None:
    register(run, data, out=tmp_path / "one", split="all")
    for part in (1, 2, 3):
        words = ["register", str(run), str(data), "--out", str(tmp_path / "parts"), "--split", "all"]
        assert main([*words, "--shard", f"{part}/3"]) == 0
    whole, parts = (record(tmp_path / name) for name in ("one", "parts"))
    for facts in (whole, parts):
        for case in facts["cases"]:
            del case["seconds"]
    assert whole == parts
    for path in (tmp_path / "one").rglob("*.*"):
        if path.name != "registrations.json":
            assert (tmp_path / "parts" / path.relative_to(tmp_path / "one")).read_bytes() == path.read_bytes(), path


def test_a_folder_of_predictions_or_of_other_registrations_is_not_written_into(
    data: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "predictions.json").write_text("{}")
    words = ["register", str(run), str(data), "--split", "all", "--out"]
    assert main([*words, str(tmp_path)]) == 2
    assert "holds predictions (predictions.json)" in capsys.readouterr().err
    assert main([*words, str(tmp_path / "w")]) == 0
    assert main([*words, str(tmp_path / "w"), "--jacobian"]) == 2
    assert "lists registrations made otherwise: options.jacobian was False, is True" in capsys.readouterr().err


def test_a_run_that_cannot_register_and_an_option_that_it_does_not_have_are_told(
    data: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(run), str(data), "--out", str(tmp_path / "p")]) == 2
    assert "toy-shift cannot segment or classify; it can register" in capsys.readouterr().err
    assert main(["register", str(run), str(data), "--out", str(tmp_path / "w"), "--options.steps", "3"]) == 2
    assert "--sampling-steps: this model has no such option" in capsys.readouterr().err


class Shifted(Registrar):
    """Shifts everything by one vector, in pixels of its grid."""

    card = CARD
    Settings = ToyShiftSettings

    def __init__(self, vector: tuple[float, ...], dimensions: int, recipe: Preprocessing) -> None:
        traits = TRAITS.model_copy(update={"dimensions": dimensions, "spacing": (1.0,) * dimensions})
        super().__init__(ToyShiftSettings(), traits)
        self.vector, self.recipe = torch.tensor(vector), recipe
        self.seen: list[torch.Tensor] = []

    @property
    def preprocessing(self) -> Preprocessing:
        return self.recipe

    def register(self, fixed: Batch, moving: Batch, inference: Inference) -> Registration:
        self.seen.append(moving.image)
        rows, shape = len(fixed.image), fixed.image.shape[2:]
        displacement = self.vector.view(1, -1, *[1] * len(shape)).expand(rows, -1, *shape)
        return Registration(displacement=displacement, uncertainty={"width": moving.image.abs()})


def sampled(shape: tuple[int, ...], *, spacing: tuple[float, ...] | None = None, seed: int = 0) -> Sample:
    image = np.random.default_rng(seed).normal(size=(1, *shape)).astype(np.float32)
    return Sample(Case(id=f"{seed}", subject="x"), image, Geometry(shape, spacing or (1.0,) * len(shape)))


def between(method: Shifted, fixed: Sample, moving: Sample) -> np.ndarray:
    answer = displacement_between(
        method, fixed, moving, device=torch.device("cpu"), tiler=Tiler(), options=RegisterOptions()
    )
    assert answer.uncertainty["width"].shape == (1, *answer.displacement.shape[1:])
    return answer.displacement


def test_a_displacement_on_a_coarser_grid_counts_in_pixels_of_the_file() -> None:
    coarse = Preprocessing(dimensions=2, normalise="none", spacing=(2.0, 1.5))
    found = between(Shifted((1.0, -2.0), 2, coarse), sampled((20, 30)), sampled((20, 30), seed=1))
    np.testing.assert_allclose(found, np.broadcast_to([[[2.0]], [[-3.0]]], (2, 20, 30)), rtol=1e-6)


def test_a_method_in_2d_moves_a_volume_within_its_slices() -> None:
    flat = Preprocessing(dimensions=2, normalise="none")
    method = Shifted((1.0, -2.0), 3, flat)
    method.traits = method.traits.model_copy(update={"slice_axis": 1})
    fixed, moving = sampled((5, 11, 7)), sampled((5, 11, 7), seed=1)
    found = between(method, fixed, moving)
    np.testing.assert_allclose(found, np.broadcast_to(np.reshape([1.0, 0.0, -2.0], (3, 1, 1, 1)), (3, 5, 11, 7)))
    np.testing.assert_allclose(torch.cat(method.seen)[:, 0].movedim(0, 1), moving.image[0], atol=1e-5)


def test_a_displacement_that_is_not_finite_or_of_another_shape_is_no_answer() -> None:
    recipe = Preprocessing(dimensions=2, normalise="none")
    with pytest.raises(DataError, match="not finite"):
        between(Shifted((float("nan"), 0.0), 2, recipe), sampled((8, 9)), sampled((8, 9)))
    with pytest.raises(ValueError, match="displacement of shape"):
        between(Shifted((1.0, 0.0, 0.0), 2, recipe), sampled((8, 9)), sampled((8, 9)))
    with pytest.raises(DataError, match="fixed image has 2 axes, the moving one 3"):
        between(Shifted((1.0, 0.0), 2, recipe), sampled((8, 9)), sampled((8, 9, 10)))


def test_unknown_pixels_stay_unknown_in_a_warped_mask_and_overlapping_classes_keep_their_files(
    run: Path, tmp_path: Path
) -> None:
    data = draw(tmp_path / "data")
    for name in CENTRES:
        mask = np.array(Image.open(data / "masks" / f"{name}.png"))
        mask[mask == 2] = 99
        Image.fromarray(mask).save(data / "masks" / f"{name}.png")
    lines = ["classes = { ball = 1 }", "ignore = 99", "[[group]]", "pattern = 'images/{id}.png'"]
    (data / "scantling.toml").write_text("\n".join([*lines, "masks = 'masks/{id}.png'"]))
    register(run, data, out=tmp_path / "unknown", split="all")
    wanted = mask_of(data / "masks" / "a.png")
    assert np.array_equal(mask_of(tmp_path / "unknown" / "masks" / "a_from_b.png"), wanted)
    assert record(tmp_path / "unknown")["ignore"] == 99
    scores = evaluate_registrations(tmp_path / "unknown", data)
    assert [pair.scores["dice"] for pair in scores.pairs] == [1, 1, 1, 1]

    lines = ["classes = { ball = [], all = [] }", "[[group]]", "pattern = 'images/{id}.png'", "[group.masks]"]
    for kind, values in (("ball", (1,)), ("all", (1, 99))):
        (data / kind).mkdir()
        lines.append(f"{kind} = '{kind}/{{id}}.png'")
        for name in CENTRES:
            mask = np.isin(mask_of(data / "masks" / f"{name}.png"), values)
            Image.fromarray(mask.astype(np.uint8) * 255).save(data / kind / f"{name}.png")
    (data / "scantling.toml").write_text("\n".join(lines))
    register(run, data, out=tmp_path / "layers", split="all", atlases=["b", "c", "d"])
    for path in ("masks/{}/a_from_c.png", "fused/{}/a.png"):
        for kind in ("ball", "all"):
            found = mask_of(tmp_path / "layers" / path.format(kind))
            assert np.array_equal(found, mask_of(data / kind / "a.png")), path
    scores = evaluate_registrations(tmp_path / "layers", data)
    assert [pair.scores["dice"] for pair in scores.pairs] == [1, 1, 1]
    # the fused masks are a folder like any other
    assert evaluate(tmp_path / "layers" / "fused", data, split="all").mean["dice"] == 1


def test_files_that_nobody_trusts_are_warped_to_the_same(data: Path, run: Path, tmp_path: Path) -> None:
    table = tmp_path / "pairs.csv"
    table.write_text("fixed,moving\na,b\n")
    for name, opening in (("plain", Opening()), ("guarded", Opening(untrusted=True))):
        register(run, data, out=tmp_path / name, pairs=str(table), split="all", opening=opening)
    for path in ("masks/a_from_b.png", "images/a_from_b.tif", "displacement/a_from_b.nii.gz"):
        assert (tmp_path / "plain" / path).read_bytes() == (tmp_path / "guarded" / path).read_bytes()


def test_an_image_that_is_sampled_piece_by_piece_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed, moving = Geometry((9, 8, 7), (1.0,) * 3), Geometry((6, 5, 11), (1.0,) * 3)
    generator = np.random.default_rng(0)
    image = generator.normal(size=(2, *moving.shape)).astype(np.float32)
    field = generator.normal(size=(3, *fixed.shape)).astype(np.float32)
    whole = resample_onto(image, fixed, moving, displacement=field)
    monkeypatch.setattr("scantling.inference.resampling.AT_ONCE", 2 * 56)
    np.testing.assert_array_equal(resample_onto(image, fixed, moving, displacement=field), whole)


def test_what_was_not_drawn_of_an_atlas_stays_unknown_and_answers_are_0_outside_of_the_fixed_image(
    run: Path, tmp_path: Path
) -> None:
    data = draw(tmp_path / "data")
    known = np.zeros(SHAPE, np.uint8)
    known[:, : SHAPE[1] // 2] = 1
    (data / "known").mkdir()
    for name in CENTRES:
        Image.fromarray(known).save(data / "known" / f"{name}.png")
    whole = np.array(Image.open(data / "images" / "a.png")).astype(np.float32)
    whole[:4] = np.nan
    (data / "images" / "a.png").unlink()
    np.save(data / "images" / "a.npy", whole)
    lines = ["classes = { ball = [1, 2] }", "[[group]]", "pattern = 'images/{id}.*'", "masks = 'masks/{id}.png'"]
    (data / "scantling.toml").write_text("\n".join([*lines, "known = 'known/{id}.png'"]))
    done = register(run, data, out=tmp_path / "out", split="all", atlases=["b"])
    assert not done.failed
    assert record(tmp_path / "out")["ignore"] == 255
    for name in "acd":
        (path,) = (tmp_path / "out" / "masks").glob(f"{name}_from_b.*")
        found = mask_of(path) if path.suffix == ".png" else np.asarray(nib.load(path).dataobj)
        assert {*np.unique(found)} <= {0, 1, 255}
        assert (found == 255).any()
        assert (found[:4] == 0).all() == (name == "a")
