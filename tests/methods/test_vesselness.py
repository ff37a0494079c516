"""Vesselness: bars whose truth is known, thresholds by share, dark frames, and a training without a step."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from rich.console import Console

from made import write
from scantling.contract.method import build
from scantling.contract.step import Inference
from scantling.core.case import Labels
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch, Intensity, Traits
from scantling.inference.prediction import predict
from scantling.mending.dark_border import inside_dark_border
from scantling.methods.without_labels.vesselness import Vesselness, VesselnessSettings
from scantling.records.run_folder import identity_of, load_model
from scantling.training import Options, train

COLOUR = ("red", "green", "blue")
NOW = Inference(seed=0)


def traits(
    *, dimensions: Literal[2, 3] = 2, channels: tuple[str, ...] = ("grey",), low: float = 0.0, **others: Any
) -> Traits:
    one = Intensity(mean=100, std=30, low=10, high=240, minimum=low, maximum=255)
    shape, spacing = (48,) * dimensions, (1.0,) * dimensions
    facts = {"spacing": spacing, "shape": shape, "smallest": shape, "intensity": (one,) * len(channels), **others}
    return Traits(dimensions=dimensions, channels=channels, **facts)


def vesselness(of: Traits, **settings: Any) -> Vesselness:
    method = build(Vesselness, VesselnessSettings(**settings).resolve(of), of)
    assert isinstance(method, Vesselness)
    return method


def batch(image: np.ndarray, region: np.ndarray | None = None) -> Batch:
    """One image (C, *S)."""
    fields = {"image": torch.from_numpy(image[None].astype(np.float32))}
    if region is not None:
        fields["region"] = torch.from_numpy(region[None, None])
    return Batch(torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64), fields)


def probabilities(method: Vesselness, *given: np.ndarray) -> np.ndarray:
    answer = method.segment(batch(*given), NOW).probabilities
    assert answer is not None
    return answer[0, 0].numpy()


def bars(shape: tuple[int, ...] = (64, 70)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[..., 20:23, :] = mask[..., 44:48, :] = True
    if len(shape) == 3:
        mask[: shape[0] // 2 - 1] = mask[shape[0] // 2 + 2 :] = False
    return mask


@pytest.mark.parametrize("kind", ["sato", "frangi", "meijering"])
def test_dark_bars_are_found(kind: str) -> None:
    mask = bars()
    image = np.where(mask, 60.0, 160.0) + np.random.default_rng(0).normal(0, 3, mask.shape)
    found = probabilities(vesselness(traits(), filter=kind, share=float(mask.mean())), image[None]) > 0.5
    assert 2 * (found & mask).sum() / (found.sum() + mask.sum()) > 0.8


def test_bright_bars_are_found_in_volumes() -> None:
    mask = bars((15, 64, 40))
    image = np.where(mask, 160.0, 60.0)
    method = vesselness(traits(dimensions=3), scales=(1.0, 2.0))
    assert (method.settings.dark, method.settings.rule) == (False, "otsu")
    found = probabilities(method, image[None]) > 0.5
    assert 2 * (found & mask).sum() / (found.sum() + mask.sum()) > 0.7


@pytest.mark.parametrize("share", [0.05, 0.12])
def test_the_share_of_the_region_is_taken(share: float) -> None:
    generator = np.random.default_rng(1)
    image, region = generator.uniform(50, 200, (1, 80, 90)), np.zeros((80, 90), bool)
    region[10:70, 5:80] = True
    found = probabilities(vesselness(traits(), share=share), image, region) > 0.5
    assert abs(found.sum() - share * region.sum()) <= 1
    assert not found[~region].any()


@pytest.mark.parametrize("rule", ["share", "otsu"])
def test_probabilities_keep_the_order_of_the_responses(rule: str) -> None:
    image = np.random.default_rng(2).uniform(50, 200, (1, 50, 60))
    method = vesselness(traits(), rule=rule)
    response, _ = method._looked(batch(image), 0)
    by_response = probabilities(method, image).ravel()[np.argsort(response, axis=None)]
    assert (np.diff(by_response) >= 0).all()
    assert 0 <= by_response[0] <= by_response[-1] <= 1


def test_a_flat_image_has_no_vessel() -> None:
    for rule in ("share", "connected", "otsu"):
        assert not probabilities(vesselness(traits(), rule=rule), np.full((1, 40, 40), 7.0)).any()


def test_the_green_channel_is_looked_at_unless_another_is_named() -> None:
    image = np.full((3, 64, 70), 120.0)
    image[1][bars()] = 60
    of = traits(channels=COLOUR)
    assert probabilities(vesselness(of), image).any()
    assert not probabilities(vesselness(of, channel="red"), image).any()
    assert vesselness(traits(channels=("t1", "t2"))).settings.channel == "t1"
    with pytest.raises(SettingsError, match="one of the images' channels: red, green, blue"):
        vesselness(of, channel="grey")


def test_values_below_zero_are_no_light() -> None:
    assert vesselness(traits(low=-1000)).settings.ratios is False
    image = np.where(bars(), -400.0, 100.0)[None]
    assert probabilities(vesselness(traits(low=-1000)), image).any()
    with pytest.raises(SettingsError, match="light is never negative"):
        vesselness(traits(low=-1000), ratios=True)


def test_a_class_of_the_data_keeps_its_name() -> None:
    named = Labels(names=("artery",), values=((1,),))
    assert vesselness(traits(labels=named)).traits.classes == ("artery",)
    assert vesselness(traits()).traits.classes == ("vessel",)


def test_volumes_are_looked_at_on_cubes_of_the_size_of_their_voxels() -> None:
    spacing = vesselness(traits(dimensions=3, spacing=(4.0, 1.0, 2.0))).preprocessing.spacing
    assert spacing == pytest.approx((2.0, 2.0, 2.0))
    assert vesselness(traits()).preprocessing.spacing is None


def test_a_dark_frame_is_found_and_a_dark_vessel_is_none() -> None:
    rows, columns = np.indices((200, 220))
    field = np.hypot(rows - 100, columns - 110) < 90
    image = np.where(field, 150.0, 3.0)
    image[95:103, 20:200] = 5  # a black vessel from one edge of the field to the other
    found = inside_dark_border(image, thin=20)
    assert (found & field).sum() / (found | field).sum() > 0.97
    assert found[98, 110]
    odd = image.copy()
    odd[100, 110] = -1000  # a dead pixel
    assert np.array_equal(inside_dark_border(odd, thin=20), found)
    assert inside_dark_border(np.where(np.abs(rows - 50) < 4, 0.0, 100.0), thin=20).all()
    assert inside_dark_border(np.full((30, 30), 5.0), thin=20).all()
    lit = np.zeros((100, 100))
    lit[40:60, 40:60] = 1  # little on black ground: that is the picture
    assert inside_dark_border(lit, thin=5).all()
    with pytest.raises(SettingsError, match="thin: found 0; expected a number above 0"):
        inside_dark_border(lit, thin=0)


def test_the_edge_of_a_field_that_nobody_named_is_no_vessel() -> None:
    rows, columns = np.indices((200, 200))
    field = np.hypot(rows - 100, columns - 100) < 90
    image = np.where(field, 150.0, 3.0)
    image[97:101, 60:140] = 80
    found = probabilities(vesselness(traits(), share=0.01), image[None]) > 0.5
    assert found[98:100, 65:135].all()
    assert not found[np.hypot(rows - 100, columns - 100) > 60].any()


def test_it_is_trained_without_a_step_and_without_a_mask(tmp_path: Path) -> None:
    data = tmp_path / "data"
    image = np.where(bars(), 60, 160).astype(np.uint8)
    for number in range(5):
        write(data / "images", f"case{number}", image)
        write(data / "masks", f"case{number}", np.full_like(image, 7 + number))  # nobody could read these
    quiet = Console(quiet=True)
    facts = train("vesselness", [data], tmp_path / "run", Options(), console=quiet)
    assert facts["steps"] == 0
    assert facts["finished"]
    assert train("vesselness", [data], tmp_path / "run", Options(), console=quiet)["finished"] == facts["finished"]
    train("vesselness", [data], tmp_path / "other", Options(settings={"share": 0.2}), console=quiet)
    assert identity_of(tmp_path / "run") != identity_of(tmp_path / "other")
    assert load_model(tmp_path / "other").settings.share == 0.2
    done = predict(tmp_path / "run", data / "images", out=tmp_path / "masks", probabilities=True)
    assert (len(done.cases), done.failed) == (5, [])
