"""The plan follows from the traits: how thick objects are decides the grid, the shape of the images the rest."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest

from scantling import planning
from scantling.core.case import Labels
from scantling.core.errors import SettingsError
from scantling.core.samples import Intensity, Thickness, Traits
from scantling.methods.supervised.unet_settings import UNetSettings

ANY = Intensity(mean=0, std=1, low=0, high=255, minimum=0, maximum=255)


def traits(shape: tuple[int, ...], *thickness: tuple[float, float], **changes: Any) -> Traits:
    """Traits of images of this shape with classes of (90th percentile, local) thickness."""
    facts: dict[str, Any] = {
        "dimensions": len(shape), "channels": ("grey",), "shape": shape, "smallest": shape,
        "labels": Labels(names=tuple("abc"[: len(thickness)]), values=((1,), (2,), (3,))[: len(thickness)]),
        "spacing": (1.0,) * len(shape), "unit": "pixel", "intensity": (ANY,), "labelled": 60,
        "thickness": tuple(
            Thickness(low=high / 3, median=high / 2, high=high, local=local, spread=0.4, relative_spread=0.4, number=1)
            for high, local in thickness
        ),
    }  # fmt: skip
    return Traits.model_validate(facts | changes)


@pytest.mark.parametrize("high", [3.0, 20.0, 60.0, 126.0, 500.0])
@pytest.mark.parametrize("shape", [(255, 384), (90, 120), (1000, 1000)])
def test_images_are_shrunk_until_objects_fit_and_no_further(shape: tuple[int, int], high: float) -> None:
    grid = planning.Grid.of(traits(shape, (high, 0.6 * high)), 128 * 128)
    fits = grid.whole or grid.thick * 4 <= 128 or grid.fine * planning.STEP < 1.03 * planning.FINE[2]
    assert fits
    assert grid.shrink >= 1
    finer = planning.Grid.of(traits(shape, (high, 0.6 * high)), 128 * 128, spacing=[grid.shrink / 1.03] * 2)
    assert grid.shrink == 1 or not (finer.whole or finer.thick * 4 <= 128)


def test_thin_structures_keep_full_resolution() -> None:
    assert planning.Grid.of(traits((584, 565), (15, 3.5)), 128 * 128).shrink == 1
    assert planning.Grid.of(traits((1024, 1024), (90, 3.5)), 128 * 128).shrink == 1  # a lake among threads


def test_thin_beside_thick_takes_the_finer_grid_and_the_larger_patch() -> None:
    alone = UNetSettings.preset("quick").resolve(traits((1024, 1024), (15, 4)))
    mixed = UNetSettings.preset("quick").resolve(traits((1024, 1024), (15, 4), (300, 180)))
    assert mixed.spacing is None
    assert mixed.patch is not None
    assert alone.patch is not None
    assert math.prod(mixed.patch) > 1.5 * math.prod(alone.patch)
    assert mixed.batch is not None
    assert mixed.batch < 8


def test_the_proportions_of_images_are_kept() -> None:
    settings = UNetSettings.preset("quick").resolve(traits((255, 384), (126, 80)))
    assert settings.spacing is None
    assert settings.longest is not None
    assert settings.longest < 128  # 12 pixels of local thickness are enough for a short training
    assert settings.longest**2 * 255 / 384 >= 64 * 64
    finer = UNetSettings.preset("quick", {"across": 80}).resolve(traits((255, 384), (126, 80)))
    assert finer.longest == 164  # as small as one patch needs
    many = traits((255, 384), (126, 80))
    many = many.model_copy(
        update={"thickness": tuple(one and one.model_copy(update={"number": 9}) for one in many.thickness)}
    )
    assert UNetSettings.preset("quick").resolve(many).longest == 164  # many objects are told by their texture too
    assert settings.patch is not None
    assert settings.patch[1] / settings.patch[0] == pytest.approx(384 / 255, rel=0.15)


def test_pictures_whose_objects_grow_with_them_go_by_their_longest_side() -> None:
    varied = Thickness(low=80, median=150, high=340, local=100, spread=0.5, relative_spread=0.3)
    facts = traits((600, 700), (340, 100)).model_copy(update={"thickness": (varied,)})
    settings = UNetSettings.preset("quick").resolve(facts)
    assert settings.spacing is None
    assert settings.longest is not None
    assert settings.longest < 200
    crops = facts.model_copy(update={"thickness": (varied.model_copy(update={"spread": 0.2}),)})
    assert UNetSettings.preset("quick").resolve(crops).spacing is not None
    in_mm = facts.model_copy(update={"unit": "mm"})
    assert UNetSettings.preset("quick").resolve(in_mm).longest is None  # spacing is known: objects have a size


@pytest.mark.parametrize("length", [*range(1, 40), 111, 157, 255, 384, 1000])
def test_sides_can_be_halved_until_they_are_four_to_seven(length: int) -> None:
    side = planning.halvable(length)
    assert side == pytest.approx(length, rel=0.13)
    while side > 7:
        assert side % 2 == 0
        side //= 2
    assert length < 4 or 4 <= side <= 7


@pytest.mark.parametrize(
    ("patch", "spacing"),
    [((128, 128), (1, 1)), ((112, 160), (1, 1)), ((96, 96, 96), (1, 1, 1)), ((20, 192, 160), (5, 1, 1))],
)
def test_the_deepest_map_is_four_to_eight_wide(patch: tuple[int, ...], spacing: tuple[float, ...]) -> None:
    strides, kernels = planning.levels_of(patch, spacing)
    deepest = [n / math.prod(stride[axis] for stride in strides) for axis, n in enumerate(patch)]
    assert all(4 <= n < 8 for n in deepest)
    assert len(kernels) == len(strides) + 1
    for above, below in itertools.pairwise(kernels):
        assert all(a <= b for a, b in zip(above, below, strict=True))  # flat kernels come first


def test_an_image_too_small_to_be_halved_still_has_two_levels() -> None:
    strides, kernels = planning.levels_of((5, 6, 7), (1.0, 1.0, 1.0))
    assert strides == [(1, 1, 1)]
    assert kernels == [(3, 3, 3)] * 2


def test_coarse_axes_wait_and_their_kernels_are_flat() -> None:
    strides, kernels = planning.levels_of((20, 192, 160), (5.0, 1.0, 1.0))
    assert strides[:2] == [(1, 2, 2), (1, 2, 2)]
    assert kernels[0] == (1, 3, 3)
    assert kernels[-1] == (3, 3, 3)


def test_a_few_patches_are_augmented_more_than_many() -> None:
    few = UNetSettings.preset("quick").resolve(traits((128, 128), (50, 30), labelled=40))
    many = UNetSettings.preset("quick").resolve(traits((128, 128), (50, 30), labelled=4000))
    assert (few.rotation or 0) > (many.rotation or 0)
    assert (few.dropout or 0) > (many.dropout or 0)


def test_what_is_given_is_kept() -> None:
    given = UNetSettings.preset(
        "quick", {"spacing": (2.0, 2.0), "patch": (64, 64), "widths": (8, 16), "rotation": 5, "batch": 3}
    )
    settings = given.resolve(traits((255, 384), (126, 80)))
    for name in ("spacing", "patch", "widths", "rotation", "batch"):
        assert getattr(settings, name) == getattr(given, name)


@pytest.mark.parametrize("given", [{"spacing": (1.0, 1.0)}, {"patch": (128, 128)}, {"longest": 1024}])
def test_a_grid_or_patch_that_is_given_changes_neither_batch_nor_patch(given: dict[str, Any]) -> None:
    settings = UNetSettings.preset("quick", given).resolve(traits((1024, 1024), (15, 4), (300, 180)))
    assert (settings.patch, settings.batch) == ((128, 128), 8)


def test_the_plan_is_explained_in_one_line() -> None:
    facts = traits((255, 384), (126, 80))
    (line,) = UNetSettings.preset("quick", {"across": 80}).resolve(facts).explain(facts)
    assert line.startswith("images shrunk 2.3x, so that the whole image fits one patch of 112 x 160")
    assert "126 pixels" in line


def test_a_reason_is_given_only_where_it_holds() -> None:
    facts = traits((1024, 1024), (300, 9))  # shrunk until the thin class has 6 pixels, long before objects fit
    (line,) = UNetSettings.preset("quick").resolve(facts).explain(facts)
    assert "shrunk 1.5x, in patches of" in line
    facts = traits((1000, 1000), (60, 40))
    (line,) = UNetSettings.preset("quick").resolve(facts).explain(facts)
    assert "so that objects fit the patch of 128 x 128" in line
    facts = traits((255, 384), (126, 80))
    (line,) = UNetSettings.preset("quick", {"size": 64}).resolve(facts).explain(facts)
    assert line == "images resampled to 64 x 64, whatever their proportions"
    facts = traits((128, 128), (50, 30))
    (line,) = UNetSettings.preset("quick", {"longest": 192, "pixels": 192**2}).resolve(facts).explain(facts)
    assert line.startswith("images enlarged 1.5x; the whole image fits one patch of 192 x 192")


def test_volumes_of_unknown_spacing_keep_their_own_pixels() -> None:
    settings = UNetSettings.preset("quick").resolve(traits((40, 40, 40), (12, 8)))
    assert settings.longest is None
    assert settings.spacing == (1, 1, 1)


def test_without_thickness_the_plan_is_that_of_the_shape() -> None:
    facts = traits((255, 384), (126, 80)).model_copy(update={"thickness": ()})
    settings = UNetSettings.preset("quick").resolve(facts)
    assert settings.spacing is None
    assert settings.patch == (128, 128)


@pytest.mark.parametrize(
    ("median", "fine", "shape", "target"),
    [
        ((1, 1, 5), (0.8, 0.8, 3), (256, 256, 20), (1, 1, 3)),  # coarse: the 10th percentile
        ((1, 1, 5), (0.8, 0.8, 0.5), (256, 256, 20), (1, 1, 1)),  # no finer than the others
        ((1, 1, 3), (0.8, 0.8, 2), (256, 256, 20), (1, 1, 3)),  # not over three times as coarse
        ((1, 1, 5), (0.8, 0.8, 3), (256, 256, 90), (1, 1, 5)),  # as many voxels along it as elsewhere
        ((1, 1, 5), (), (256, 256, 20), (1, 1, 5)),  # a model of an earlier version
    ],
)
def test_a_coarse_axis_of_volumes_has_the_grid_of_nnunet(
    median: tuple[float, ...], fine: tuple[float, ...], shape: tuple[int, ...], target: tuple[float, ...]
) -> None:
    of = traits(shape, (30, 20), spacing=median, fine_spacing=fine, unit="mm")
    assert planning.target_spacing(of) == target
    grid = planning.Grid.of(of, 64**3)
    assert grid.spacing[2] >= target[2]
    assert grid.shape[2] == round(shape[2] * median[2] / grid.spacing[2])


@pytest.mark.parametrize("shape", [(512, 512), (128, 128, 128)])
def test_dice_is_over_all_patches_of_a_step_where_most_of_them_lack_a_class(shape: tuple[int, ...]) -> None:
    """One ball in an image: a patch that covers p of it holds p of it on average, and misses it with e^-p."""
    d, pixels = 20.0, math.prod(shape)
    share = {2: math.pi / 4, 3: math.pi / 6}[len(shape)] * d ** len(shape) / pixels
    for objects, dice_over in ((1, "batch"), (400, "sample")):
        known = Thickness(low=d, median=d, high=d, local=d)
        of = traits(shape, (d, d), foreground=(objects * share,), thickness=(known,))
        settings = UNetSettings.preset("quick").resolve(of)
        assert settings.dice_over == dice_over
        assert any("most patches lack a" in line for line in settings.explain(of)) == (dice_over == "batch")
    assert UNetSettings.preset("quick", {"dice_over": "sample"}).resolve(of).dice_over == "sample"


@pytest.mark.parametrize(
    ("side", "present", "dice_over"), [(128, 0.35, "batch"), (128, 0.6, "sample"), (512, 0.35, "batch")]
)
def test_images_without_the_class_are_patches_that_lack_it(side: int, present: float, dice_over: str) -> None:
    """Slices of brains: where there is a tumour it is large, and most slices have none."""
    known = Thickness(low=20.0, median=24.0, high=30.0, local=20.0, present=present)
    of = traits((side, side), (30.0, 20.0), foreground=(0.02 * present * 4,), thickness=(known,))
    assert UNetSettings.preset("quick").resolve(of).dice_over == dice_over


def test_volumes_read_as_slices_are_planned_as_the_pictures_that_their_slices_are() -> None:
    volumes = traits(
        (10, 128, 112), (20.0, 9.0), spacing=(8.0, 1.0, 1.0), slice_axis=0, unit="mm", mirrored=(False, False, True),
        labelled=6,
    )  # fmt: skip
    pictures = traits((128, 112), (20.0, 9.0), unit="mm", mirrored=(False, True), labelled=60)
    assert volumes.slices() == pictures.slices() == pictures
    read_as_slices = UNetSettings.preset("quick", {"dimensions": 2}).resolve(volumes)
    as_pictures = UNetSettings.preset("quick", {"dimensions": 2}).resolve(pictures)
    assert read_as_slices == as_pictures
    assert len(read_as_slices.patch or ()) == 2
    with pytest.raises(SettingsError, match=r"--settings\.dimensions 3: expected volumes, found pictures"):
        UNetSettings.preset("quick", {"dimensions": 3}).resolve(pictures)
