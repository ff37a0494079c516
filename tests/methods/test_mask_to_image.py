"""Images of masks: where the label map enters, what no map is, and what guidance does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from commands import command
from scantling.contract.method import build
from scantling.contract.step import Step
from scantling.core.case import Labels
from scantling.core.errors import ArrayError, SettingsError
from scantling.core.fields import IGNORE
from scantling.core.samples import Batch, Intensity, Traits
from scantling.methods.generation.mask_to_image import MaskToImage
from scantling.networks.denoiser import Denoiser
from scantling.networks.spade import SpadeNorm
from scantling.testing.data import make_data

FACTS = Intensity(mean=0, std=1, low=0, high=1, minimum=0, maximum=255)
TWO = Labels(names=("organ", "lesion"), values=((1,), (2,)))


def painter(labels: Labels = TWO, **settings: Any) -> MaskToImage:
    traits = Traits(
        dimensions=2, channels=("image",), spacing=(1.0, 1.0), shape=(8, 8), smallest=(8, 8), intensity=(FACTS,),
        labels=labels, labelled=3,
    )  # fmt: skip
    method = build(MaskToImage, MaskToImage.Settings.preset("tiny", settings).resolve(traits), traits).eval()
    with torch.no_grad():  # what starts at zero says nothing
        for parameter in method.parameters():
            parameter.add_(
                0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
            )
    return method


def batch(mask: torch.Tensor) -> Batch:
    none = torch.zeros(len(mask), dtype=torch.int64)
    return Batch(none, none, {"image": torch.zeros(len(mask), 1, 8, 8), "mask": mask})


def test_a_norm_hears_a_label_map_that_is_constant() -> None:
    torch.manual_seed(0)
    norm, h = SpadeNorm(4, labels=2, hidden=3), torch.randn(1, 4, 6, 6)
    one, other = (norm(h, torch.full((1, 2, 6, 6), value)) for value in (0.0, 1.0))
    assert (one - other).abs().mean() > 0.01


def test_the_encoder_never_sees_the_label_map_and_the_answer_follows_it() -> None:
    torch.manual_seed(0)
    network = Denoiser(1, 1, widths=(4, 8), blocks=1, labels=2, hidden=3)
    for parameter in network.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    seen = list[torch.Tensor]()
    network.down[-1].register_forward_hook(lambda module, inputs, out: seen.append(out))
    x, time = torch.randn(1, 1, 9, 7), torch.tensor([3])
    maps = [torch.zeros(1, 2, 9, 7), torch.rand(1, 2, 9, 7)]
    answers = [network(x, time, labels=each) for each in maps]
    assert torch.equal(*seen)
    assert not torch.allclose(*answers)
    for wrong in (None, torch.zeros(1, 3, 9, 7), torch.zeros(1, 2, 8, 7)):
        with pytest.raises(ArrayError, match="labels"):
            network(x, time, labels=wrong)


def test_the_label_map_has_a_plane_for_each_class_and_what_nobody_knows_is_in_none() -> None:
    mask = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    mask[..., 0], mask[..., 1], mask[..., 2] = 1, 2, IGNORE
    planes = painter().label_map(batch(mask))
    assert planes.shape == (1, 2, 8, 8)
    assert planes.sum((0, 2, 3)).tolist() == [8, 8]
    assert planes[..., 2].sum() == 0
    overlapping = painter(Labels(names=("organ", "lesion"), values=((), ())))
    assert overlapping.label_map(batch(torch.ones(1, 2, 8, 8, dtype=torch.uint8))).sum() == 128


def test_no_map_is_zero_in_all_classes_and_one_in_the_flag_and_is_no_image_of_background() -> None:
    method, planes = painter(), torch.ones(2, 2, 8, 8)
    condition = method.with_flag(planes, torch.tensor([True, False]))
    assert condition[0, :2].abs().sum() == 0
    assert (condition[:, 2, 0, 0]).tolist() == [1, 0]
    assert torch.equal(condition[1, :2], planes[1])


def test_guidance_of_1_follows_the_map_and_of_0_nothing_and_the_variance_is_that_with_the_map() -> None:
    method, noisy, time = painter(), torch.randn(1, 1, 8, 8), torch.tensor([5])
    planes = torch.rand(1, 2, 8, 8).round()
    led, free = method.with_flag(planes), method.with_flag(planes, torch.tensor([True]))
    with torch.no_grad():
        with_map, without = (method.network(noisy, time, labels=each) for each in (led, free))
        found = {}
        for method.guidance in (0.0, 1.0, 3.0):
            found[method.guidance] = method.said(noisy, time, led)
    torch.testing.assert_close(found[1.0], with_map)
    torch.testing.assert_close(found[0.0][:, :1], without[:, :1])
    torch.testing.assert_close(found[3.0][:, :1], without[:, :1] + 3 * (with_map - without)[:, :1])
    for each in found.values():
        torch.testing.assert_close(each[:, 1:], with_map[:, 1:])


def test_the_share_of_maps_that_is_taken_away_is_what_the_setting_says() -> None:
    method, seen = painter(dropped=0.25), list[torch.Tensor]()
    method.denoising = lambda clean, step, beside, known: seen.append(beside) or {}  # type: ignore[method-assign, assignment, return-value, func-returns-value]
    mask = torch.ones(400, 1, 8, 8, dtype=torch.uint8)
    list(method.objectives({"images": batch(mask)}, Step(seed=1)))
    assert 0.18 < seen[0][:, 2].mean().item() < 0.32  # 0.25, and four deviations of 400 draws


def test_data_without_masks_and_weights_without_maps_are_refused() -> None:
    with pytest.raises(SettingsError, match="no classes"):
        painter(Labels(names=(), values=()))
    with pytest.raises(SettingsError, match="know no label map"):
        painter(weights=Path("weights.pt"))


def test_each_made_image_has_the_mask_that_it_was_made_of_and_names_its_parent(tmp_path: Path) -> None:
    data = make_data(MaskToImage.card, tmp_path / "data", dimensions=2)
    done = command("train", "mask-to-image", "--data", data, "--out", tmp_path / "run", "--preset", "tiny")
    assert done.returncode == 0, done.stderr
    run, out = tmp_path / "run", tmp_path / "made"
    assert "--from" in command("synthesize", run, "--count", "2", "--out", out).stderr
    done = command("synthesize", run, "--from", data, "--count", "2", "--out", out, "--options.guidance", "1.5")
    assert done.returncode == 0, done.stderr
    manifest = (out / "scantling.json").read_text()
    assert "parents" in manifest
    assert "guidance" in manifest
    assert len(list((out / "masks").iterdir())) == 2
