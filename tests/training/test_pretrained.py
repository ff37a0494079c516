"""First weights from a trained model with other channels, classes or shapes."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from torch import Tensor

from scantling.contract.method import build
from scantling.core.case import Labels
from scantling.core.errors import RunError, SettingsError
from scantling.core.samples import Traits
from scantling.data.dataset import open_dataset
from scantling.methods.catalogue import CARDS, cards, implementation_of
from scantling.methods.supervised.direction import DirectionMender, DirectionSettings
from scantling.methods.supervised.unet import UNetSegmenter
from scantling.methods.supervised.unet_settings import UNetSettings
from scantling.records.expectations import ExpectedRecord, of_model
from scantling.records.run_folder import load_model
from scantling.testing.data import make_data
from scantling.testing.trainings import interrupted, trained_weights
from scantling.training import Options, train, trainer
from scantling.training.leakage import start_remarks
from scantling.training.pretrained import load_pretrained
from scantling.training.stage_runner import StageRunner
from toys import TRAITS

QUIET = Console(quiet=True)
TINY = Options(preset="tiny", steps=2, validation=0.25)
FROZEN: dict[str, Any] = {"rate": 1e-30, "weight_decay": 0.0, "average": 0.0}
"""Settings with which a training leaves the weights as they are."""


def dataset(folder: Path, *, channels: tuple[str, ...] = ("flair",), classes: int = 1) -> Path:
    """Toy images, the same in every channel."""
    make_data(CARDS["unet"], folder, dimensions=2, classes=classes)
    manifest = json.loads((folder / "scantling.json").read_text())
    for case in manifest["case"]:
        case["images"] = dict.fromkeys(channels, case["images"]["image"])
    (folder / "scantling.json").write_text(json.dumps(manifest))
    return folder


def trained(data: Path, out: Path, **changes: Any) -> dict[str, Any]:
    return train("unet", [data], out, replace(TINY, **changes), console=QUIET)


def weights(run: Path) -> dict[str, Tensor]:
    return load_file(run / "model" / "weights.safetensors")


@pytest.fixture(scope="module")
def flair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dataset(tmp_path_factory.mktemp("flair"))


@pytest.fixture(scope="module")
def run(flair: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "first"
    trained(flair, out, settings={"widths": [4, 12]})
    return out


def traits(*, channels: int | tuple[str, ...] = 1, classes: tuple[str, ...] = ("a",), overlap: bool = False) -> Traits:
    names = tuple(f"c{n}" for n in range(channels)) if isinstance(channels, int) else channels
    values = tuple((() if overlap else (number,)) for number in range(1, len(classes) + 1))
    return TRAITS.model_copy(
        update={
            "channels": names,
            "intensity": TRAITS.intensity * len(names),
            "labels": Labels(names=classes, values=values),
        }
    )


def unet(facts: Traits, seed: int = 0, **changes: Any) -> UNetSegmenter:
    settings = UNetSettings.preset("tiny", {"norm": "batch", **changes}).resolve(facts)
    return build(UNetSegmenter, settings, facts, seed=seed).eval()


def loaded(old: Traits, new: Traits, **changes: Any) -> tuple[UNetSegmenter, UNetSegmenter, Any]:
    base, method = unet(old, seed=1), unet(new, seed=2, **changes)
    return base, method, load_pretrained(method, base, run=Path("runs/a"), rate=None, inherited=())


def probabilities(method: UNetSegmenter, image: Tensor) -> Tensor:
    with torch.no_grad():
        return method.probabilities(method.network(image))


IMAGE = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_a_model_with_a_new_channel_begins_with_the_answer_of_the_old_one() -> None:
    base, method, found = loaded(traits(channels=("flair",)), traits(channels=("t1", "flair", "t2")))
    torch.testing.assert_close(probabilities(method, IMAGE), probabilities(base, IMAGE[:, 1:2]))
    assert "new: the first layer (3 channels, was 1; kept: flair)" in found.summary
    assert found.new == ("network.down.0.0.weight",)


def test_channels_in_another_order_are_the_same_model() -> None:
    base, method, _ = loaded(traits(channels=("t1", "flair", "t2")), traits(channels=("flair", "t2", "t1")))
    torch.testing.assert_close(probabilities(method, IMAGE[:, [1, 2, 0]]), probabilities(base, IMAGE))


def test_a_model_with_fewer_channels_answers_as_the_old_one_where_the_others_are_0() -> None:
    base, method, _ = loaded(traits(channels=("t1", "flair", "t2")), traits(channels=("flair",)))
    alone = torch.zeros_like(IMAGE)
    alone[:, 1] = IMAGE[:, 1]
    torch.testing.assert_close(probabilities(method, IMAGE[:, 1:2]), probabilities(base, alone))


def test_channels_of_no_equal_name_begin_anew_and_all_else_is_loaded() -> None:
    base, method, found = loaded(traits(channels=("grey",)), traits(channels=("red", "green", "blue")))
    fresh = unet(method.traits, seed=2).state_dict()
    for name, tensor in method.state_dict().items():
        expected = fresh[name] if name == "network.down.0.0.weight" else base.state_dict()[name]
        assert torch.equal(tensor, expected), name
    assert found.summary == (
        f"--from runs/a: {len(fresh) - 1} of {len(fresh)} tensors loaded; new: the first layer (3 channels, was 1); "
        "loaded weights learn at 0.1 of the rate"
    )


def test_one_class_beside_new_ones_answers_as_before_against_the_background() -> None:
    """p / (p + background) of the softmax is the sigmoid of before."""
    base, method, found = loaded(traits(classes=("vessel",)), traits(classes=("nerve", "vessel")))
    with torch.no_grad():
        logits = method.network(IMAGE[:, :1])  # background, nerve, vessel
    torch.testing.assert_close(logits[:, [0, 2]].softmax(1)[:, 1:], probabilities(base, IMAGE[:, :1]))
    assert "new: the head (2 classes, was 1; kept: vessel)" in found.summary
    assert set(found.new) == {"network.head.weight", "network.head.bias"}


def test_the_last_of_several_classes_answers_as_before_against_the_background() -> None:
    base, method, _ = loaded(traits(classes=("nerve", "vessel")), traits(classes=("vessel",)))
    with torch.no_grad():
        before = base.network(IMAGE[:, :1])[:, [0, 2]].softmax(1)[:, 1:]
    torch.testing.assert_close(probabilities(method, IMAGE[:, :1]), before)


def test_classes_in_another_order_are_the_same_model() -> None:
    base, method, _ = loaded(traits(classes=("a", "b", "c")), traits(classes=("c", "a", "b")))
    torch.testing.assert_close(probabilities(method, IMAGE[:, :1]), probabilities(base, IMAGE[:, :1])[:, [2, 0, 1]])


def test_classes_that_overlap_now_keep_their_logits_against_the_background() -> None:
    base, method, found = loaded(traits(classes=("a", "b")), traits(classes=("a", "b"), overlap=True))
    with torch.no_grad():
        old, new = base.network(IMAGE[:, :1]), method.network(IMAGE[:, :1])
    torch.testing.assert_close(new, old[:, 1:] - old[:, :1])
    assert len(found.new) == 2


def test_other_names_of_as_many_channels_and_classes_change_nothing() -> None:
    base, method, found = loaded(traits(channels=("grey",), classes=("ball",)), traits(channels=("ct",)))
    assert all(torch.equal(tensor, base.state_dict()[name]) for name, tensor in method.state_dict().items())
    assert (found.new, found.rate, found.plan) == ((), 1.0, None)
    assert "all" in found.summary


def test_the_model_that_a_method_is_built_on_stays_the_one_that_was_named() -> None:
    """Its channels lie in another order than those of the one in the starting model."""

    def mender(facts: Traits, seed: int) -> DirectionMender:
        settings = DirectionSettings.preset("tiny").resolve(facts)
        return build(DirectionMender, settings, facts, seed=seed, uses={"segmenter": unet(facts, seed=seed)})

    base, method = mender(traits(channels=("a", "b")), 1), mender(traits(channels=("b", "a")), 2)
    before = {name: tensor.clone() for name, tensor in method.base.state_dict().items()}
    load_pretrained(method, base, run=Path("runs/a"), rate=None, inherited=())
    assert all(torch.equal(tensor, before[name]) for name, tensor in method.base.state_dict().items())
    assert torch.equal(method.layer.weight, base.layer.weight)


def test_other_widths_keep_what_has_the_same_shape() -> None:
    base, method, found = loaded(traits(), traits(), widths=(4, 12))
    assert torch.equal(method.network.down[0][3].weight, base.network.down[0][3].weight)
    assert "network.down.1.0.weight" in found.new
    assert "of other names or shapes (network.down.1.0.weight" in found.summary


def test_levels_for_which_patches_are_too_small_now_are_said_to_be_left_out() -> None:
    facts = traits().model_copy(update={"shape": (64, 64)})
    base, method = (unet(facts, widths=(4, 8, 8, 8), patch=(side, side)) for side in (64, 16))
    found = load_pretrained(method, base, run=Path("runs/a"), rate=None, inherited=())
    unused = len(base.state_dict()) - len(method.state_dict())
    assert unused > 0
    assert found.summary.endswith(
        f"all {len(method.state_dict())} tensors loaded; {unused} tensors of that model left out"
    )


@pytest.mark.parametrize("changes", [{"widths": (5, 9)}, {"widths": (4, 200)}])
def test_a_model_of_which_little_fits_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=r"does not fit; expected unet .* at least 10% .* \(found [0-9]%\)"):
        loaded(traits(), traits(), **changes)


def test_weights_of_images_in_2d_do_not_fit_volumes() -> None:
    volumes = traits().model_copy(update={"dimensions": 3, "spacing": (1.0,) * 3, "shape": (16,) * 3})
    with pytest.raises(SettingsError, match="does not fit"):
        loaded(traits(), volumes)


def test_a_model_of_another_method_is_refused(run: Path, flair: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="a model of unet for 1 channel and 1 class does not fit; expected fr-"):
        train("fr-unet", [flair], tmp_path / "out", replace(TINY, base=run), console=QUIET)
    assert not (tmp_path / "out" / "run.json").exists()


def test_the_network_is_that_of_the_starting_model_unless_its_shape_is_given(
    run: Path, flair: Path, tmp_path: Path
) -> None:
    facts = trained(flair, tmp_path / "as-there", base=run, settings={**FROZEN, "patch": [16, 16]})
    assert facts["settings"]["widths"] == [4, 12]
    assert "tensors loaded; widths as there; dice 0." in facts["starting_model"]["summary"]
    before, after = weights(run), weights(tmp_path / "as-there")
    assert all(np.allclose(before[name], after[name], atol=1e-6) for name in before)
    facts = trained(flair, tmp_path / "given", base=run, settings={"widths": [4, 10]})
    assert facts["settings"]["widths"] == [4, 10]


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dataset(tmp_path_factory.mktemp("several"), channels=("flair", "t1"), classes=2)


def test_a_run_says_what_was_loaded_and_why_the_starting_model_has_no_score(
    run: Path, several: Path, tmp_path: Path
) -> None:
    facts = trained(several, tmp_path / "run", base=run)
    starting = facts["starting_model"]
    assert "the first layer (2 channels, was 1; kept: flair), the head (2 classes, was 1)" in starting["summary"]
    assert starting["summary"].endswith("not scored before the training: it does not know the classes class-1, class-2")
    assert starting["unscored"] == "it does not know the classes class-1, class-2"
    assert facts["pretrained"] == {
        "rate": 0.1, "new": ["network.down.0.0.weight", "network.head.weight", "network.head.bias"]
    }  # fmt: skip
    assert load_model(tmp_path / "run").traits.channels == ("flair", "t1")


def test_a_starting_model_that_is_better_is_named_with_its_score_and_both_are_kept(
    run: Path, flair: Path, tmp_path: Path
) -> None:
    good = trained(flair, tmp_path / "good", steps=60)
    facts = trained(flair, tmp_path / "run", base=tmp_path / "good", settings={"rate": 0.5, "average": 0.0})
    starting = facts["starting_model"]
    lines = [json.loads(line) for line in (tmp_path / "good" / "log.jsonl").read_text().splitlines()]
    assert starting["before"] == pytest.approx([x["validation"]["dice"] for x in lines if "validation" in x][-1])
    assert good["split"]["validation"] == facts["split"]["validation"], "what is compared above is the same"
    assert starting["after"] < starting["before"]
    assert facts["warnings"][-1] == (
        f"the training did not beat the model that it starts from: dice {starting['after']:.3f} on 1 validation case, "
        f"{starting['before']:.3f} before; both are kept, and `scantling predict {tmp_path / 'good'} INPUT --out DIR` "
        "answers with that model"
    )
    assert load_model(tmp_path / "good")
    assert load_model(tmp_path / "run")


def test_a_training_that_beats_its_starting_model_is_not_warned_of(run: Path, flair: Path, tmp_path: Path) -> None:
    facts = trained(flair, tmp_path / "run", base=run, steps=60)
    assert facts["starting_model"]["before"] < facts["starting_model"]["after"]
    assert not any("beat" in warning for warning in facts["warnings"])


def test_a_starting_model_of_more_classes_is_scored_by_the_names_of_those_that_are_left(
    several: Path, tmp_path: Path
) -> None:
    trained(several, tmp_path / "two", steps=60)
    manifest = json.loads((several / "scantling.json").read_text())
    one = dataset(tmp_path / "one", channels=("flair", "t1"), classes=2)
    (one / "scantling.json").write_text(json.dumps({**manifest, "classes": {"class-2": 2}, "background": [0, 1]}))
    facts = trained(one, tmp_path / "run", base=tmp_path / "two", settings=FROZEN)
    assert "the head (1 class, was 2; kept: class-2)" in facts["starting_model"]["summary"]
    assert facts["starting_model"]["before"] > 0.3, "other balls than these would score 0"


def test_validation_cases_that_the_starting_model_has_learned_from_are_said(flair: Path, tmp_path: Path) -> None:
    trained(flair, tmp_path / "all", validation=0.0)
    facts = trained(flair, tmp_path / "run", base=tmp_path / "all", settings={"rate": 1e-30, "average": 0.0})
    assert (facts["starting_model"]["cases"], facts["starting_model"]["seen"]) == (1, 1)
    assert "before, 1 of which it has learned from" in facts["warnings"][-1]
    expected = of_model(ExpectedRecord, tmp_path / "run")
    assert expected is not None
    assert "the starting model was trained" in expected.fitted, "so its intervals may hold fewer"


def test_cases_that_the_starting_model_has_learned_from_are_known_beside_others_of_the_same_id(tmp_path: Path) -> None:
    """Joined data sets put their name in front of an id that both use."""
    data = [dataset(tmp_path / name) for name in ("first", "second")]
    trained(data[0], tmp_path / "all", validation=0.0)
    options = replace(TINY, base=tmp_path / "all", validation=0.5)
    facts = train("unet", data, tmp_path / "run", options, console=QUIET)
    own = [id for id in facts["split"]["validation"] if id.startswith("first_")]
    assert 0 < len(own) < len(facts["split"]["validation"])
    assert facts["starting_model"]["seen"] == len(own)


def test_loaded_weights_learn_at_a_share_of_the_rate() -> None:
    """The first step of Adam without decay moves every weight by the rate, whatever its gradient."""
    method = unet(traits(channels=("flair", "t1")), weight_decay=0.0, norm="instance")
    stage = method.stages()[0]
    loaded_names = {name for name, _ in method.named_parameters() if name != "network.down.0.0.weight"}
    runner = StageRunner(
        method, stage, seed=0, device=torch.device("cpu"), rates=dict.fromkeys(loaded_names, 0.25)
    )  # fmt: skip
    before = {name: parameter.detach().clone() for name, parameter in method.named_parameters()}
    generator = torch.Generator().manual_seed(0)
    for parameter in method.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    runner._update("unet", 0)
    first = method.settings.rate / 25  # where a one-cycle schedule begins
    for name, parameter in method.named_parameters():
        moved = (parameter.detach() - before[name]).abs().median().item()
        assert moved == pytest.approx(first * (0.25 if name in loaded_names else 1), rel=0.01), name


def test_a_training_moves_the_loaded_weights_by_a_share_of_what_it_moves_the_others(
    run: Path, several: Path, tmp_path: Path
) -> None:
    """With a share of a millionth they stay where they are."""
    settings = {"norm": "instance", "weight_decay": 0.0, "average": 0.0}
    facts = trained(several, tmp_path / "run", base=run, pretrained_rate=1e-6, settings=settings)
    before, after = weights(run), weights(tmp_path / "run")
    for name in after:
        loaded = name not in facts["pretrained"]["new"]
        assert not loaded or np.allclose(before[name], after[name], atol=1e-6), name
    full = trained(several, tmp_path / "full", base=run, pretrained_rate=1.0, settings=settings)
    moved = weights(tmp_path / "full")
    assert full["pretrained"]["rate"] == 1
    assert not all(
        np.allclose(before[name], moved[name], atol=1e-6) for name in before if name not in full["pretrained"]["new"]
    )


def test_an_interrupted_training_on_a_model_goes_on_bit_for_bit(run: Path, several: Path, tmp_path: Path) -> None:
    options = replace(TINY, base=run, steps=6, saved_every=0.0)
    train("unet", [several], tmp_path / "whole", options, console=QUIET)
    with interrupted(after=trainer.REHEARSED + 3), pytest.raises(KeyboardInterrupt):
        train("unet", [several], tmp_path / "broken", options, console=QUIET)
    facts = train("unet", [several], tmp_path / "broken", options, console=QUIET)
    whole, broken = trained_weights(tmp_path / "whole"), trained_weights(tmp_path / "broken")
    assert all(torch.equal(tensor, broken[name]) for name, tensor in whole.items())
    assert facts["pretrained"]["rate"] == 0.1
    assert json.loads((tmp_path / "broken" / "run.json").read_text())["starting_model"] == facts["starting_model"]


@pytest.mark.parametrize("rate", [0.0, 1.5])
def test_a_rate_that_is_no_share_is_refused(run: Path, flair: Path, tmp_path: Path, rate: float) -> None:
    with pytest.raises(SettingsError, match=r"--pretrained-rate .*: expected a share above 0"):
        trained(flair, tmp_path / "run", base=run, pretrained_rate=rate)
    with pytest.raises(SettingsError, match="name a run with --from RUN"):
        trained(flair, tmp_path / "run", pretrained_rate=0.5)


def test_a_run_that_goes_on_needs_the_rate_that_it_began_with(run: Path, flair: Path, tmp_path: Path) -> None:
    trained(flair, tmp_path / "run", base=run, pretrained_rate=0.5)
    assert trained(flair, tmp_path / "run", base=run, pretrained_rate=0.5)["finished"]
    with pytest.raises(RunError, match=r"pretrained was .*0.5"):
        trained(flair, tmp_path / "run", base=run)


def test_settings_that_shape_networks_are_settings() -> None:
    for card in cards().values():
        settings = implementation_of(card).Settings
        assert set(settings.architecture) <= set(settings.model_fields), card.name


def test_a_starting_model_that_has_seen_test_subjects_is_told_of(flair: Path, run: Path, tmp_path: Path) -> None:
    turned = tmp_path / "turned"
    shutil.copytree(flair, turned)
    text = (turned / "scantling.json").read_text()
    text = text.replace('"train"', '"x"').replace('"test"', '"train"').replace('"x"', '"test"')
    (turned / "scantling.json").write_text(text)
    assert start_remarks(run, open_dataset(flair)) == []
    (sentence,) = start_remarks(run, open_dataset(turned))
    assert "of these data" in sentence
    assert "scores there would say nothing" in sentence
    assert start_remarks(None, open_dataset(turned)) == start_remarks(tmp_path, open_dataset(turned)) == []
