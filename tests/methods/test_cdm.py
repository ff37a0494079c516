"""CDM: the map is a derivative by the class, its sign is learnt without a mask, and no mask is ever read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file
from torch import Tensor, nn

from scantling.cli.commands.looking import Check
from scantling.contract.method import build
from scantling.contract.step import Draws, Inference, Step
from scantling.core.errors import DataError, SettingsError
from scantling.core.samples import Batch, Intensity, Traits
from scantling.core.spread import evenly
from scantling.data.dataset import open_dataset
from scantling.data.manifest_file import write_manifest
from scantling.data.mask_classes import classes_of_masks
from scantling.diffusion.conditions import condition_difference, counterfactual
from scantling.diffusion.gaussian import GaussianProcess
from scantling.diffusion.schedules import betas
from scantling.methods.catalogue import CARDS
from scantling.methods.weakly_supervised.cdm import CDM, levelled
from scantling.methods.weakly_supervised.cdm_settings import CdmOptions, CdmSettings
from scantling.methods.weakly_supervised.class_maps import as_probabilities, classes_with_object, cut
from scantling.testing.data import make_data
from scantling.training import Options, train

FACTS = Intensity(mean=0, std=1, low=0, high=1, minimum=0, maximum=255)
PROCESS = GaussianProcess(betas("linear", 50))


def traits(*classes: str, **changes: Any) -> Traits:
    common: dict[str, Any] = {
        "dimensions": 2, "channels": ("image",), "spacing": (1.0, 1.0), "shape": (16, 16), "smallest": (16, 16),
        "intensity": (FACTS,), "image_classes": classes or ("bright", "dark"), "classified": 4,
    }  # fmt: skip
    return Traits(**{**common, **changes})


def model(**settings: Any) -> CDM:
    facts = traits()
    return build(CDM, CdmSettings.preset("tiny", settings).resolve(facts), facts, seed=1).eval()


def images(count: int = 2, seed: int = 0) -> Tensor:
    return torch.rand(count, 1, 16, 16, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def batch(image: Tensor, kinds: tuple[int, ...] = ()) -> Batch:
    index = torch.arange(len(image))
    return Batch(index, index, {"image": image} | ({"image_class": torch.tensor(kinds)} if kinds else {}))


def test_of_a_linear_model_one_step_is_the_closed_form_whose_sign_is_opposite_to_that_of_the_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    a, f0, f1 = (torch.randn(1, 1, 4, 4, generator=generator, dtype=torch.float64) for _ in range(3))
    start = torch.randn(2, 1, 4, 4, generator=generator, dtype=torch.float64)

    def linear(x: Tensor, t: int, share: Tensor) -> Tensor:
        shares = share.view(-1, 1, 1, 1)
        return a * (shares * f1 + (1 - shares) * f0)

    t = 30
    kept, after = PROCESS.alpha_bar(t), PROCESS.alpha_bar(t - 1)
    c = (1 - after).sqrt() - (after * (1 - kept) / kept).sqrt()
    assert c < 0
    for tau in (0.0, 0.95):
        found = condition_difference(linear, start, process=PROCESS, first=t, steps=1, tau=tau)
        torch.testing.assert_close(found, (c * a * (f1 - f0)).expand_as(found))


def test_as_tau_nears_one_a_step_becomes_the_derivative_by_the_condition() -> None:
    network = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 1, 3, padding=1)).double()
    start = torch.randn(1, 1, 5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def smooth(x: Tensor, t: int, share: Tensor) -> Tensor:
        return torch.as_tensor(network(torch.cat([x, 2 * share.view(-1, 1, 1, 1).expand_as(x)], 1)))

    t = 30

    def step(share: Tensor) -> Tensor:
        return PROCESS.moved(smooth(start, t, share), start, t, t - 1)

    ones = torch.ones(1, dtype=torch.float64)
    _, exact = torch.autograd.functional.jvp(step, ones, ones)
    with torch.no_grad():
        errors = [
            float((condition_difference(smooth, start, process=PROCESS, first=t, steps=1, tau=tau) - exact).abs().max())
            for tau in (0.9, 0.95, 0.99)
        ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.02 * float(exact.abs().max())


def test_where_both_classes_have_one_code_the_map_is_zero_and_the_answer_empty() -> None:
    of = model()
    with torch.no_grad():
        for parameter in of.network.parameters():  # some start at zero, which would hide the class
            parameter.normal_(0, 0.1, generator=torch.Generator().manual_seed(0))
        options = of.segment_options(CdmOptions())
        assert of.difference(images(), options, Draws(seed=0)).abs().max() > 0
        of.condition.weight[1] = of.condition.weight[0]
        assert not of.difference(images(), options, Draws(seed=0)).any()
        answer = of.segment(batch(images()), Inference(seed=0, options=options)).probabilities
    assert answer is not None
    assert answer.max() <= 0.5


def test_of_a_model_that_says_the_same_of_both_classes_a_counterfactual_is_the_image_itself() -> None:
    def still(x: Tensor, t: int, share: Tensor) -> Tensor:
        return torch.full_like(x, 0.3)

    image = images().double()
    for steps in (1, 7, 31):
        back = counterfactual(still, image, process=PROCESS, level=30, steps=steps)
        torch.testing.assert_close(back, image)


def test_guidance_is_the_gradient_of_the_classifier_and_of_both_classes_where_it_is_mixed() -> None:
    of = model().double()
    x, share = images().double(), torch.tensor([1.0, 0.95]).double()
    plain = of.noise_in(x, 5, share, torch.ones(2), 0.0)
    led = of.noise_in(x, 5, share, share, 3.0)
    seen = x.clone().requires_grad_()
    logs = of.logits(seen, torch.tensor([5])).log_softmax(1)
    (pull,) = torch.autograd.grad((share * logs[:, 1] + (1 - share) * logs[:, 0]).sum(), seen)
    spread = float((1 - of.process.alpha_bar(5)).sqrt())
    torch.testing.assert_close(led, plain - 3 * spread * pull)


def test_a_counterfactual_is_led_on_its_way_down_alone() -> None:
    of, seen = model(variant="cg-diff"), list[tuple[float, float]]()

    def noise_in(x: Tensor, t: int, share: Tensor, led: Tensor, scale: float) -> Tensor:
        assert torch.equal(share, led)
        seen.append((float(share[0]), scale))
        return torch.zeros_like(x)

    of.noise_in = noise_in  # type: ignore[method-assign]
    of.difference(images(), of.segment_options(CdmOptions(steps=2, guidance=3.0)), Draws(seed=0))
    assert seen == [(1.0, 0.0)] * 2 + [(0.0, 3.0)] * 2


def test_the_sign_is_learnt_on_images_that_are_spread_over_all() -> None:
    for count in (0, 1, 5, 16, 100, 1000):
        given = [batch(torch.full((1, 1, 1, 1), float(n))) for n in range(count)]
        found = [int(each.image) for each in evenly(iter(given), 16)]
        assert len(found) == min(count, 16)
        gaps = np.diff([*found, count])
        assert not count or found[0] == 0
        assert not count or max(gaps) <= 3 * max(1, count / 16), "no part of the data is left out"


def test_the_sign_is_that_by_which_the_evidence_falls_where_the_region_is_levelled() -> None:
    of = model(noise_level=8)
    image = torch.zeros(1, 1, 16, 16)
    image[..., 4:8, 4:8] = 1

    def bright(picture: Tensor) -> Tensor:
        return picture.sum((1, 2, 3))

    of.evidence = bright  # type: ignore[method-assign]
    for sign in (1.0, -1.0):
        of.difference = lambda picture, options, draws, sign=sign: sign * picture  # type: ignore[method-assign]
        with torch.no_grad():
            of.find_sign([batch(image, (0,)), batch(image, (1,))], Step(seed=0))
        assert float(of.sign) == sign
        assert of.learned()["sign of the map"] == sign


def test_the_counterfactual_has_no_sign() -> None:
    of = model(sign="flipped")
    of.difference = lambda picture, options, draws: picture  # type: ignore[method-assign]
    for variant, sign in (("cdm", -1), ("cg-cdm", -1), ("cg-diff", 1)):
        options = CdmOptions.of({"variant": variant})
        found = of.segment(batch(images()), Inference(seed=0, options=options)).maps["evidence"]
        assert torch.equal(found, sign * images())


def test_a_region_is_levelled_to_what_lies_around_it() -> None:
    image = torch.full((1, 1, 16, 16), -1.0)
    image[..., 3:11, 3:11] = 0.25
    image[..., 6:8, 6:8] = 1
    mask = torch.zeros(1, 1, 16, 16, dtype=torch.bool)
    mask[..., 6:8, 6:8] = True
    found = levelled(image, mask, torch.ones_like(mask))
    assert torch.equal(found[mask], torch.full((4,), 0.25))
    assert torch.equal(found[~mask], image[~mask])


def test_a_map_is_cut_for_each_image_by_itself_and_a_level_one_to_nothing() -> None:
    maps = torch.zeros(3, 1, 12, 12)
    maps[0, 0, 2:5, 2:5] = 1
    maps[1, 0, 2:8, 2:5] = 1e-3
    maps[1, 0, 10, 10] = 2e-3
    region = torch.ones_like(maps, dtype=torch.bool)
    masks = cut(maps, region, largest=True)
    assert [int(mask.sum()) for mask in masks] == [9, 18, 0]
    assert int(cut(maps, region, largest=False)[1].sum()) == 19
    likely = as_probabilities(maps, masks, region)
    assert torch.equal(likely > 0.5, masks)
    assert 0 <= float(likely.min()) <= float(likely.max()) <= 1


def test_which_classes_show_the_object_follows_from_their_names_or_is_asked_for() -> None:
    assert classes_with_object("cdm", (), traits("no tumour", "tumour")) == ("tumour",)
    assert classes_with_object("cdm", (), traits("benign", "malignant", "normal")) == ("benign", "malignant")
    assert classes_with_object("cdm", ("dark",), traits()) == ("dark",)
    for given, classes, sentence in (
        ((), ("tumour",), "found the image classes .*tumour.*; expected two or more"),
        ((), ("Tumour", "tumour", "normal"), "differ by capitals only"),
        ((), ("bright", "dark"), "do not tell"),
        ((), ("00", "01"), "do not tell"),
        (("grey",), ("bright", "dark"), "found 'grey'; the image classes are bright, dark"),
        (("bright", "dark"), ("bright", "dark"), "names all image classes"),
    ):
        with pytest.raises(SettingsError, match=sentence):
            classes_with_object("cdm", given, traits(*classes))


def test_walks_that_the_chain_does_not_have_are_refused() -> None:
    of = model()
    with pytest.raises(SettingsError, match="the noise level is 20; this chain has the levels 1 to 19"):
        of.segment_options(CdmOptions(noise_level=20))
    with pytest.raises(SettingsError, match="--sampling-steps 9"):
        of.segment_options(CdmOptions(steps=9))


def test_the_gate_leaves_images_empty_in_which_the_classifier_sees_no_object() -> None:
    of = model()
    of.difference = lambda picture, options, draws: picture  # type: ignore[method-assign]
    of.evidence = lambda picture: torch.tensor([3.0, -3.0])  # type: ignore[method-assign]
    for gate, marked in ((0.0, [True, True]), (0.5, [True, False])):
        answer = of.segment(batch(images()), Inference(seed=0, options=CdmOptions(gate=gate))).probabilities
        assert answer is not None
        assert (answer > 0.5).flatten(1).any(1).tolist() == marked


def classed(folder: Path) -> Path:
    """Pictures with masks, half of them empty, and a manifest beside them with the classes that these tell."""
    card = CARDS["unet"]
    data = make_data(card, folder / "data", dimensions=2)
    for number, path in enumerate(sorted((data / "masks").iterdir())):
        if number % 2:
            with Image.open(path) as picture:
                size = picture.size
            Image.fromarray(np.zeros(size[::-1], np.uint8)).save(path)
    dataset = open_dataset(data)
    derived = classes_of_masks(dataset, dataset.labels)
    write_manifest(derived, folder / "classes.toml", dataset.labels, derived=True)
    return folder / "classes.toml"


def test_only_the_class_that_a_mask_tells_reaches_the_training(tmp_path: Path) -> None:
    manifest = classed(tmp_path)
    cases = {case.id: case for case in open_dataset(manifest).cases}
    told = {id: case.image_class for id, case in cases.items() if case.split == "train"}
    assert told == {"case0": "ball", "case1": "no ball", "case2": "ball", "case3": "no ball"}
    assert all(case.image_class is None for case in cases.values() if case.split == "test")
    weights = []
    for name in ("with", "broken"):
        out = tmp_path / name
        options = Options(preset="tiny", settings={"shown": ("ball",)}, steps=2, seed=5, threads=1)
        facts = train("cdm", [manifest], out, options, console=Console(quiet=True))
        assert any("derived from the masks" in sentence for sentence in facts["warnings"])
        assert facts["labels_read"]["thresholds"]["cases"] == 0
        weights.append(load_file(out / "model" / "weights.safetensors"))
        for mask in (tmp_path / "data").glob("masks/*"):
            mask.write_bytes(b"not an image")
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


def test_derived_classes_go_into_a_manifest() -> None:
    with pytest.raises(SettingsError, match="--classes-of-masks: they go into a manifest; name it with"):
        Check(data=Path("nowhere"), classes_of_masks=True).run()


def test_classes_are_not_derived_where_there_is_only_one(tmp_path: Path) -> None:
    data = open_dataset(make_data(CARDS["unet"], tmp_path, dimensions=2))
    with pytest.raises(DataError, match="all 4 are of the class 'ball'; expected images with the object and without"):
        classes_of_masks(data, data.labels)
