"""Self-training: in rounds, a network labels the images without masks and goes on with what it is most sure of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from scantling.contract.stage import Game, Prepared, Stage, Visit
from scantling.contract.step import Step
from scantling.core.fields import IGNORE
from scantling.core.samples import Batch
from scantling.methods.catalogue import CARDS
from scantling.methods.semi_supervised.base import (
    SemiSupervisedSegmenter,
    SemiSupervisedSettings,
    in_one_pass,
    known_pixels,
)

Share = Annotated[float, Field(gt=0, le=1)]

WHOLE = 4
"""An image of more than so many patches is labelled patch by patch."""
LOOKED, PIXELS = 200, 10_000
"""Images, evenly spread, and pixels of each from which thresholds are taken."""
THRESHOLDS = "thresholds"


class SelfTrainingSettings(SemiSupervisedSettings):
    """Settings of `self-training`.

    Attributes:
        kept: for each round the share of the pixels of each class that are kept, the most confident ones. CBST takes
            0.2 to 0.5 for images of another domain; these are ours.
        weight: of the loss on pseudo-labels.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        **SemiSupervisedSettings.presets,
        "tiny": {**SemiSupervisedSettings.presets["tiny"], "kept": (0.5,)},
    }
    kept: Annotated[tuple[Share, ...], Field(min_length=1)] = (0.5, 0.65, 0.8)
    weight: Annotated[float, Field(ge=0)] = 1.0


class SelfTraining(SemiSupervisedSegmenter):
    """Pseudo-labels (Lee, 2013) in rounds with a threshold for each class (CBST; Zou et al., ECCV 2018).

    The first part of the steps is that of `unet` on masks. Then each round labels all other images once, keeps of each
    class the pixels that are most likely, and trains on both for as many steps with the same loss. Ours: all parts are
    equally long, and the network goes on with its weights.
    """

    card = CARDS["self-training"]
    Settings = SelfTrainingSettings
    settings: SelfTrainingSettings

    def stages(self) -> Sequence[Stage]:
        """One on masks alone, then one a round; the first takes all steps where every image has a mask."""
        of, player = self.settings, self.player(self.network)
        rounds = len(of.kept) if self.traits.unlabelled else 0
        steps = max(1, of.steps // (rounds + 1))
        first = Stage(
            name="masks",
            players=(player,),
            streams=(replace(self.labelled, batch=of.batch or 1),),
            steps=max(1, of.steps - rounds * steps),
            objectives=self.objectives,
        )
        return (first, *(self.round_of(number, steps) for number in range(1, rounds + 1)))

    def round_of(self, number: int, steps: int) -> Stage:
        """The stage of a round, from 1."""
        field = f"pseudo-labels {number}"
        unlabelled = replace(self.unlabelled, reads=("image", field))
        return Stage(
            name=f"round {number}",
            players=(self.player(self.network),),
            streams=(self.labelled, unlabelled),
            steps=steps,
            objectives=partial(self.objectives, field=field),
            prepare=partial(self.thresholds, kept=self.settings.kept[number - 1]),
            prepares=(Prepared(name=field, kind="labels", make=self.label),),
        )

    def objectives(self, batch: Mapping[str, Batch], step: Step, field: str = "") -> Game:
        """The same loss on masks and on pseudo-labels."""
        labelled = batch["labelled"]
        if "unlabelled" not in batch:
            yield "unet", (yield from self.loss_terms(self.network(labelled.image), labelled.mask, step))
            return
        unlabelled = batch["unlabelled"]
        logits, other = in_one_pass(self.network, labelled.image, unlabelled.image)
        terms = yield from self.loss_terms(logits, labelled.mask, step)
        found = yield from self.loss_terms(other, unlabelled.fields[field], step)
        pseudo = {f"pseudo {name}": self.settings.weight * value for name, value in found.items()}
        yield "unet", {**terms, **pseudo}

    def thresholds(self, visit: Visit, step: Step, kept: float) -> Mapping[str, Tensor]:
        """The probability above which the share `kept` of the pixels of each label lies, by the number of the label.

        (K + 1,) with the background first, or (2 K,) of overlapping classes: that a pixel is not of it, and that it is.
        """
        del step
        every = max(1, self.traits.unlabelled // LOOKED)
        labels, confidences = list[Tensor](), list[Tensor]()
        for position, batch in enumerate(visit("unlabelled")):
            if position % every == 0:
                numbers, confidence, region = (each[0].flatten(1) for each in self.guess(batch))
                inside = torch.nonzero(region[0])[:, 0]
                some = inside[torch.linspace(0, len(inside) - 1, min(PIXELS, len(inside))).long()]
                labels.append(numbers[:, some].flatten().cpu())
                confidences.append(confidence[:, some].flatten().cpu())
        number, confidence = torch.cat(labels), torch.cat(confidences)
        classes = len(self.traits.classes)
        count = 2 * classes if self.network.head.out_channels == classes > 1 else classes + 1
        found = [confidence[number == each] for each in range(count)]
        return {THRESHOLDS: torch.stack([lowest_kept(one, kept) for one in found])}

    def label(self, batch: Batch, step: Step) -> Tensor:
        """The pseudo-labels (1, 1 or K, *S) of one image, unknown where they are not among the most confident."""
        numbers, confidence, _ = self.guess(batch)
        least = step.prepared[THRESHOLDS].to(confidence.device)[numbers]
        labels = numbers % 2 if numbers.shape[1] > 1 else numbers
        return known_pixels(batch, labels.to(torch.uint8).masked_fill(confidence < least, IGNORE))

    def guess(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Of one image the number of the label of each pixel (1, 1 or K, *S), its probability, and the region.

        Of overlapping classes k = 0, 1, ... the numbers are 2 k and 2 k + 1.
        """
        logits = patch_by_patch(self.network, batch.image, self.settings.patch or self.traits.shape)
        labels, confidence = self.pseudo_labels(logits)
        numbers = labels.long()
        if labels.shape[1] > 1:
            places = 2 * torch.arange(labels.shape[1], device=labels.device)
            numbers = numbers + places.view(-1, *[1] * (labels.ndim - 2))
        return numbers, confidence, batch.region


def lowest_kept(confidences: Tensor, kept: float) -> Tensor:
    """The least of the share `kept` of the confidences (N,) that are highest; infinite of none."""
    if not len(confidences):
        return confidences.new_tensor(torch.inf)
    return confidences.sort(descending=True).values[max(0, round(kept * len(confidences)) - 1)]


def patch_by_patch(network: Callable[[Tensor], Tensor], image: Tensor, patch: Sequence[int]) -> Tensor:
    """The output of a network for an image (1, C, *S), the mean of patches that overlap by half where it is large."""
    size = tuple(image.shape[2:])
    if image[0, 0].numel() <= WHOLE * torch.Size(patch).numel():
        return network(image)
    sides = [min(side, length) for side, length in zip(patch, size, strict=True)]
    starts: Iterable[tuple[int, ...]] = product(
        *(
            sorted({*range(0, length - side, max(1, side // 2)), length - side})
            for side, length in zip(sides, size, strict=True)
        )
    )
    total, count = image.new_zeros(1), image.new_zeros(size)
    for start in starts:
        place: tuple[Any, ...] = (..., *(slice(n, n + side) for n, side in zip(start, sides, strict=True)))
        found = network(image[place])
        if total.ndim == 1:
            total = found.new_zeros((1, found.shape[1], *size))
        total[place] += found
        count[place] += 1
    return total / count
