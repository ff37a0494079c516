"""Masks, regions and scribbles are brought onto the grid of their image, or refused with numbers."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from nibabel.processing import resample_from_to

from scantling.core.case import Address, Case, Geometry, Labels
from scantling.core.errors import DataError
from scantling.data import files
from scantling.data.dataset import open_dataset
from scantling.data.grids import place
from scantling.data.integrity import check
from scantling.data.loading import load, with_spacing

RNG = np.random.default_rng(0)
SHAPE = (8, 10, 12)
IMAGE = RNG.normal(100, 20, SHAPE).astype(np.float32)
MASK = RNG.integers(0, 3, SHAPE).astype(np.uint8)
AFFINE = np.diag([1.0, 1.5, 2.0, 1.0])
AFFINE[:3, 3] = (5, -6, 7)
LABELS = Labels(names=("a", "b"), values=((1,), (2,)), ignore=9)


def save(path: Path, array: np.ndarray, affine: np.ndarray | None = AFFINE, codes: str = "RAS") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(array, affine)
    if affine is not None:
        image = image.as_reoriented(ornt_transform(io_orientation(np.eye(4)), axcodes2ornt(tuple(codes))))
    nib.save(image, path)
    return path


def loaded(image: Path, mask: Path, **more: object) -> np.ndarray:
    case = Case(id="a", subject="a", images={"image": Address(image)}, masks=(Address(mask),), **more)  # type: ignore[arg-type]
    return load(case, labels=LABELS).masks[0][0]


@pytest.mark.parametrize(("of_image", "of_mask"), [("RAS", "LPS"), ("PIR", "RAS"), ("SLA", "LSP")])
def test_files_of_one_case_may_be_stored_in_any_orientation(tmp_path: Path, of_image: str, of_mask: str) -> None:
    image = save(tmp_path / "i.nii", IMAGE, codes=of_image)
    mask = save(tmp_path / "m.nii", MASK, codes=of_mask)
    np.testing.assert_array_equal(loaded(image, mask), MASK)
    case = Case(
        id="a", subject="a", images={"one": Address(image), "two": Address(save(tmp_path / "j.nii", IMAGE + 1))},
        region=Address(save(tmp_path / "r.nii", (MASK > 0).astype(np.uint8), codes=of_mask)),
        scribbles=Address(save(tmp_path / "s.nii", MASK, codes=of_mask)),
        instances=Address(save(tmp_path / "n.nii", MASK, codes=of_mask)),
    )  # fmt: skip
    sample = load(case, labels=LABELS)
    np.testing.assert_array_equal(sample.image, [IMAGE, IMAGE + 1])
    for found, wanted in ((sample.region, MASK > 0), (sample.scribbles, MASK[None]), (sample.instances, MASK)):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SPL"])
@pytest.mark.parametrize("kind", ["npy", "nii"])
def test_a_mask_without_an_affine_lies_in_the_order_of_its_image(tmp_path: Path, codes: str, kind: str) -> None:
    image, stored = save(tmp_path / "i.nii", IMAGE, codes=codes), nib.load(save(tmp_path / "s.nii", MASK, codes=codes))
    array = np.asarray(stored.dataobj)
    mask = tmp_path / f"m.{kind}"
    np.save(mask, array) if kind == "npy" else save(mask, array, None)
    np.testing.assert_array_equal(loaded(image, mask), MASK)
    bare = tmp_path / "bare.npy"  # and a mask with an affine in that of an image without
    np.save(bare, np.asarray(nib.load(image).dataobj))
    np.testing.assert_array_equal(loaded(bare, tmp_path / "s.nii"), array)


@pytest.mark.parametrize(
    ("steps", "shift"), [((1, 1, 1), 0.4), ((2, 1, 1), 0.0), ((0.5, 0.5, 0.5), 0.0), ((1, 2, 1.5), 0.2)]
)
def test_a_mask_on_another_grid_of_the_same_space_has_the_nearest_values(
    tmp_path: Path, steps: tuple[float, ...], shift: float
) -> None:
    there = AFFINE @ np.diag([*steps, 1.0])
    there[:3, 3] = (AFFINE @ [*((np.array(steps) - 1) / 2 + shift + 0.01), 1])[
        :3
    ]  # the corners meet, but for the shift
    shape = tuple(round(n / step) for n, step in zip(SHAPE, steps, strict=True))
    other = RNG.integers(0, 3, shape).astype(np.uint8)
    mask = save(tmp_path / "m.nii", other, there, codes="LSA")
    wanted = resample_from_to(nib.Nifti1Image(other, there), (SHAPE, AFFINE), order=0, mode="nearest")
    np.testing.assert_array_equal(loaded(save(tmp_path / "i.nii", IMAGE), mask), np.asarray(wanted.dataobj))


def test_grids_are_the_same_up_to_a_hundredth_of_a_voxel_and_others_are_refused_with_numbers(tmp_path: Path) -> None:
    image, near, far, turned = save(tmp_path / "i.nii", IMAGE), AFFINE.copy(), AFFINE.copy(), AFFINE.copy()
    near[0, 3] += 0.009
    far[1, 3] += 6
    angle = np.deg2rad(30)
    turned[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    np.testing.assert_array_equal(loaded(image, save(tmp_path / "near.nii", MASK, near)), MASK)
    grids = [Geometry(SHAPE, (1.0, 1.5, 2.0), affine, "volume") for affine in (AFFINE, near)]
    assert place(MASK[None], grids[1], grids[0], where="m", reference="i")[1] == ""
    with pytest.raises(
        DataError, match=r"far\.nii: it does not fit .*i\.nii: its grid lies up to 6 mm away.* holds 60%"
    ):
        loaded(image, save(tmp_path / "far.nii", MASK, far))
    with pytest.raises(DataError, match=r"its grid lies up to .* mm away"):
        loaded(image, save(tmp_path / "turned.nii", MASK, turned))
    with pytest.raises(DataError, match=r"found 8 x 10 x 6 pixels, expected 8 x 10 x 12, and its grid holds 50%"):
        loaded(image, save(tmp_path / "half.nii", MASK[..., :6]))
    shifted = Address(save(tmp_path / "j.nii", IMAGE, far))
    other = Case(id="a", subject="a", images={"one": Address(image), "two": shifted})
    with pytest.raises(DataError, match="its grid lies up to"):  # images are not resampled
        load(other)


def test_check_says_which_masks_were_turned_or_resampled(tmp_path: Path) -> None:
    shifted = AFFINE.copy()
    shifted[0, 3] += 0.3
    for id, affine, codes in (("a", AFFINE, "RAS"), ("b", AFFINE, "LPS"), ("c", shifted, "RAS"), ("d", AFFINE, "SRA")):
        save(tmp_path / "images" / f"{id}.nii.gz", IMAGE + RNG.normal(0, 20, SHAPE).astype(np.float32))
        save(tmp_path / "masks" / f"{id}.nii.gz", MASK, affine, codes)
    report = check(open_dataset(tmp_path))
    found = {finding.kind: finding for finding in report.findings}
    assert not report.of("error")
    assert found["turned masks"].sentence == (
        "2 cases (b, d) with masks that are stored in another orientation than their images; they are turned"
    )
    assert found["resampled masks"].cases == ("c",)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SAR"])
def test_spacing_boxes_and_points_of_a_manifest_are_in_the_order_of_the_file(tmp_path: Path, codes: str) -> None:
    image = save(tmp_path / "i.nii", IMAGE, codes=codes)
    own = np.asarray(nib.load(image).dataobj)
    point, box = (1, 2, 3), ((1, 4), (2, 5), (3, 6))
    case = Case(
        id="a", subject="a", images={"image": Address(image)}, points=(point,), boxes=(box,), spacing=(3.0, 4.0, 5.0)
    )
    sample = load(case)
    assert sample.points is not None
    assert sample.boxes is not None
    assert sample.image[0][tuple(sample.points[0].astype(int))] == own[point]
    (low, high), inside = sample.boxes[0].astype(int).T, own[tuple(slice(*ends) for ends in box)]
    assert sample.image[0][tuple(map(slice, low, high))].sum() == pytest.approx(inside.sum())
    mask = nib.load(files.write_labels(tmp_path, "m", sample.image[0] > 100, sample.geometry))
    np.testing.assert_allclose(mask.header.get_zooms(), (3, 4, 5))
    np.testing.assert_array_equal(mask.get_fdata(), own > 100)
    middle = [*(length - 1 for length in own.shape), 2]  # the middle of the volume stays where it is
    np.testing.assert_allclose(mask.affine @ middle, nib.load(image).affine @ middle)
    again = with_spacing(sample.geometry, (3.0, 4.0, 5.0), "a")
    np.testing.assert_allclose(again.affine, sample.geometry.affine)
