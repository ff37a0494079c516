"""EI-DDPM: paths that see their own modality alone, evidence that a missing one leaves as it was, and the ablation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_dtu_net import traits
from torch import Tensor, nn

from scantling.contract.method import build
from scantling.contract.options import SegmentOptions
from scantling.contract.step import Inference, Step
from scantling.core.case import Labels
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch
from scantling.diffusion.samplers import Final
from scantling.evidence import contour, fused_contours
from scantling.methods.mask_diffusion.ei_ddpm import EIDDPM, LOGIT, EIDDPMSettings, weighted_sums
from semi_supervised import played

SIDE = 16


def made(*, modalities: int = 3, classes: int = 2, **changes: Any) -> EIDDPM:
    """Tiny, in float64, with weights where it starts at zero."""
    data = traits(modalities, SIDE, classes)
    settings = EIDDPMSettings.preset("tiny", {"size": SIDE, **changes}).resolve(data)
    method = build(EIDDPM, settings, data).double().eval()
    torch.manual_seed(0)
    for parameter in method.paths.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    assert isinstance(method, EIDDPM)
    return method


def images(count: int = 2, modalities: int = 3, *, lacking: tuple[int, ...] = ()) -> Batch:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(count, modalities, SIDE, SIDE, generator=generator, dtype=torch.float64)
    mask = torch.randint(0, 3, (count, 1, SIDE, SIDE), generator=generator).to(torch.uint8)
    present = torch.ones(count, modalities, dtype=torch.bool)
    for channel in lacking:
        image[:, channel], present[:, channel] = 0, False
    numbers = torch.arange(count)
    return Batch(numbers, numbers, {"image": image, "mask": mask}, present={"image": present})


def answered(method: EIDDPM, batch: Batch, **options: Any) -> Tensor:
    with torch.no_grad():
        found = method.segment(batch, Inference(seed=0, options=SegmentOptions(**options))).samples
    assert found is not None
    return found


def losses(method: EIDDPM, batch: Batch) -> dict[str, Tensor]:
    (terms,) = played(method.objectives({"labelled": batch}, Step(seed=0))).values()
    return terms


def without_last(method: EIDDPM, **changes: Any) -> EIDDPM:
    """A model of one modality fewer with the same weights."""
    other = made(modalities=2, **changes)
    kept = method.state_dict()
    own = {name: kept[name][: len(tensor)] for name, tensor in other.state_dict().items()}
    other.load_state_dict({name: tensor.clone() for name, tensor in own.items()})
    return other


CHOICES: list[dict[str, Any]] = [
    {}, {"evidence": "no-discount"}, {"evidence": "none"}, {"fusion": "scalar"},
    {"fusion": "scalar", "evidence": "no-discount"},
]  # fmt: skip


@pytest.mark.parametrize("changes", CHOICES, ids=str)
def test_a_missing_modality_is_one_that_there_never_was(changes: dict[str, Any]) -> None:
    # at inference and in training, whatever the path of the missing one says
    method = made(**changes)
    other = without_last(method, **changes)
    lacking, fewer = images(lacking=(2,)), images()
    fewer = Batch(fewer.index, fewer.case, {"image": fewer.image[:, :2], "mask": fewer.mask})
    assert torch.equal(answered(method, lacking), answered(other, fewer))
    one, two = losses(method, lacking), losses(other, fewer)
    assert one.keys() == two.keys()
    for name in one:
        assert torch.allclose(one[name], two[name], rtol=1e-12, atol=0), name
    assert not torch.equal(answered(method, images()), answered(other, fewer)), "and here it says something"


def test_a_path_sees_its_own_modality_alone_and_all_start_from_one_noise() -> None:
    method, batch = made(), images(1)
    noisy = torch.randn(1, 2, SIDE, SIDE, dtype=torch.float64).repeat(1, 3, 1, 1)
    with torch.no_grad():
        said = method.denoise(noisy, (batch.image,), torch.tensor([3])).unflatten(1, (3, 2))
        changed = batch.image.clone()
        changed[:, 1] += 1
        again = method.denoise(noisy, (changed,), torch.tensor([3])).unflatten(1, (3, 2))
    assert [bool((said[:, h] == again[:, h]).all()) for h in range(3)] == [True, False, True]
    drawn = method.noise([Inference(seed=3)], "start", torch.zeros(1, 6, SIDE, SIDE)).unflatten(1, (3, 2))
    assert torch.equal(drawn[:, 0], drawn[:, 1])
    assert torch.equal(drawn[:, 0], drawn[:, 2])
    assert not torch.equal(drawn[:, 0, 0], drawn[:, 0, 1])


def test_what_is_fused_is_the_formula_of_the_page() -> None:
    method = made()
    assert method.reliabilities is not None
    nn.init.normal_(method.reliabilities.logits)
    ends = [Final(2 * torch.rand(1, 6, 4, 4, dtype=torch.float64) - 1, torch.zeros(()), None)]
    with torch.no_grad():
        samples, maps = method.read(ends, torch.ones(1, 3, dtype=torch.bool))
        masses = [layer(LOGIT * end) for layer, end in zip(method.layers, ends[0].x.split(2, 1), strict=True)]
        b = method.reliabilities.logits.sigmoid()
        expected = fused_contours([contour(one) for one in masses], b)[:, 1:]
    assert torch.allclose(samples, expected)
    assert torch.allclose(maps["ignorance"][0, 0], torch.stack([one[0, -1] for one in masses]).mean(0))


def test_the_ablation_changes_what_it_says() -> None:
    # full discounts, no-discount has no reliabilities, none has no evidence and takes the mean of the label maps
    full, alike, none = made(), made(evidence="no-discount"), made(evidence="none")
    assert len(full.learned()) == 3 * 3
    assert set(full.learned().values()) == {0.5}
    assert full.learned()["reliability of c1 for k0"] == 0.5
    assert alike.learned() == none.learned() == {}
    assert list(made(fusion="scalar").learned()) == [f"reliability of c{h}" for h in range(3)]
    assert not any("layers" in name or "reliabilities" in name for name in none.state_dict())
    ends = [Final(2 * torch.rand(1, 6, 4, 4, dtype=torch.float64) - 1, torch.zeros(()), None)]
    everything = torch.ones(1, 3, dtype=torch.bool)
    with torch.no_grad():
        samples, maps = none.read(ends, everything)
        believed = alike.read(ends, everything)[0]
        full.load_state_dict({**full.state_dict(), **alike.state_dict()})
        assert full.reliabilities is not None
        nn.init.constant_(full.reliabilities.logits, 50.0)  # b = 1
        assert torch.allclose(full.read(ends, everything)[0], believed)
        nn.init.constant_(full.reliabilities.logits, 0.0)
        assert not torch.allclose(full.read(ends, everything)[0], believed)
    inside = ((ends[0].x + 1) / 2).unflatten(1, (3, 2))
    shared = inside / inside.sum(2, keepdim=True).clamp(min=1)
    assert torch.allclose(samples, shared.mean(1))
    assert maps == {}
    assert [player.name for player in none.stages()[0].players] == ["paths"]
    assert [player.name for player in alike.stages()[0].players] == ["paths", "evidence"]


@pytest.mark.parametrize("predicts", ["eps", "x0"])
def test_all_parts_learn_from_one_step(predicts: str) -> None:
    method, batch = made(predicts=predicts), images(lacking=(1,))
    terms = losses(method, batch)
    assert set(terms) == {"denoising", "dice", "dice_alone"}
    sum(terms.values()).backward()  # type: ignore[union-attr]
    silent = {name.split(".")[1] for name, p in method.paths.named_parameters(prefix="paths") if p.grad is None}
    for name, parameter in method.named_parameters():
        missing = name.startswith(("paths.1.", "layers.1."))
        moved = parameter.grad is not None and bool(parameter.grad.any())
        assert moved is not missing or name == "reliabilities.logits", name
    assert method.reliabilities is not None
    grad = method.reliabilities.logits.grad
    assert grad is not None
    assert grad[0].all()
    assert not grad[1].any(), "a missing modality teaches nothing of its reliability"
    assert silent <= {"1"}


def test_the_loss_has_the_weights_of_its_settings() -> None:
    plain = losses(made(), images())
    heavy = losses(made(denoising=2.0, dice=3.0, dice_alone=1.0), images())
    for name, factor in (("denoising", 2.0), ("dice", 3.0), ("dice_alone", 2.0)):
        assert heavy[name].item() == pytest.approx(factor * plain[name].item())
    assert set(losses(made(dice=0, dice_alone=0), images())) == {"denoising"}


def test_the_sums_leave_out_the_background_and_what_is_not_known_and_weigh_samples() -> None:
    mask = torch.tensor([[0, 1, 1, 255]]).view(1, 1, 2, 2).repeat(2, 1, 1, 1)
    probabilities = torch.tensor([[0.9, 0.2, 0.1, 0.0], [0.1, 0.8, 0.9, 1.0]]).view(1, 2, 2, 2).repeat(2, 1, 1, 1)
    sums = weighted_sums(probabilities, mask, torch.tensor([1.0, 0.5]))
    assert sums.flatten().tolist() == pytest.approx([1.5 * 1.7, 1.5 * 1.8, 1.5 * 2])


def test_slices_without_a_class_are_counted_with_those_that_have_it() -> None:
    # false alarms on an empty slice cost what they cost beside the tumour of another, and not nearly all
    method, batch = made(predicts="x0"), images(4)
    batch.mask[1:] = 0
    together = losses(method, batch)["dice"]
    alone = [losses(method, images(1))["dice"]]
    empty = images(1)
    empty.mask[:] = 0
    alone += 3 * [losses(method, empty)["dice"]]
    assert together < sum(alone) / 4


def test_reliabilities_are_learnt_once_more_from_the_ends_of_chains(monkeypatch: pytest.MonkeyPatch) -> None:
    # of three modalities the first sees all, the second nothing, and the third lacks in every image
    method, batches = made(refitted=4, classes=1), []
    for number in range(6):
        batch = images(1, lacking=(2,))
        batch.mask[:] = 0
        if number % 2:
            batch.mask[:, :, 4:9, 4:9] = 1
        batches.append(batch)

    def ends(image: Tensor, inference: Inference) -> list[Final]:
        del image, inference
        maps = -torch.ones(1, 3, SIDE, SIDE, dtype=torch.float64)
        maps[:, 0] = 2.0 * (batches[order.pop(0)].mask[:, 0] > 0) - 1
        return [Final(maps, torch.zeros(()), None)]

    order = [1, 3, 0, 2]  # two that show the class, then two that do not
    monkeypatch.setattr(method, "ends", ends)
    calibration = method.calibration()
    assert calibration is not None
    with torch.no_grad():
        calibration.fit(iter(batches), Step(seed=0))
    learned = method.learned()
    assert learned["reliability of c0 for k0"] > 0.9
    assert learned["reliability of c1 for background"] < 0.3
    assert learned["reliability of c2 for k0"] == pytest.approx(0.5), "nothing is known of it"
    assert made(refitted=0).calibration() is None
    assert made(refitted=4, fusion="scalar").calibration() is None


def test_what_cannot_be_weighed_is_refused_with_a_sentence() -> None:
    with pytest.raises(SettingsError, match="one channel"):
        made(modalities=1)
    with pytest.raises(SettingsError, match="no evidence to fuse"):
        made(evidence="none", fusion="scalar")
    overlapping = traits(2, SIDE, 2).model_copy(update={"labels": Labels(names=("a", "b"), values=((1, 2), (2,)))})
    with pytest.raises(SettingsError, match="exclude each other"):
        EIDDPMSettings.preset("tiny").resolve(overlapping)


def test_the_papers_defaults() -> None:
    paper = EIDDPMSettings.preset("paper")
    assert (paper.chain, paper.sampling_steps, paper.sampler, paper.predicts) == (500, 500, "ancestral", "eps")
    assert (paper.evidence, paper.fusion, paper.prototypes) == ("full", "contour", 20)
    assert (paper.denoising, paper.dice, paper.dice_alone) == (1.0, 1.0, 0.5)
    quick = EIDDPMSettings.preset("quick")
    assert (quick.sampler, quick.sampling_steps) == ("ddim", 10)
