"""DeepAtlas: whose turn it is, which pairs it sees, what is frozen, and what each network teaches the other."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from scantling.contract.step import Step
from scantling.core.case import IGNORE, Labels
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch, Intensity, Traits
from scantling.losses import bending_energy
from scantling.methods.registration.deep_atlas import DeepAtlas, DeepAtlasSettings
from semi_supervised import noise, played, segmenter, value_of

GREY = Intensity(mean=0, std=1, low=-2, high=2, minimum=-3, maximum=3)


def pair(kind: str, *, classes: int = 2) -> Batch:
    """A pair of noise of which the images have masks as the kind says."""
    fixed, moving = noise(1, classes=classes), noise(2, classes=classes)
    for batch, there in (
        (fixed, kind in ("both labelled", "fixed labelled")),
        (moving, kind in ("both labelled", "moving labelled")),
    ):
        batch.present["mask"].fill_(there)  # type: ignore[attr-defined]
        if not there:
            batch.fields["mask"].fill_(IGNORE)
    return replace(fixed, companions={"moving": moving})


def drawn(method: DeepAtlas, steps: int) -> list[tuple[str, ...]]:
    together = method.stages()[-1]
    assert together.draws is not None
    return [tuple(together.draws(Step(seed=0, number=n, count=together.steps))) for n in range(steps)]


def test_the_registrar_moves_in_40_steps_and_then_the_segmenter_in_5_unless_settings_say_otherwise() -> None:
    turns = segmenter("deep-atlas", registration_turn=40, segmentation_turn=5)
    moves = [turns.movers(Step(seed=0, number=n, count=900)) for n in range(90)]
    assert moves == 2 * ([(True, False)] * 40 + [(False, True)] * 5)
    rounds = segmenter("deep-atlas", schedule="rounds", rounds=2, registration_turn=40, segmentation_turn=5)
    moves = [rounds.movers(Step(seed=0, number=n, count=900)) for n in range(900)]
    assert moves == 2 * ([(True, False)] * 400 + [(False, True)] * 50)
    joint = segmenter("deep-atlas", schedule="joint")
    assert joint.movers(Step(seed=0, number=7, count=9)) == (True, True)


def test_kinds_of_pairs_come_as_often_as_there_are_such_pairs() -> None:
    method = segmenter("deep-atlas")  # 3 images with masks, 6 without
    seen = Counter(method.kind_of(n, segmenter=False) for n in range(7200))
    assert {kind: round(number / 100) for kind, number in seen.items()} == {
        "both labelled": 6, "moving labelled": 18, "fixed labelled": 18, "none labelled": 30,
    }  # fmt: skip


def test_the_segmenter_sees_no_pair_without_a_mask_and_none_that_teaches_it_nothing() -> None:
    method = segmenter("deep-atlas", schedule="joint")
    kinds = {method.kind_of(n, segmenter=True) for n in range(50)}
    assert kinds == {"moving labelled", "fixed labelled"}
    assert all("labelled" in names for names in drawn(method, 4))


@pytest.mark.parametrize("unlabelled", [0, 6])
def test_only_streams_that_can_be_filled_are_read(unlabelled: int) -> None:
    method = segmenter("deep-atlas", unlabelled=unlabelled)
    names = {stream.name for stream in method.stages()[-1].streams}
    assert {name for one in drawn(method, 60) for name in one} <= names
    assert ("none labelled" in names) == (unlabelled > 0)
    one = method.traits.model_copy(update={"labelled": 1, "unlabelled": 6})
    method.traits = one
    assert "both labelled" not in {stream.name for stream in method.stages()[-1].streams}


@pytest.mark.parametrize("kind", ["both labelled", "moving labelled", "fixed labelled", "none labelled"])
def test_who_does_not_move_gets_no_gradient_and_keeps_its_statistics(kind: str) -> None:
    method = segmenter("deep-atlas", classes=2, norm="batch")
    before = {name: buffer.clone() for name, buffer in method.network.named_buffers()}
    batch = pair(kind)
    terms = method.registration_terms(batch, batch.companions["moving"])
    assert set(terms) == {"similarity", "bending", "anatomy"}
    torch.stack([*terms.values()]).sum().backward()
    assert all(p.grad is None for p in method.network.parameters())
    assert all(torch.equal(buffer, before[name]) for name, buffer in method.network.named_buffers())
    assert method.network.training
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in method.registrar.parameters())
    method.zero_grad(set_to_none=True)
    if kind in ("moving labelled", "fixed labelled"):
        method.lesson(batch, batch.companions["moving"]).backward()
        assert all(p.grad is None for p in method.registrar.parameters())
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in method.network.parameters())


def test_the_anatomy_of_the_registrar_moves_it_and_nearest_values_would_not() -> None:
    method, batch = segmenter("deep-atlas", classes=2), pair("both labelled")
    shift = (0.3 * torch.ones(2, 2, 24, 24, dtype=torch.float64)).requires_grad_()
    target, source = (method.anatomy_of(one) for one in (batch, batch.companions["moving"]))
    method.agreement(target, source, shift, linear=True).backward()
    assert shift.grad is not None
    assert shift.grad.abs().sum() > 0
    assert not method.agreement(target, source, shift.detach(), linear=False).requires_grad


def test_equal_labels_agree_where_both_are_known() -> None:
    method = segmenter("deep-atlas", classes=2)
    one = noise(1, classes=2)
    still = torch.zeros(2, 2, 24, 24, dtype=torch.float64)
    labels = method.anatomy_of(one)
    assert value_of(method.agreement(labels, labels, still, linear=True)) == pytest.approx(0, abs=1e-9)
    unknown = one.mask.clone()
    unknown[..., :12] = IGNORE
    half = method.anatomy_of(replace(one, fields={**one.fields, "mask": unknown}))
    assert value_of(method.agreement(labels, half, still, linear=True)) == pytest.approx(0, abs=1e-9)


def test_a_step_in_which_both_move_updates_the_registrar_first() -> None:
    method = segmenter("deep-atlas", schedule="joint")
    step = Step(seed=0, number=0, count=4)
    batch = {"labelled": noise(4, count=4, classes=1)} | {
        name: pair(name, classes=1) for name in ("both labelled", "moving labelled", "fixed labelled", "none labelled")
    }
    terms = played(method.take_turns(batch, step))
    assert list(terms) == ["registrar", "segmenter"]
    assert set(terms["segmenter"]) == {"cross_entropy", "overlap", "anatomy"}


def test_the_paper_has_the_tutorials_network_and_weights_the_bending_by_the_size() -> None:
    traits = Traits(
        dimensions=3, channels=("t1",), labels=Labels(names=("a", "b"), values=((1,), (2,))), spacing=(1.0,) * 3,
        unit="mm", shape=(160, 192, 160), smallest=(160, 192, 160), intensity=(GREY,), labelled=5, unlabelled=9,
    )  # fmt: skip
    settings = DeepAtlasSettings.preset("paper").resolve(traits)
    assert settings.widths == (8, 16, 16, 32, 32, 64, 64)
    assert settings.strides == tuple((n,) * 3 for n in (1, 2, 1, 2, 1, 2))
    assert settings.patch is not None
    assert 0.9 < torch.tensor(settings.patch).prod() / 96**3 <= 1
    assert (settings.registration_turn, settings.segmentation_turn, settings.anatomy) == (40, 5, 2)
    assert [stage.streams[0].batch for stage in DeepAtlas(settings, traits).stages()] == [8, 2]
    assert settings.explain(traits)[1:] == (
        "pairs of 5 images with masks and 9 without; turns of 40 steps of the registrar and 5 of the segmenter",
    )
    vectors = torch.randn(1, 3, 6, 6, 6, generator=torch.Generator().manual_seed(0))
    image: Tensor = torch.rand(1, 1, 6, 6, 6)
    terms = settings.pair_terms(image, image, vectors=vectors, displacement=0 * vectors, spacing=(1.0,) * 3)
    torch.testing.assert_close(terms["bending"], 7.5 * (6 / 128) ** 2 * bending_energy(vectors))


def test_axes_of_a_registrar_that_sees_images_shrunk_are_halved_by_the_spacing_that_it_sees() -> None:
    traits = Traits(
        dimensions=3, channels=("t1",), labels=Labels(names=("a",), values=((1,),)), spacing=(3.0, 1.0, 1.0),
        unit="mm", shape=(20, 64, 64), smallest=(20, 64, 64), intensity=(GREY,), labelled=1, unlabelled=2,
    )  # fmt: skip
    for shrink, first in ((1, (1, 2, 2)), (2, (2, 2, 2))):  # 3 x 1 x 1, and 3 x 2 x 2 mm where 20 pixels are kept
        settings = DeepAtlasSettings.preset("quick", {"shrink": shrink}).resolve(traits)
        network = settings.pair_network(traits, settings.whole(traits))
        assert tuple(network.unet.strides[0]) == first


def test_what_cannot_be_paired_is_refused_in_a_sentence() -> None:
    method = segmenter("deep-atlas")
    with pytest.raises(SettingsError, match="found 1 training image; expected 2 at least"):
        method.settings.resolve(method.traits.model_copy(update={"labelled": 1, "unlabelled": 0}))
    with pytest.raises(SettingsError, match=r"give it as --settings\.patch"):
        DeepAtlasSettings.preset("tiny", {"size": 32}).resolve(method.traits)
    with pytest.raises(SettingsError, match=r"window: found 4; .*odd"):
        DeepAtlasSettings.preset("tiny", {"window": 4})
