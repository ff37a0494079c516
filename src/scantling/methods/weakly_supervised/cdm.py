"""CDM: masks from classes of images alone, by what the class changes on the way back from noise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scantling.contract.capabilities import Segmenter
from scantling.contract.method import Method
from scantling.contract.options import SegmentOptions
from scantling.contract.results import Segmentation
from scantling.contract.stage import Calibration, Game, Player, Stage
from scantling.contract.step import Draws, Inference, Step
from scantling.core.samples import Batch, Traits
from scantling.core.spread import evenly
from scantling.core.streams import Augmentation, Stream
from scantling.diffusion.chain import exact
from scantling.diffusion.conditions import condition_difference, counterfactual
from scantling.methods.catalogue import CARDS
from scantling.methods.features.image_diffusion import ImageDenoiser, shown
from scantling.methods.weakly_supervised.cdm_settings import CdmOptions, CdmSettings, check_walk_of
from scantling.methods.weakly_supervised.class_maps import as_probabilities, cut, traits_of_object
from scantling.networks.noisy_classifier import NoisyClassifier

SIGNED = 16
"""Training images by which the sign of the map is found; ours."""
RING = 3
"""Pixels around a region to whose mean it is levelled; ours."""


class CDM(Segmenter, ImageDenoiser):
    r"""Conditional diffusion models for weakly supervised segmentation (Hu, Chen, Chen, 2023).

    A denoiser ε_θ(x_t, t, f(y)) learns images with and without an object, of which only that class y is known. An image
    is noised to the level Q, and R steps of DDIM are taken twice: under f(y1), and under τ f(y1) + (1 - τ) f(y0). What
    the two differ by, divided by 1 - τ, is added up over steps and channels, and Otsu's threshold makes the mask.
    "cg-cdm" adds -s √(1 - ᾱ_t) ∇ log p(y | x_t) of a classifier of noisy images to the noise of both.

    Departures: images are scaled to [-1, 1], in the authors' code to [0, 1]. Their code leaves out 1 / (1 - τ), without
    effect on the mask, and its "CDM" is |x - x'| of a reconstruction under y0 ("cg-diff" here). The sign is kept there;
    here it is learnt on training images, whose masks nobody reads (ours).
    """

    card = CARDS["cdm"]
    Settings = CdmSettings
    settings: CdmSettings
    segment_with = CdmOptions
    sign: Tensor
    falls: Tensor

    def __init__(self, settings: CdmSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None) -> None:
        super().__init__(settings, traits, uses=uses)
        of = settings
        self.condition = nn.Embedding(2, 4 * of.widths[0])  # f(y0), f(y1)
        self.classifier = NoisyClassifier(
            len(traits.channels), 2, widths=of.classifier_widths, blocks=of.classifier_blocks,
            attention=of.classifier_attention, head_channels=of.head_channels,
        )  # fmt: skip
        self.register_buffer("sign", torch.tensor(-1.0 if of.sign == "flipped" else 1.0))
        self.register_buffer("falls", torch.zeros(2))

    @classmethod
    def resolve_traits(cls, settings: CdmSettings, traits: Traits) -> Traits:
        """One class: that of the data where they name one, else the image class that shows it."""
        return traits_of_object(settings.shown, traits)

    def stages(self) -> Sequence[Stage]:
        """One stage, in which the denoiser and the classifier see the same images under noise of their own."""
        of = self.settings
        players = (
            Player(
                name="denoiser", modules=(self.network, self.condition), rate=of.rate, schedule=of.schedule_of_rate,
                clip=1.0, average=of.average,
            ),
            Player(
                name="classifier", modules=(self.classifier,), rate=of.classifier_rate, optimiser="adamw",
                schedule=of.schedule_of_rate, clip=1.0, average=of.average,
            ),
        )  # fmt: skip
        stream = Stream(
            name="images", reads=("image", "image_class"), batch=of.batch, patch=of.shape(self.traits),
            augment=Augmentation(flips=of.flips, turns=of.turns),
        )  # fmt: skip
        return (
            Stage(
                name="train", players=players, streams=(stream,), steps=of.steps, objectives=self.objectives,
                prepare=None if of.weights is None else self.begin,
            ),
        )  # fmt: skip

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The terms of the denoiser under the class of each image, then the cross-entropy of the classifier."""
        images = batch["images"]
        kinds = self.kinds(images)
        yield "denoiser", self.denoising(images.image, step, beside=self.condition(kinds))
        timestep = step.randint("timestep of the classifier", 0, self.settings.chain, count=len(kinds))
        noisy = self.process.noised(images.image, timestep, step.randn("noise of the classifier", like=images.image))
        yield "classifier", {"cross_entropy": F.cross_entropy(self.logits(noisy, timestep), kinds)}

    def said(self, noisy: Tensor, timestep: Tensor, beside: Tensor | None) -> Tensor:
        """What the network answers about noisy images at timesteps, told the code of a condition (B or 1, code)."""
        answer: Tensor = self.network(noisy.to(self.dtype), timestep, told=beside)
        return answer

    def logits(self, noisy: Tensor, timestep: Tensor) -> Tensor:
        """(B, 2) of noisy images, by the classifier: without the object, with it."""
        return exact(self.classifier(noisy.to(self.dtype), timestep))

    def kinds(self, batch: Batch) -> Tensor:
        """(B,) int64: 1 where the class of an image shows the object, else 0."""
        table = torch.tensor([name in self.settings.shown for name in self.traits.image_classes])
        return table.long().to(batch.image_class.device)[batch.image_class]

    def calibration(self) -> Calibration | None:
        """The sign of the map, where it is learnt, from training images and their classes."""
        stream = Stream(name="images", reads=("image", "image_class"))
        learnt = self.settings.sign == "learnt"
        return Calibration(stream=stream, split="train", fit=self.find_sign) if learnt else None

    def find_sign(self, visit: Iterable[Batch], step: Step) -> None:
        """Keep the sign by which the evidence of the classifier falls more where the region is levelled.

        Images with the object, spread evenly over all: each sign makes a region of its own, which is levelled to the
        mean of the pixels around it. Evidence is log p(y1) - log p(y0) at t = 0.
        """
        asked = CdmOptions(variant="cdm") if self.settings.variant == "cg-diff" else CdmOptions()
        options, falls = CdmOptions.of(dict(self.segment_options(asked))), list[Tensor]()
        shown = evenly((batch for batch in visit if bool(self.kinds(batch).all())), SIGNED)
        for number, batch in enumerate(shown):
            moment = Draws(seed=step.seed, stage="sign", number=number, device=batch.image.device)
            evidence = self.difference(batch.image, options, moment)
            before, falls_of_one = self.evidence(batch.image), []
            for sign in (1, -1):
                mask = cut(sign * evidence, batch.region, largest=bool(options.largest))
                falls_of_one.append(before - self.evidence(levelled(batch.image, mask, batch.region)))
            falls.append(torch.cat(falls_of_one))
        if falls:
            self.falls.copy_(torch.stack(falls).mean(0))
            self.sign.fill_(1.0 if self.falls[0] >= self.falls[1] else -1.0)

    def learned(self) -> Mapping[str, float]:
        """The sign, and how much evidence was lost with the regions of either sign."""
        if self.settings.sign != "learnt":
            return {}
        kept, flipped = self.falls.tolist()
        return {
            "sign of the map": float(self.sign),
            "evidence lost with the region, sign kept": kept,
            "evidence lost with the region, sign flipped": flipped,
        }

    def segment_options(self, options: SegmentOptions) -> SegmentOptions:
        """The variant and its numbers as in the settings, unless something else is asked."""
        of, asked = self.settings, CdmOptions.of(dict(options))
        own = ("variant", "noise_level", "tau", "guidance", "guided", "largest", "gate")
        chosen = {name: getattr(of, name) if getattr(asked, name) is None else getattr(asked, name) for name in own}
        steps = asked.steps or of.sampling_steps
        check_walk_of(chosen["noise_level"], steps, of.chain)
        return (
            super()
            .segment_options(asked.model_copy(update={**chosen, "steps": None}))
            .model_copy(update={"steps": steps})
        )

    def calls(self, options: SegmentOptions) -> int:
        """Two trajectories."""
        return 2 * (options.steps or 1)

    def segment(self, batch: Batch, inference: Inference) -> Segmentation:
        """Above one half where the map exceeds Otsu's threshold of its image, which sees the whole of it."""
        options = CdmOptions.of(dict(self.segment_options(inference.options)))
        evidence = self.difference(batch.image, options, inference)
        if options.variant != "cg-diff":
            evidence = evidence.abs() if self.settings.sign == "absolute" else self.sign * evidence
        mask = cut(evidence, batch.region, largest=bool(options.largest))
        likely = as_probabilities(evidence, mask, batch.region)
        if options.gate:
            shows = self.evidence(batch.image).sigmoid() >= options.gate
            likely = likely * shows.view(-1, 1, 1, 1)
        return Segmentation(probabilities=likely, maps={"evidence": evidence})

    def difference(self, image: Tensor, options: SegmentOptions, draws: Draws) -> Tensor:
        """The map (B, 1, H, W) of images, summed over channels, before it has its sign; that of "cg-diff" has none."""
        of = CdmOptions.of(dict(options))
        level, steps, variant = of.noise_level or 1, of.steps or 1, of.variant
        scale = 0.0 if variant == "cdm" else of.guidance or 0.0

        def model(x: Tensor, t: int, share: Tensor) -> Tensor:
            led = torch.ones_like(share) if variant == "cg-cdm" and of.guided == "shown" else share
            up = variant == "cg-diff" and bool(share.any())  # only the way down is led
            return self.noise_in(x, t, share, led, 0.0 if up else scale)

        if variant == "cg-diff":
            without = counterfactual(model, image, process=self.process, level=level - 1, steps=steps)
            return (image - without).abs().sum(1, keepdim=True)
        start = self.process.noised(image, level, draws.randn("noise", like=image))
        found = condition_difference(
            model, start, process=self.process, first=level - 1, steps=steps, tau=of.tau or 0.0
        )
        return found.sum(1, keepdim=True)

    def noise_in(self, x: Tensor, t: int, share: Tensor, led: Tensor, scale: float) -> Tensor:
        """The noise in images (B, C, H, W) under `share` of f(y1), led by the classifier to `led` of y1: (B,) each."""
        timestep = torch.full((1,), t, device=x.device)
        without, with_object = self.condition.weight
        shares = share.to(without.dtype)[:, None]
        predicted, _ = self.parts(self.said(x, timestep, shares * with_object + (1 - shares) * without))
        if not scale:
            return predicted
        with torch.enable_grad():
            seen = x.detach().requires_grad_()
            logs = self.logits(seen, timestep).log_softmax(1)
            (pull,) = torch.autograd.grad(((1 - led) * logs[:, 0] + led * logs[:, 1]).sum(), seen)
        return predicted - scale * float((1 - self.process.alpha_bar(t)).sqrt()) * pull

    def evidence(self, image: Tensor) -> Tensor:
        """(B,), log p(y1) - log p(y0) of images without noise, by the classifier."""
        logits = self.logits(image, torch.zeros(1, dtype=torch.int64, device=image.device))
        return logits[:, 1] - logits[:, 0]

    def pictures(self, batch: Batch, inference: Inference) -> Mapping[str, Tensor]:
        """The map of the class, before it is cut."""
        found = self.segment(batch, inference)
        evidence = found.maps["evidence"]
        scaled = 2 * (evidence - evidence.min()) / (evidence.max() - evidence.min()).clamp(min=1e-12) - 1
        return {"What the class with the object changes on the way back from noise": shown(scaled)}


def levelled(image: Tensor, mask: Tensor, region: Tensor) -> Tensor:
    """Images (B, C, H, W) with each mask (B, 1, H, W) levelled to the mean of the pixels within `RING` around it.

    Where nothing lies around it, all that is not in it counts.
    """
    wide = F.max_pool2d(mask.float(), 2 * RING + 1, stride=1, padding=RING) > 0
    ring = wide & ~mask & region
    ring = torch.where(ring.flatten(1).any(1).view(-1, 1, 1, 1), ring, ~mask)
    count = ring.sum((2, 3), keepdim=True).clamp(min=1)
    mean = (image * ring).sum((2, 3), keepdim=True) / count
    return torch.where(mask, mean, image)
