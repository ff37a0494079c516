"""Undeclared masks that number objects, are grey, or have no 0: read as their makers meant them, and said."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image, ImageFilter
from scipy import ndimage

from scantling.core.case import Address, Labels
from scantling.core.errors import DataError
from scantling.data.dataset import join, open_dataset
from scantling.data.integrity import check
from scantling.data.label_source import FoundLabels, find_labels
from scantling.data.labels import encode, merge_labels, unknown_values
from scantling.data.loading import load
from scantling.data.mask_values import ValueCounts, in_one_piece

OBJECT = Labels(names=("object",), values=((255,),), others="object")


def save(folder: Path, masks: list[np.ndarray], *, suffix: str = ".png") -> list[Address]:
    folder.mkdir(parents=True, exist_ok=True)
    for number, mask in enumerate(masks):
        Image.fromarray(mask).save(folder / f"{number:02}{suffix}")
    return [Address(path) for path in sorted(folder.iterdir())]


def discs(seed: int, number: int, *, radius: tuple[float, float] = (5, 9), side: int = 128) -> np.ndarray:
    """Up to `number` discs that do not overlap, numbered from 1 as they were drawn."""
    generator = np.random.default_rng(seed)
    mask, grid, drawn = np.zeros((side, side), np.uint16), np.indices((side, side)), 0
    while drawn < number:
        y, x, r = *generator.uniform(10, side - 10, 2), generator.uniform(*radius)
        inside = (grid[0] - y) ** 2 + (grid[1] - x) ** 2 < r * r
        if not mask[ndimage.binary_dilation(inside)].any():
            drawn += 1
            mask[inside] = drawn
    return mask


def blobs(seed: int, side: int = 96) -> np.ndarray:
    """A binary mask of 0 and 255 with round objects."""
    return ((discs(seed, 4, radius=(8, 14), side=side) > 0) * 255).astype(np.uint8)


@pytest.mark.parametrize("numbers", [(2, 3, 4, 5, 3, 5), (30, 30, 30, 30), (12, 40, 25, 31), (75, 80, 90)])
def test_values_that_number_objects_are_one_class(tmp_path: Path, numbers: tuple[int, ...]) -> None:
    masks = [discs(seed, number, radius=(3, 5)) for seed, number in enumerate(numbers)]
    found = find_labels(save(tmp_path, masks))
    assert found.labels == OBJECT
    assert f"instance maps: {max(numbers)} values, each one component" in found.remarks[0]
    assert "instances of one class 'object'" in found.remarks[0]


def test_objects_whose_numbers_have_gaps_are_one_class(tmp_path: Path) -> None:
    masks = [discs(seed, 30, radius=(3, 5)) * 7 for seed in range(4)]
    assert find_labels(save(tmp_path, masks)).labels == OBJECT


def organs(seed: int, number: int) -> np.ndarray:
    """Rows of boxes, the n-th n times as wide in every mask, a little larger or smaller."""
    mask = np.zeros((8 * number + 8, 8 * number + 8), np.uint8)
    size = np.random.default_rng(seed).uniform(0.8, 1.2)
    for value in range(1, number + 1):
        mask[8 * value : 8 * value + 6, 2 : 2 + round(size * 6 * value)] = value
    return mask


@pytest.mark.parametrize(
    "masks",
    [
        [organs(seed, 3) for seed in range(6)],  # the same three in each, as in the heart
        [organs(seed, 3 + seed % 3) for seed in range(9)],  # as many as are in the field of view
        [organs(seed, 30) for seed in range(4)],
        [discs(seed, 1 + seed % 2) for seed in range(8)],  # a second one now and then
        [np.where(discs(seed, 2 + seed % 4) > 0, 1 + np.indices((128, 128))[1] % 3, 0) for seed in range(8)],
    ],
    ids=["same", "nested", "many", "two", "scattered"],
)
def test_classes_stay_classes(tmp_path: Path, masks: list[np.ndarray]) -> None:
    used = np.unique(np.concatenate([mask.ravel() for mask in masks]))[1:]
    found = find_labels(save(tmp_path, [mask.astype(np.uint8) for mask in masks]))
    names = tuple(f"class-{value}" for value in used)
    assert found.labels == Labels(names=names, values=tuple((int(value),) for value in used))
    assert bool(found.remarks) == (len(used) == 2)  # which may be objects: the sizes do not tell


def test_as_many_objects_in_every_mask_are_objects_and_doubt_is_said_with_the_lines_that_settle_it(
    tmp_path: Path,
) -> None:
    masks = [discs(seed, 4).astype(np.uint8) for seed in range(6)]
    assert find_labels(save(tmp_path / "six", masks)).labels == OBJECT
    few = find_labels(save(tmp_path / "data/masks", masks[:3]))
    assert few.labels is not None
    assert len(few.labels.names) == 4
    assert "read as 4 classes; if they number objects, write 'others = \"object\"'" in few.remarks[0]
    save(tmp_path / "data/images", masks[:3])
    (tmp_path / "data/scantling.toml").write_text('others = "object"\nclasses = { nucleus = 1 }\n')
    dataset = open_dataset(tmp_path / "data")
    assert dataset.labels == Labels(names=("nucleus",), values=((1,),), others="object")
    sample = dataset[0].load()
    assert sample.instances is not None
    assert sample.mask is not None
    assert np.array_equal(sample.mask[0] == 1, sample.instances > 0)
    assert sample.instances.max() == 4


def test_masks_in_a_folder_of_instances_number_objects_even_if_there_is_one(tmp_path: Path) -> None:
    found = find_labels(save(tmp_path / "instances", [discs(0, 3).astype(np.uint8)]))
    assert found.labels == OBJECT
    assert "3 values, in a folder that is called after objects; read as instances" in found.remarks[0]


def test_a_component_may_turn_a_corner_and_a_torn_one_is_two() -> None:
    assert in_one_piece(np.array([[1, 0, 2], [0, 1, 2], [3, 0, 0]]))
    assert not in_one_piece(np.array([[1, 0, 2], [0, 0, 2], [3, 0, 1]]))


def test_every_number_of_an_object_is_its_class_and_below_zero_is_an_error() -> None:
    array = np.array([[0, 1, 70000], [255, 9, 0]])
    assert (encode(array, OBJECT, "m")[0] == (array > 0)).all()
    assert unknown_values(np.array([[-3, 0, 4]]), OBJECT) == [-3]
    with pytest.raises(DataError, match="-3"):
        encode(np.array([[-3, 0, 4]]), OBJECT, "m")


def half(mask: np.ndarray) -> Image.Image:
    return Image.fromarray(mask).resize((mask.shape[1] // 2, mask.shape[0] // 2), Image.Resampling.BILINEAR)


DAMAGE = {
    "halved": half,
    "doubled": lambda mask: Image.fromarray(mask[::2, ::2]).resize(mask.shape[::-1], Image.Resampling.BILINEAR),
    "bicubic": lambda mask: Image.fromarray(mask[::2, ::2]).resize(mask.shape[::-1], Image.Resampling.BICUBIC),
    "blurred": lambda mask: Image.fromarray(mask).filter(ImageFilter.GaussianBlur(1.5)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_the_class_of_grey_masks_is_their_upper_peak_and_half_way_belongs_to_it(tmp_path: Path, damage: str) -> None:
    damaged = [np.asarray(DAMAGE[damage](blobs(seed))) for seed in range(4)]
    found = find_labels(save(tmp_path, damaged))
    assert found.labels == Labels(names=("foreground",), values=((255,),), others="nearest")
    assert "threshold = 128" in found.remarks[0]
    assert all((encode(mask, found.labels, "m")[0] == (mask >= 128)).all() for mask in damaged)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_masks_that_were_jpeg_are_grey_masks(tmp_path: Path, suffix: str) -> None:
    masks = [blobs(seed) for seed in range(4)]
    places = save(tmp_path / "jpeg", masks, suffix=".jpg")
    damaged = [np.asarray(Image.open(place.path)) for place in places]
    found = find_labels(places if suffix == ".jpg" else save(tmp_path / "png", damaged))
    assert found.labels is not None
    assert (found.labels.values, found.labels.others) == (((255,),), "nearest")
    for mask, grey in zip(masks, damaged, strict=True):
        assert (encode(grey, found.labels, "m")[0] == (mask > 0)).mean() > 0.995


def test_thin_lines_that_were_halved_are_grey_masks(tmp_path: Path) -> None:
    masks = []
    for seed in range(4):
        angle = np.random.default_rng(seed).uniform(0.2, 1.2)
        grid = np.indices((96, 96))
        along = np.cos(angle) * grid[0] + np.sin(angle) * grid[1]
        masks.append(np.asarray(half(((along % 24 < 3.5) * 255).astype(np.uint8))))
    found = find_labels(save(tmp_path, masks)).labels
    assert found is not None
    assert (found.values, found.others) == (((255,),), "nearest")


def test_grey_masks_of_several_classes_have_a_peak_for_each(tmp_path: Path) -> None:
    masks = [np.minimum(discs(seed, 4, radius=(9, 14)), 2).astype(np.uint8) * 120 for seed in range(4)]
    found = find_labels(save(tmp_path, [np.asarray(half(mask)) for mask in masks]))
    expected = Labels(names=("class-120", "class-240"), values=((120,), (240,)), others="nearest")
    assert found.labels == expected
    assert "declare 'classes'" in found.remarks[0]


def test_a_class_that_only_clean_masks_have_is_a_peak_too(tmp_path: Path) -> None:
    masks = [np.asarray(half(blobs(seed))) for seed in range(3)]
    found = find_labels(save(tmp_path, [*masks, *(blobs(seed) // 255 * 100 for seed in (3, 4, 5))])).labels
    assert found == Labels(names=("class-100", "class-255"), values=((100,), (255,)), others="nearest")


def test_a_drawn_border_between_background_and_inside_stays_a_class(tmp_path: Path) -> None:
    masks = []
    for seed in range(4):
        inside = blobs(seed) > 0
        masks.append((127 * inside + 127 * ndimage.binary_erosion(inside)).astype(np.uint8))
    assert find_labels(save(tmp_path, masks)) == FoundLabels(
        Labels(names=("class-127", "class-254"), values=((127,), (254,)))
    )


@pytest.mark.parametrize("blur", [0, 1, 3])
def test_images_are_no_grey_masks(tmp_path: Path, blur: float) -> None:
    noise = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=(96, 96)), blur)
    image = (255 * (noise - noise.min()) / np.ptp(noise)).astype(np.uint8)
    image[:30], image[-9:] = 0, 255
    with pytest.raises(DataError, match="'threshold'"):
        find_labels(save(tmp_path, [image]))


def test_an_image_among_grey_masks_is_named(tmp_path: Path) -> None:
    image = ndimage.gaussian_filter(np.random.default_rng(1).integers(0, 256, (48, 48)), 1).astype(np.uint8)
    with pytest.raises(DataError, match=r"05\.png: \d+% of the pixels .* none of the values 0, 255"):
        find_labels(save(tmp_path, [*(np.asarray(half(blobs(seed))) for seed in range(5)), image]))


def soft(seed: int) -> np.ndarray:
    """A mask of 0 and 1 that was resampled to fractions."""
    return ndimage.zoom((blobs(seed)[::2, ::2, None] > 0).repeat(4, axis=2).astype(np.float32), (2, 2, 1), order=1)


def test_fractions_between_classes_are_the_nearest_and_a_threshold_is_offered(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for seed in range(4):
        image = np.random.default_rng(seed).normal(size=(96, 96, 4)).astype(np.float32)
        for kind, array in (("images", image), ("masks", soft(seed))):
            nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / kind / f"{seed}.nii.gz")
    opened = open_dataset(tmp_path)
    assert opened.labels == Labels(names=("foreground",), values=((1,),), others="nearest")
    report = check(opened)
    assert not report.of("error")
    (sentence,) = [finding.sentence for finding in report.of("warning")]
    assert "fractions" in sentence
    assert "threshold = 0.5" in sentence
    for threshold in (None, 0.25):
        if threshold:
            (tmp_path / "scantling.toml").write_text(f"threshold = {threshold}\n")
            opened = open_dataset(tmp_path)
            assert not check(opened).of("warning")
        for case in opened.cases:
            read = load(case, labels=opened.labels, reads=("mask",)).masks[0][0]
            drawn = soft(int(case.id))
            assert (read == (drawn >= threshold if threshold else drawn > 0.5)).all()


def test_a_map_of_probabilities_is_no_mask_with_fractions(tmp_path: Path) -> None:
    array = np.random.default_rng(0).uniform(size=(16, 16, 3)).astype(np.float32)
    nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(DataError, match=r"a\.nii\.gz: \d+% of the pixels .* no whole numbers .*'threshold'"):
        find_labels([Address(tmp_path / "a.nii.gz")])


def test_of_one_and_two_without_zero_one_is_background(tmp_path: Path) -> None:
    masks = [(blobs(seed) > 0).astype(np.uint8) + 1 for seed in range(4)]
    found = find_labels(save(tmp_path / "tool", masks))
    assert found.labels == Labels(names=("foreground",), values=((2,),), background=(0, 1))
    assert "1 is read as background" in found.remarks[0]
    assert "classes = {" in found.remarks[0]
    masks[0] = masks[0] * (masks[0] > 1)
    assert find_labels(save(tmp_path / "zero", masks)) == FoundLabels(
        Labels(names=("class-1", "class-2"), values=((1,), (2,)))
    )


def dataset(root: Path, masks: list[np.ndarray]) -> Path:
    generator = np.random.default_rng(0)
    save(root / "images", [generator.integers(0, 255, mask.shape, dtype=np.uint8) for mask in masks])
    save(root / "masks", masks)
    return root


def test_check_says_how_masks_are_read_and_cases_load_that_way(tmp_path: Path) -> None:
    masks = [discs(seed, 2 + seed % 4) for seed in range(8)]
    opened = open_dataset(dataset(tmp_path, masks))
    report = check(opened)
    assert [finding.kind for finding in report.of("warning")] == ["label values"]
    assert not report.of("error")
    assert "instance maps: 5 values" in report.text()
    assert opened.label_source.remarks == (), "no mask was read for it yet"
    for case, mask in zip(opened.cases, masks, strict=True):
        assert (load(case, labels=opened.labels, reads=("mask",)).masks[0][0] == (mask > 0)).all()
    assert len(opened.label_source.remarks) == len(join([opened]).label_source.remarks) == 1


def test_instance_maps_are_the_instances_of_their_cases_too(tmp_path: Path) -> None:
    masks = [discs(seed, 2 + seed % 4) for seed in range(8)]
    opened = open_dataset(dataset(tmp_path, masks))
    report = check(opened)
    assert report.summary.holds["instances"] == 8
    assert not report.of("error")
    for case, mask in zip(opened.with_instances(opened.labels).cases, masks, strict=True):
        assert (load(case, reads=("instances",)).instances == mask).all()
    plain = open_dataset(dataset(tmp_path / "plain", [blobs(seed) for seed in range(3)]))
    assert not any(case.instances for case in plain.with_instances(plain.labels).cases)


def test_declared_values_are_never_read_in_another_way(tmp_path: Path) -> None:
    masks = [discs(seed, 2 + seed % 4) for seed in range(8)]
    root = dataset(tmp_path, masks)
    listed = ", ".join(f"c{value} = {value}" for value in range(1, 6))
    (root / "scantling.toml").write_text(
        f"classes = {{{listed}}}\n[[group]]\npattern = 'images/{{id}}.png'\nmasks = 'masks/{{id}}.png'\n"
    )
    opened = open_dataset(root)
    assert opened.labels is not None
    assert opened.labels.others == "error"
    assert len(opened.labels.names) == 5
    assert opened.label_source.remarks == ()


def test_instance_maps_join_binary_masks_but_not_values_to_ignore() -> None:
    binary = Labels(names=("nucleus",), values=((255,),))
    merged = merge_labels([(OBJECT, True), (binary, False)])
    assert merged == binary.model_copy(update={"others": "object"})
    with pytest.raises(DataError, match="number objects"):
        merge_labels([(OBJECT, True), (binary.model_copy(update={"ignore": 7}), False)])


def test_pixels_are_counted_by_value() -> None:
    array = np.random.default_rng(0).integers(-4, 9, (7, 6, 5))
    for scale in (1, 1 << 22):
        found = ValueCounts.of(array * scale)
        values, counts = np.unique(array * scale, return_counts=True)
        assert (found.values == values).all()
        assert (found.counts == counts).all()
    assert not len(ValueCounts.of(np.zeros((0, 3), np.int32)).values)
