"""DARL: which path teaches whom, what is shared and what is not, and that no label is ever read."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from made import images_for, write
from scantling.contract.method import build
from scantling.contract.step import Inference, Step
from scantling.core.case import Labels
from scantling.core.errors import DataError, SettingsError
from scantling.core.samples import Batch, Intensity, Traits
from scantling.data.dataset import file_hashes, join, open_dataset
from scantling.data.division import divide
from scantling.data.traits import measure_traits
from scantling.inference import predict
from scantling.losses.patch_contrast import PatchContrast
from scantling.methods.catalogue import CARDS
from scantling.methods.without_labels.darl import DARL
from scantling.methods.without_labels.darl_settings import DARLSettings
from scantling.networks.polyphase import apart, phase, together
from scantling.networks.replay import ReplayPool
from scantling.networks.spade import SwitchableGenerator, one_hot, reflected
from scantling.networks.spectral_norm import power_iteration
from scantling.phantoms.backgrounds import evened, ridges_of, without_ridges, without_rim, without_tubes
from scantling.phantoms.fractal import fractal_vessels
from scantling.records.record import read_json
from scantling.records.run import run_facts
from scantling.records.run_folder import load_model
from scantling.training import Options, train

TINY = Options(preset="tiny", steps=2, seed=2, validation=0.25)
Calls = list[tuple[Tensor, Tensor, Tensor | None, Tensor, Any]]


def traits(**changes: Any) -> Traits:
    facts: dict[str, Any] = {
        "dimensions": 2,
        "channels": ("grey",),
        "spacing": (1.0, 1.0),
        "shape": (48, 50),
        "smallest": (48, 50),
        "intensity": (Intensity(mean=0, std=1, low=-2, high=2, minimum=-3, maximum=3),),
    }
    return Traits.model_validate(facts | {"smallest": changes.get("shape", facts["smallest"])} | changes)


def method(facts: Traits | None = None, **changes: Any) -> DARL:
    facts = facts or traits()
    built = build(DARL, DARLSettings.preset("tiny", changes).resolve(facts), facts)
    assert isinstance(built, DARL)
    return built


def images(seed: int, *shape: int, **fields: Tensor) -> Batch:
    rows = torch.arange(shape[0])
    drawn = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1
    return Batch(rows, rows, {"image": drawn.requires_grad_(), **fields})


def played(of: DARL, **batches: Batch) -> tuple[list[tuple[str, dict[str, Tensor]]], Calls]:
    """The moves of one step in float64, and what went through the denoiser and the generator in order."""
    of.double()
    calls: Calls = []
    original = of.generate_from

    def spied(x: Tensor, t: Tensor, vessels: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        made, guess = original(x, t, vessels)
        calls.append((x, t, vessels, made, guess))
        return made, guess

    of.generate_from = spied  # type: ignore[method-assign]
    return [(str(name), dict(terms)) for name, terms in of.objectives(batches, Step(seed=5))], calls


def pooled(**changes: Any) -> tuple[DARL, dict[str, Batch]]:
    of = method(traits(pools=("background",)), **changes)
    return of, {"angiograms": images(0, 2, 1, 32, 32), "backgrounds": images(1, 2, 1, 32, 32)}


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_phases_are_every_nth_row_and_column_and_make_the_image_again(factor: int) -> None:
    x = torch.arange(2 * 3 * 12 * 18).view(2, 3, 12, 18).float()
    phases = apart(x, factor)
    assert torch.equal(together(phases, factor), x)
    number = 0
    for image in x:
        for row in range(factor):
            for column in range(factor):
                assert torch.equal(phases[number], image[:, row::factor, column::factor])
                number += 1
    first = torch.tensor([0, factor**2 - 1])
    assert torch.equal(phase(x, factor, first=first), phases[[0, 2 * factor**2 - 1]])


def test_the_mask_switches_norms_and_nothing_else() -> None:
    network = SwitchableGenerator(width=4, hidden=4)
    x, mask = torch.randn(2, 2, 16, 16), torch.rand(2, 1, 16, 16) > 0.5

    def without_gradient(switch: Tensor | None) -> set[str]:
        network.zero_grad(set_to_none=True)
        network(x, switch).square().sum().backward()
        return {name for name, parameter in network.named_parameters() if parameter.grad is None}

    alone = {name for name, _ in network.named_parameters() if ".alone." in name}
    of_masks = {
        name for name, _ in network.named_parameters() if any(f".{n}." in name for n in ("read", "gamma", "beta"))
    }
    assert alone
    assert of_masks
    assert without_gradient(mask) == alone
    assert without_gradient(None) == of_masks


def test_the_classes_of_a_mask_sum_to_one_at_every_resolution() -> None:
    code = one_hot((torch.rand(2, 1, 24, 40) > 0.7).float())
    for size in ((24, 40), (6, 10), (5, 7)):
        resized = F.interpolate(code, size, mode="nearest")
        assert torch.equal(resized.sum(1), torch.ones(2, *size))
        assert set(resized.unique().tolist()) <= {0.0, 1.0}


def test_borders_are_mirrored_as_torch_mirrors_them() -> None:
    x = torch.randn(2, 3, 9, 7)
    assert torch.equal(reflected(x, 3), F.pad(x, (3, 3, 3, 3), mode="reflect"))


def test_convolutions_of_the_blocks_stretch_nothing_by_more_than_one() -> None:
    torch.manual_seed(0)
    network = SwitchableGenerator(width=4, hidden=4)
    before = [conv.weight.clone() for conv in network.modules() if isinstance(conv, nn.Conv2d)]
    network(torch.randn(1, 2, 8, 8))
    weights = [conv.weight for conv in network.modules() if isinstance(conv, nn.Conv2d)]
    assert all(torch.equal(one, other) for one, other in zip(before, weights, strict=True)), "no pass changes a weight"
    for _ in range(200):
        power_iteration(network)
    convs = [m for m in network.modules() if isinstance(m, nn.Conv2d) and hasattr(m, "parametrizations")]
    assert len(convs) == 2 * 4 + 2  # four blocks, two of them with a shortcut
    for conv in convs:
        assert torch.linalg.matrix_norm(conv.weight.flatten(1), 2).item() == pytest.approx(1, abs=1e-2)


def test_a_score_of_the_discriminator_sees_70_pixels() -> None:
    sees, jump = 1, 1
    for conv in method(interleave=1, patch=64, judge_layers=3).judges["images"].modules():
        if isinstance(conv, nn.Conv2d):
            sees, jump = sees + (conv.kernel_size[0] - 1) * jump, jump * conv.stride[0]
    assert sees == 70


def test_the_noise_is_that_of_the_schedule() -> None:
    process = method().process
    # the sheet's values for T = 2000, β from 1e-6 to 1e-2
    assert process.alpha_bar(199).item() == pytest.approx(0.905, abs=5e-4)
    assert process.alpha_bar(1999).item() == pytest.approx(4.4e-5, rel=0.01)
    noise = torch.randn(3, 1, 200, 200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = torch.tensor([0, 199, 1999])
    x_t = process.noised(torch.full_like(noise, 0.5), t, noise)
    for row, kept in zip(x_t, process.alpha_bar(t).tolist(), strict=True):
        # 40,000 samples: the mean is within 5 standard errors, the variance within 5 of its own
        assert row.mean().item() == pytest.approx(0.5 * math.sqrt(kept), abs=5 * math.sqrt((1 - kept) / 40_000))
        assert row.var().item() == pytest.approx(1 - kept, rel=5 * math.sqrt(2 / 40_000))


def test_the_denoiser_learns_to_denoise_backgrounds_alone_and_nothing_is_detached() -> None:
    of, batches = pooled()
    ((player, terms), _), calls = played(of, **batches)
    assert player == "generator"
    (angiogram, background), (first, second, again) = (batches[n].image for n in batches), calls

    def reaches(term: str, tensor: Tensor) -> bool:
        (gradient,) = torch.autograd.grad(terms[term], tensor, retain_graph=True, allow_unused=True)
        return gradient is not None and bool(gradient.abs().max() > 0)

    assert reaches("diffusion", background)
    assert not reaches("diffusion", angiogram)
    assert reaches("adversarial", angiogram)
    assert reaches("adversarial", background)
    assert reaches("cycle", background)
    assert not reaches("cycle", angiogram)
    guesses = [call[4] for call in (first, second, again)]
    assert [reaches("diffusion", guess) for guess in guesses] == [False, True, False]
    assert [reaches("adversarial", guess) for guess in guesses] == [True, True, False]
    assert [reaches("cycle", guess) for guess in guesses] == [False, True, True]


def test_three_passes_share_one_noise_and_the_cycle_its_timestep() -> None:
    of, batches = pooled()
    _, (first, second, again) = played(of, **batches)
    assert first[2] is None
    assert again[2] is None
    assert second[2] is not None
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[1], second[1])
    assert int(first[1].max()) < of.settings.small
    # what the passes began with, noised by hand
    noise = Step(seed=5).randn("noise", like=first[0])
    before = {
        "angiograms": next(p for p in apart(batches["angiograms"].image, 2)[:4] if close(of, p, first, noise, 0)),
        "backgrounds": next(p for p in apart(batches["backgrounds"].image, 2)[:4] if close(of, p, second, noise, 0)),
    }
    assert before["angiograms"].shape == (1, 16, 16)
    for row in range(2):
        assert close(of, second[3][row], again, noise, row)


def close(of: DARL, image: Tensor, call: tuple[Any, ...], noise: Tensor, row: int) -> bool:
    """Whether a pass began with `image` noised."""
    expected = of.process.noised(image[None], call[1][row : row + 1], noise[row : row + 1])
    return bool(torch.allclose(expected[0], call[0][row], rtol=0, atol=1e-12))


def test_vessels_that_are_painted_onto_a_background_leave_the_rest_of_it_alone() -> None:
    of, t = method(onto=True, large=150).double().eval(), torch.tensor([0, 149])
    x = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 0.5
    noisy = of.process.noised(x, t, torch.randn_like(x))
    vessels = torch.zeros(2, 1, 16, 16, dtype=torch.bool)
    vessels[:, :, 8, 4:12] = True
    painted, guess = of.generate_from(noisy, t, vessels)
    clean = of.process.x0_from(guess, noisy, t, kind="eps").clamp(-1, 1)
    new = of.generator(torch.cat([noisy, guess], 1), vessels)
    near = F.max_pool2d(vessels.double(), 3, stride=1, padding=1) > 0
    torch.testing.assert_close(painted[~near], clean[~near], rtol=0, atol=0)
    torch.testing.assert_close(painted[vessels], new[vessels])
    # a pixel above the middle of the line, three of its nine neighbours are vessel
    torch.testing.assert_close(painted[:, :, 7, 6:10], (clean + (new - clean) / 3)[:, :, 7, 6:10])
    # without a mask it says where vessels are, as ever
    assert torch.equal(of.generate_from(noisy, t)[0], of.generator(torch.cat([noisy, guess], 1)))
    _, calls = played(
        method(onto=True, large=3, small=2), angiograms=images(0, 8, 1, 32, 32), backgrounds=images(1, 8, 1, 32, 32)
    )
    assert torch.equal(calls[1][1], Step(seed=5).randint("any noise", 0, 3, count=8))
    with pytest.raises(SettingsError, match=r"--settings\.large: found 2001, expected at most 2000 timesteps"):
        method(large=2001)


def test_the_painter_by_arithmetic_leaves_the_background_itself_beside_the_vessels() -> None:
    of, batches = pooled(painter="arithmetic")
    _, (_, second, again) = played(of, **batches)
    noise, vessels = Step(seed=5).randn("noise", like=again[0]), second[2]
    assert vessels is not None
    assert vessels.any()
    phases = apart(batches["backgrounds"].image, 2)
    for row in range(2):
        kept = [of.process.noised(one[None], again[1][row:][:1], noise[row:][:1])[0] for one in phases]
        same = [torch.allclose(one[~vessels[row]], again[0][row][~vessels[row]]) for one in kept]
        assert sum(same) == 1
        assert not torch.allclose(kept[same.index(True)][vessels[row]], again[0][row][vessels[row]])


def test_filled_ridges_leave_thin_vessels_less_than_a_median_does() -> None:
    generator = torch.Generator().manual_seed(0)
    image = F.avg_pool2d(torch.randn(1, 1, 100, 92, generator=generator), 5, stride=1, padding=2) / 10
    image = image[..., :96, :88].contiguous()
    thin = torch.zeros_like(image, dtype=torch.bool)
    thin[:, :, 20:80, 40:42] = True
    region = torch.ones_like(thin)
    region[..., :6] = False
    drawn = torch.where(thin, image - 0.06, image)
    kept = {
        "median": without_tubes(drawn, region, window=28),
        "filled": without_ridges(drawn, region, share=0.28),
    }
    left = {name: float((one - image)[thin].mean().abs()) for name, one in kept.items()}
    assert left["filled"] < left["median"]
    assert torch.equal(kept["filled"][~region], drawn[~region])
    assert kept["filled"].std() == pytest.approx(float(image.std()), rel=0.3)
    assert 0.25 < ridges_of(drawn, region, share=0.28)[region].float().mean() < 0.29


def test_a_bounded_painting_stands_out_as_ridges_of_the_image_do() -> None:
    of = method(painter="arithmetic", bounded=True)
    image = images(0, 2, 1, 32, 32).image.detach() / 10
    image[:, :, 10:13] -= 0.5
    vessels = torch.ones_like(image, dtype=torch.bool)
    vessels[..., :16] = False
    bound = of.bound(image, vessels, Step(seed=3))
    assert bound is not None
    away = (image - without_ridges(image, torch.ones_like(image, dtype=torch.bool), share=0.28)).abs()
    assert bound.min() >= 0
    assert bound.max() <= away.max()
    assert bound.max() > 0.2
    dark = of.joined(image - 9, image, vessels, bound=bound)
    torch.testing.assert_close(dark, image - bound * vessels)
    fading = method(painter="arithmetic", bounded=True, fading=1.0).bound(image, vessels, Step(seed=3))
    assert fading is not None
    torch.testing.assert_close((fading / bound)[0, 0, 16, 22:28], torch.ones(6, dtype=image.dtype))
    assert 0.6 < float((fading / bound)[0, 0, 16, 16]) < 0.8, "a pixel within the border"
    real = images(0, 1, 1, 32, 32)
    background, mask, painted, _ = of.double().demonstrated(real, Step(seed=3))
    phases = apart(real.image.detach(), 2)
    most = of.bound(phases, torch.ones_like(phases, dtype=torch.bool), Step(seed=3))
    assert most is not None
    assert ((painted - background).abs() <= together(most, 2) + 1e-6)[mask].all()
    assert not torch.equal(painted, background)
    for changes, missing in (({"bounded": True}, "painter arithmetic"), ({"fading": 1.0}, "bounded true")):
        with pytest.raises(SettingsError, match=rf"expected --settings\.{missing}"):
            method(**changes)


def test_the_losses_are_those_of_the_paper() -> None:
    of, batches = pooled()
    of.settings = of.settings.model_copy(update={"adversarial": 0.2, "cycle": 5.0})
    moves, (first, second, again) = played(of, **batches)
    terms, judged = moves[0][1], moves[1][1]
    noise = Step(seed=5).randn("noise", like=first[0])
    assert second[2] is not None
    masks = 2 * second[2].double() - 1
    scores = {
        name: judge(fake)[-1] for (name, judge), fake in zip(of.judges.items(), (first[3], second[3]), strict=True)
    }
    assert terms["diffusion"].item() == pytest.approx((second[4] - noise).pow(2).mean().item())
    assert terms["cycle"].item() == pytest.approx(5 * (again[3] - masks).abs().mean().item())
    fooled = sum((score - 1).pow(2).mean().item() for score in scores.values())
    assert terms["adversarial"].item() == pytest.approx(0.2 * fooled)
    # the pool is not full yet, so the new fakes are shown
    real = (of.judges["masks"](masks)[-1] - 1).pow(2).mean().item()
    assert judged["masks"].item() == pytest.approx((real + scores["masks"].pow(2).mean().item()) / 2)


ABLATIONS: list[tuple[dict[str, Any], str, list[str]]] = [
    ({"diffusion": False}, "denoiser.", ["adversarial", "cycle"]),
    ({"diffusion": False, "switched": False}, ".gamma.", ["adversarial", "cycle"]),
    ({"cycle": 0}, "", ["adversarial", "diffusion"]),
    ({"cycle_loss": "cross-entropy"}, "", ["adversarial", "cycle", "diffusion"]),
]


@pytest.mark.parametrize(("changes", "gone", "terms"), ABLATIONS)
def test_the_rows_of_the_papers_ablation_lack_what_they_say(
    changes: dict[str, Any], gone: str, terms: list[str]
) -> None:
    of, batches = pooled(**changes)
    moves, (first, second, again) = played(of, **batches)
    assert sorted(moves[0][1]) == terms
    names = [name for name, _ in of.named_parameters()]
    assert not gone or not any(gone in name for name in names)
    assert sum(tensor.sum() for tensor in moves[0][1].values()) > 0
    torch.stack(list(moves[0][1].values())).sum().backward()
    silent = [name for name, one in of.named_parameters() if one.grad is None and not name.startswith("judges.")]
    assert not silent
    assert second[2] is not None
    if "cycle_loss" in changes:
        p = ((1 + again[3]) / 2).clamp(1e-6, 1 - 1e-6)
        wanted = -torch.where(second[2], p, 1 - p).log().mean()
        assert moves[0][1]["cycle"].item() == pytest.approx(of.settings.cycle * wanted.item())
    if "diffusion" in changes:
        assert torch.isin(first[0], batches["angiograms"].image).all(), "without noise"
        assert not torch.equal(of.generator(first[0], second[2]), of.generator(first[0])), "the mask is still seen"


def test_a_full_pool_shows_old_fakes_half_of_the_time() -> None:
    pool = ReplayPool(3, (1,))
    generator = torch.Generator().manual_seed(0)
    shown = torch.cat([pool(torch.tensor([[float(n)]]), torch.rand(1, 2, generator=generator)) for n in range(600)])
    new = torch.arange(600.0)[:, None]
    assert torch.equal(shown[:3], new[:3])
    assert (shown[3:] == new[3:]).float().mean().item() == pytest.approx(0.5, abs=0.1)  # five standard errors
    # each was shown once at most from the pool, and none is lost: what was not shown is still there
    old = shown[3:][shown[3:] != new[3:]]
    assert len(old.unique()) == len(old)
    assert set(pool.images.flatten().tolist()).isdisjoint(old.tolist())


def test_an_answer_is_that_of_each_phase_at_timestep_0() -> None:
    of = method().double().eval()
    region = torch.ones(1, 1, 30, 28, dtype=torch.bool)
    region[..., :5] = False
    batch = images(3, 1, 1, 30, 28, region=region)
    with torch.no_grad():
        answer = of.segment(batch, Inference(seed=0)).probabilities
        grey, _ = of.grey(batch)
        expected = torch.zeros_like(grey)
        for row in range(2):
            for column in range(2):
                x = grey[:, :, row::2, column::2]
                x = torch.cat([x, of.denoiser(x, torch.tensor([0]))], 1)
                expected[:, :, row::2, column::2] = (1 + of.generator(x)) / 2
    assert answer is not None
    assert torch.allclose(answer[..., 5:], expected[..., 5:], rtol=0, atol=1e-12)
    assert not answer[..., :5].any()


def test_colour_becomes_its_green_or_its_luminance_level_outside_the_region() -> None:
    region = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    region[..., 0] = False
    batch = images(0, 1, 3, 4, 4, region=region)
    facts = traits(channels=("red", "green", "blue"), intensity=traits().intensity * 3)
    green, _ = method(facts).grey(batch)
    assert torch.equal(green[..., 1:], batch.image[:, 1:2, :, 1:])
    assert torch.allclose(green[..., 0], batch.image[:, 1, :, 1:].mean())
    grey, _ = method(facts, grey="luminance").grey(batch)
    luma = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)
    assert torch.allclose(grey[0, 0, :, 1:], torch.einsum("c,chw->hw", luma, batch.image[0])[:, 1:])


def test_a_background_has_no_vessels_but_the_texture_of_the_image() -> None:
    generator = torch.Generator().manual_seed(0)
    ground = torch.linspace(-0.3, 0.3, 96)[None, None, :, None].expand(1, 1, 96, 96)
    texture = 0.05 * torch.randn(1, 1, 96, 96, generator=generator)
    vessel = torch.zeros(96, 96, dtype=torch.bool)
    vessel[:, 20:26] = vessel[60:66, :] = True
    image = ground + texture - 0.6 * vessel
    everywhere = torch.ones_like(image, dtype=torch.bool)
    made = without_tubes(image, everywhere, window=28)
    # a vessel was 0.6 darker than its ground: a tenth of it may be left, and the texture is as strong as before
    assert (made - ground)[0, 0, vessel].mean().abs() < 0.06
    assert (made - ground)[0, 0, ~vessel].std().item() == pytest.approx(0.05, rel=0.3)
    # and where most of it is outside the region, and level
    inside = everywhere.clone()
    inside[..., 40:] = False
    made = without_tubes(torch.where(inside, image, 0), inside, window=28)
    assert (made - ground)[0, 0, :, :18].std().item() == pytest.approx(0.05, rel=0.3)


def test_the_contrast_prefers_the_mask_that_was_given() -> None:
    torch.manual_seed(0)
    contrast = PatchContrast((64, 48), patches=5).double()
    assert contrast.sides == (16, 32)
    one, other = (torch.rand(2, 1, 64, 48, dtype=torch.float64) * 2 - 1 for _ in range(2))
    order = torch.rand(2, 64 * 48, dtype=torch.float64)
    # of 12 patches of 16 and 2 of 32, 5 and 2 are taken; between equals the loss of each is log 2
    assert contrast(one, other, other, order=order).item() == pytest.approx(7 * math.log(2))
    assert contrast(one, one, other, order=order) < contrast(one, other, one, order=order)
    again = other.clone().requires_grad_()
    contrast(one, again, one, order=order).backward()
    assert again.grad is not None
    assert again.grad.abs().sum() > 0


def test_what_c_darl_changes() -> None:
    of = method(traits(shape=(64, 64)), background="image", judged="images", contrast=4e-4, patch=64)
    assert [stream.name for stream in of.stages()[0].streams] == ["angiograms"]
    assert list(of.judges) == list(of.pools) == ["images"]
    ((_, terms), (_, judged)), calls = played(of, angiograms=images(0, 2, 1, 64, 64))
    assert set(terms) == {"diffusion", "adversarial", "cycle", "contrast"}
    assert set(judged) == {"images"}
    (gradient,) = torch.autograd.grad(terms["contrast"], calls[2][3])
    assert gradient.abs().max() > 0


def test_what_the_data_decide() -> None:
    def resolved(facts: Traits, **changes: Any) -> DARLSettings:
        return DARLSettings.preset("paper", changes).resolve(facts)

    plain = resolved(traits(shape=(584, 565)))
    assert (plain.masks, plain.background, plain.patch, plain.canvas) == ("fractal", "median", 512, 512)
    assert resolved(traits(shape=(301, 400))).patch == 300
    assert resolved(traits(shape=(512, 512), smallest=(200, 230))).patch == 200
    assert resolved(traits(masks_alone=3)).masks == "folder"
    assert resolved(traits(pools=("background",))).background == "pool"
    for changes in ({"masks": "folder"}, {"background": "pool"}, {"small": 3000}, {"patch": 32}):
        with pytest.raises(SettingsError, match=rf"--settings\.{next(iter(changes))}"):
            resolved(traits(), **changes)
    with pytest.raises(SettingsError, match=r"--settings\.contrast: .* the networks see 12 pixels a side, expected 16"):
        resolved(traits(shape=(24, 24)), contrast=4e-4, judge_layers=1)


def test_the_class_is_called_vessel_unless_the_data_name_a_single_one() -> None:
    named = Labels(names=("artery",), values=((7,),))
    several = Labels(names=("artery", "vein"), values=((1,), (2,)))
    assert method().traits.classes == method(traits(labels=several)).traits.classes == ("vessel",)
    assert method(traits(labels=named)).traits.labels == named


def test_fractals_are_drawn_anew_for_every_sample_and_again_for_the_same_one() -> None:
    of = method(canvas=64)
    like = torch.zeros(3, 1, 16, 16)

    def drawn(**at: Any) -> Tensor:
        return of._ruled((32, 32), Step(seed=1, **at), like=like)

    assert drawn().shape == (3, 1, 32, 32)
    assert torch.equal(drawn(number=4), drawn(number=4))
    assert not torch.equal(drawn(number=4), drawn(number=5))
    # the second half of a batch of six is the batch of three of the second process
    six = of._ruled((32, 32), Step(seed=1), like=torch.zeros(6, 1, 16, 16))
    assert torch.equal(six[3:], drawn(slot=1))


def folders(tmp_path: Path) -> Path:
    return images_for(CARDS["unet"], tmp_path / "data", dimensions=2)


def trained(data: list[Path], out: Path, options: Options = TINY) -> dict[str, Any]:
    return train("darl", data, out, options, console=Console(quiet=True))


def weights(run: Path) -> dict[str, Tensor]:
    """What the model keeps."""
    return load_file(run / "model" / "weights.safetensors")


def test_no_label_is_ever_read(tmp_path: Path) -> None:
    data = folders(tmp_path)
    trained([data], tmp_path / "with")
    for mask in data.glob("*/masks/*"):
        mask.write_bytes(b"not an image")
    trained([data], tmp_path / "broken")
    expected, found = weights(tmp_path / "with"), weights(tmp_path / "broken")
    assert found.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())


def test_in_a_folder_without_a_split_labels_have_no_say_in_what_is_learned_from(tmp_path: Path) -> None:
    parted, data = folders(tmp_path), tmp_path / "flat"
    for kind in ("images", "masks"):
        (data / kind).mkdir(parents=True)
        for path in parted.glob(f"*/{kind}/*"):
            path.rename(data / kind / path.name)
    for number in (0, 3, 4, 5):
        (data / "masks" / f"case{number}.png").unlink()
    facts = trained([data], tmp_path / "with")
    shutil.rmtree(data / "masks")
    assert trained([data], tmp_path / "without")["split"] == facts["split"]
    expected, found = weights(tmp_path / "with"), weights(tmp_path / "without")
    assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())


def test_discriminators_may_be_slower_and_see_changed_images() -> None:
    (plain, _), (changed, _) = (
        played(of, **batches) for of, batches in (pooled(augmented=augmented) for augmented in (False, True))
    )
    for (_, one), (_, other) in zip(plain, changed, strict=True):
        apart = {name for name in one if not torch.isclose(one[name], other[name])}
        assert apart == {"adversarial", "masks", "images"} & set(one)
    players = method(judge_rate=1e-5).stages()[0].players
    assert [player.rate for player in players] == [method().settings.rate, 1e-5]


def test_masks_of_phantoms_lie_on_the_grid_of_each_image_and_a_sample_takes_one(tmp_path: Path) -> None:
    facts = traits(channels=("red", "green", "blue"), shape=(80, 70), unlabelled=2)
    of = method(facts, masks="phantoms", phantoms=3)
    step = Step(seed=1, stage="train", number=0)
    image = torch.zeros(1, 3, 80, 70)
    prepared = of.phantoms(images(0, *image.shape), step)
    assert prepared.shape == (1, 3, 80, 70)
    assert set(prepared.unique().tolist()) == {0.0, 1.0}
    assert len({tuple(mask.flatten().tolist()) for mask in prepared[0]}) == 3
    assert torch.equal(of.phantoms(images(0, *image.shape), step), prepared)
    assert not torch.equal(of.phantoms(images(0, *image.shape), replace(step, number=1)), prepared)
    facts_of_run = trained(
        [folders(tmp_path)], tmp_path / "run", replace(TINY, settings={"masks": "phantoms", "phantoms": 1})
    )
    assert facts_of_run["settings"]["masks"] == "phantoms"
    assert facts_of_run["warnings"] == []


def test_slices_of_volumes_are_painted_with_masks_of_a_folder_of_pictures(tmp_path: Path) -> None:
    data = images_for(CARDS["darl"], tmp_path / "volumes", dimensions=3)
    write(tmp_path / "painted" / "masks", "mask0", np.eye(32, dtype=np.uint8) * 255)
    facts = trained([data, tmp_path / "painted"], tmp_path / "run")
    assert facts["settings"]["masks"] == "folder"
    assert facts["finished"]


def test_no_painting_of_a_training_image_is_in_the_model(tmp_path: Path) -> None:
    trained([folders(tmp_path)], tmp_path / "run")
    assert {name.partition(".")[0] for name in weights(tmp_path / "run")} == {"denoiser", "generator"}
    state = load_file(tmp_path / "run" / "state.safetensors")
    pools = {name: tensor for name, tensor in state.items() if name.startswith("model/pools.")}
    assert len(pools) == 4
    assert not any(tensor.any() for tensor in pools.values())


def test_weights_that_have_learned_from_drawn_masks_stay_so(tmp_path: Path) -> None:
    data = folders(tmp_path)
    write(tmp_path / "drawn" / "masks", "mask0", np.eye(40, dtype=np.uint8) * 255)
    first = trained([data, tmp_path / "drawn"], tmp_path / "first")
    assert (first["traits"]["hand_drawn_alone"], len(first["warnings"])) == (1, 1)
    second = trained([data], tmp_path / "second", replace(TINY, base=tmp_path / "first"))
    assert second["settings"]["masks"] == "fractal"
    assert "the run is not free of labels" in second["warnings"][0]
    assert load_model(tmp_path / "second").hand_drawn == 1


def test_weights_are_not_chosen_where_there_is_nothing_to_choose_by(tmp_path: Path) -> None:
    data = folders(tmp_path)
    (data / "validation" / "masks").mkdir(parents=True)
    shutil.copy(next((data / "train" / "masks").iterdir()), data / "validation" / "masks" / "alone.png")
    (data / "scantling.toml").write_text(HELD_OUT)
    with pytest.raises(SettingsError, match="--select best: found no validation case to choose by"):
        trained([data], tmp_path / "run", replace(TINY, select="best"))
    assert not (tmp_path / "run" / "run.json").exists()


def test_a_criterion_that_is_never_a_number_chooses_nothing_and_the_run_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DARL, "inconsistency", lambda self, visit, step: math.nan)
    facts = trained([folders(tmp_path)], tmp_path / "run", replace(TINY, select="best"))
    assert (facts["selected"]["rule"], facts["selected"]["value"]) == ("last", None)
    assert "its last weights were kept" in facts["warnings"][-1]


HELD_OUT = """
[[group]]
pattern = "train/images/{id}.png"
split = "train"

[[case]]
id = "alone"
masks = ["validation/masks/alone.png"]
split = "validation"
"""


def test_the_criterion_paints_other_fractals_than_training(tmp_path: Path) -> None:
    of = method(canvas=64)
    purposes: list[str] = []
    ruled = of._ruled

    def spied(*given: Any, purpose: str = "fractals", **more: Any) -> Tensor:
        purposes.append(purpose)
        return ruled(*given, purpose=purpose, **more)

    of._ruled = spied  # type: ignore[method-assign]
    with torch.no_grad():
        of.double().inconsistency(lambda stream: [images(0, 1, 1, 32, 32)], Step(seed=1))
    (purpose,) = purposes
    assert purpose != "fractals"
    like = torch.zeros(1, 1, 16, 16)
    assert not torch.equal(
        ruled((32, 32), Step(seed=1), like=like, purpose=purpose), ruled((32, 32), Step(seed=1), like=like)
    )


def test_it_learns_from_a_folder_of_masks_and_answers_without_ever_having_seen_a_label(tmp_path: Path) -> None:
    data = folders(tmp_path)
    for part in data.iterdir():
        shutil.rmtree(part / "masks")
    for number in range(4):
        mask = fractal_vessels((40, 40), generator=np.random.default_rng(number))
        write(tmp_path / "painted" / "masks", f"mask{number}", mask.astype(np.uint8) * 255)
    run = tmp_path / "run"
    facts = trained([data, tmp_path / "painted"], run, replace(TINY, select="best"))
    assert facts["settings"]["masks"] == "folder"
    assert facts["settings"]["background"] == "median"
    # weights were chosen by cycle consistency on images that were held out, and on these alone
    assert facts["selected"]["value"] is not None
    assert not any("mask" in id for id in facts["split"]["validation"])
    captions = " ".join(read_json(run / "samples" / "captions.json").values())
    assert "made from the image" in captions
    assert "folder of masks" in captions
    done = predict(run, data, out=tmp_path / "out")
    assert len(done.cases) == 2
    assert not done.failed
    for case in done.cases:
        assert set(np.unique(np.asarray(Image.open(tmp_path / "out" / case["mask"])))) <= {0, 255}
    assert run_facts(run)["traits"]["labels"] is None


def test_a_value_that_a_folder_of_masks_declares_is_read_so_beside_images(tmp_path: Path) -> None:
    pictures, masks, other = (tmp_path / name for name in ("pictures", "masks", "other"))
    write(pictures / "images", "a", np.arange(48 * 50).reshape(48, 50).astype(np.uint8))
    write(masks, "a", np.eye(24, dtype=np.uint8))
    manifest = 'ignore = 255\n[classes]\nvessel = 1\n[[group]]\npattern = "{subject}.png"\nmasks = "{path}"\n'
    (masks / "scantling.toml").write_text(manifest)
    shutil.copytree(masks, other)
    (other / "scantling.toml").write_text(manifest.replace("vessel", "nerve"))
    joined = join([open_dataset(pictures), open_dataset(masks)])
    assert joined.label_source.resolved == Labels(names=("vessel",), values=((1,),), ignore=255)
    assert join([open_dataset(masks), open_dataset(other)]).label_source.resolved is None


def test_backgrounds_come_from_their_pool_and_stay_out_of_the_angiograms(tmp_path: Path) -> None:
    data = folders(tmp_path)
    write(data / "before", "ground0", np.full((40, 40), 90, np.uint8))
    (data / "scantling.toml").write_text(MANIFEST)
    facts = trained([data], tmp_path / "run", replace(TINY, validation=0.0))
    assert facts["traits"]["pools"] == ("background",)
    assert facts["settings"]["background"] == "pool"
    streams = {stream.name: stream for stream in method(traits(pools=("background",))).stages()[0].streams}
    for case in open_dataset(data).cases:
        taken = {name for name, stream in streams.items() if stream.takes(case)}
        assert taken == ({"backgrounds"} if case.pool else {"angiograms"})


MANIFEST = """
[[group]]
pattern = "train/images/{id}.png"
split = "train"

[[group]]
pattern = "before/{id}.png"
split = "train"
pool = "background"
"""


def test_labels_have_no_say_in_who_is_held_out(tmp_path: Path) -> None:
    data = folders(tmp_path)

    def held() -> set[str]:
        divided = divide(open_dataset(data), validation=0.25, labelled=False)
        return {case.id for case in divided.split("validation")}

    before = held()
    assert before
    shutil.rmtree(data / "train" / "masks")
    assert held() == before
    with pytest.raises(DataError, match="training subjects and 4 for validation leave none"):
        divide(open_dataset(data), validation=0.99, labelled=False)


def test_masks_alone_are_told_among_the_traits_and_belong_to_what_a_run_is_a_function_of(tmp_path: Path) -> None:
    data = folders(tmp_path)
    write(tmp_path / "painted" / "masks", "mask0", np.zeros((8, 8), np.uint8))
    painted = open_dataset(tmp_path / "painted")
    both = divide(join([open_dataset(data), painted]), validation=0.0, labelled=False)
    assert measure_traits(both, reads={"image"}).masks_alone == 1
    assert list(file_hashes(painted, reads={"image"})) == ["masks/mask0.png"]


def test_an_evened_image_forgets_its_shading_and_its_contrast() -> None:
    generator = torch.Generator().manual_seed(0)
    texture = 0.3 * torch.randn(1, 1, 90, 80, generator=generator)
    region = torch.ones_like(texture, dtype=torch.bool)
    region[..., :7] = False
    plain = evened(texture, region, window=8)
    assert torch.allclose(evened(0.5 * texture + 3, region, window=8), plain, atol=1e-3)
    shaded = evened(texture + torch.linspace(0, 6, 90).view(1, 1, 90, 1), region, window=8)
    inner = (..., slice(20, 70), slice(20, 60))
    assert (shaded[inner] - plain[inner]).abs().mean() < 0.2 * plain[inner].abs().mean()
    assert not plain[..., :7].any()
    assert plain.abs().max() <= 1
    row, column = 40, 50
    square = texture[0, 0, row - 8 : row + 9, column - 8 : column + 9]
    rest = float(texture[0, 0, row, column] - square.mean())
    assert abs(float(plain[0, 0, row, column]) - rest / 3 / float(square.std())) < 0.1
    # a patch looks like the image that it is cut from
    cut = (..., slice(10, 80), slice(20, 70))
    patch = evened(texture[cut], region[cut], window=8)[..., 16:-16, 16:-16]
    torch.testing.assert_close(patch, plain[cut][..., 16:-16, 16:-16], rtol=0, atol=1e-5)


def test_where_there_is_little_but_noise_it_stays_small() -> None:
    texture = 0.3 * torch.randn(1, 1, 90, 90, generator=torch.Generator().manual_seed(0))
    texture[..., :45] *= 0.05
    even = evened(texture, torch.ones_like(texture, dtype=torch.bool), window=8)
    assert even[..., 5:30].std() < 0.2 * even[..., 60:85].std()


def test_networks_see_an_evened_image_without_the_rim_of_its_region_and_answer_nothing_there() -> None:
    of = method(evened=8, interleave=1).eval()
    batch = images(0, 1, 1, 48, 50)
    region = torch.zeros(1, 1, 48, 50, dtype=torch.bool)
    region[..., 5:40] = True
    given = Batch(batch.index, batch.case, {"image": batch.image.detach().float(), "region": region})
    grey, inside = of.grey(given)
    assert torch.equal(inside, without_rim(region, width=4))
    assert torch.equal(grey, evened(given.image, inside, window=8))
    with torch.no_grad():
        found = of.segment(given, Inference(seed=0)).probabilities
    assert found is not None
    assert not found[~inside].any()
    assert found[inside].all()


def test_the_rim_of_a_region_goes_but_the_image_has_no_rim() -> None:
    region = torch.zeros(1, 1, 20, 20, dtype=torch.bool)
    region[..., :12] = True
    assert torch.equal(without_rim(region, width=3)[0, 0].sum(0) > 0, torch.arange(20) < 9)
    assert without_rim(region, width=3)[..., :9].all()
    region[..., 5, 4] = False
    assert int((region & ~without_rim(region, width=3)).sum()) == 3 * 20  # the rim; a hole has none
