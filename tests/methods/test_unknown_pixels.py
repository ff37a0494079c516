"""What a mask does not know counts in no loss of any method that reads masks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from scantling.core.case import IGNORE
from scantling.core.samples import Batch
from scantling.methods.catalogue import CARDS
from scantling.testing.checks import _begun
from scantling.testing.subject import Subject
from scantling.training.stage_runner import StageRunner

NAMES = [
    name
    for name, card in CARDS.items()
    if card.fits and not card.extra and any("mask" in words for words in card.needs)
]


def unknown(batch: Batch) -> Batch:
    """The batch with masks of which nothing is known."""
    return replace(batch, fields={**batch.fields, "mask": torch.full_like(batch.mask, IGNORE)})


def noted_gradients(runner: StageRunner) -> list[float]:
    """The greatest gradient of each parameter, noted when its player is updated."""
    found, update = list[float](), runner._update

    def noted(player: str, step: int) -> None:
        found.extend(float(p.grad.abs().max()) for p in runner.owned[player] if p.grad is not None)
        update(player, step)

    runner._update = noted  # type: ignore[method-assign]
    return found


# The registrar of `deep-atlas` learns from images.
@pytest.mark.parametrize("name", [name for name in NAMES if name != "deep-atlas"])
def test_masks_that_know_nothing_have_finite_losses_and_teach_nothing(name: str, tmp_path: Path) -> None:
    card = CARDS[name]
    subject = Subject(card, card.dimensions[0], tmp_path)
    method = subject.method()
    for stage in method.stages():
        readers, runner = _begun(subject, method, stage)
        gradients = noted_gradients(runner)
        batches = {stream: reader.batch(0) for stream, reader in readers.items() if "mask" in reader.stream.reads}
        losses = runner.step(0, [{stream: unknown(batch) for stream, batch in batches.items()}])
        values = torch.stack([value for terms in losses.values() for value in terms.values()])
        assert values.isfinite().all()
        assert max(gradients) < 1e-6, f"stage {stage.name} learns from what is unknown: {losses}"


OTHERS = ("direction", "fedd", "odise", "vessel-controlnet", "registration-augmentation")
"""Methods whose network sees the mask, or the image, on another grid."""


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OTHERS])
def test_what_a_network_says_of_an_unknown_pixel_changes_no_loss(name: str, tmp_path: Path) -> None:
    """Where half of a mask is unknown, the gradient with respect to the outputs there is 0."""
    subject = Subject(CARDS[name], 2, tmp_path)
    method = subject.method()
    stage = method.stages()[0]
    readers, runner = _begun(subject, method, stage)
    said: list[torch.Tensor] = []

    def kept(module: torch.nn.Module, given: object, found: object) -> None:
        outputs = found.values() if isinstance(found, dict) else found if isinstance(found, tuple | list) else (found,)
        for output in outputs:
            if isinstance(output, torch.Tensor) and output.requires_grad:
                output.retain_grad()
                said.append(output)

    names = ("student", "segmenter", "network", "paths")
    network = next(found for name in names if (found := getattr(method, name, None)))
    network = network[0] if isinstance(network, torch.nn.ModuleList) else network
    network.register_forward_hook(kept)
    batches = {stream: reader.batch(0) for stream, reader in readers.items() if "mask" in reader.stream.reads}
    for batch in batches.values():
        batch.mask[..., : batch.mask.shape[-1] // 2] = IGNORE
    runner.step(0, [batches])
    maps = [output.grad for output in said if output.grad is not None]
    assert maps
    for gradient in maps:
        assert gradient.abs().max() > 0
        assert not gradient[..., : gradient.shape[-1] // 2].any()
