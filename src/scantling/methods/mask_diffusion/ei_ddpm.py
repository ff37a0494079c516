"""EI-DDPM: a diffusion of the label map for each modality, and evidence that knows how far to believe each of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from scantling.contract.method import Method
from scantling.contract.options import SegmentOptions
from scantling.contract.stage import Calibration, Game, Player, Stage
from scantling.contract.step import Draws, Inference, Step, Total
from scantling.core.case import IGNORE
from scantling.core.randomness import seed_of
from scantling.core.samples import Batch, Traits
from scantling.core.spread import Spread
from scantling.core.streams import Stream
from scantling.diffusion.chain import columns, exact
from scantling.diffusion.samplers import Final
from scantling.evidence.discounting import fused_contours, scalar_fusion
from scantling.evidence.masses import added, contour, pignistic
from scantling.evidence.prototypes import EvidentialLayer
from scantling.evidence.reliabilities import contours_of, learn_reliabilities
from scantling.losses.overlap import batch_dice_loss, overlap_sums
from scantling.methods.catalogue import CARDS
from scantling.methods.mask_diffusion.chains import Condition, masks_of, mean_of_known, within_one
from scantling.methods.mask_diffusion.ei_ddpm_settings import EIDDPMSettings
from scantling.methods.mask_diffusion.gaussian_masks import GaussianMasks

LOGIT = 5.0
"""Ours: a clean label map of -1 and 1 is read as logits of this size by the evidential layer."""


class Together(NamedTuple):
    """What the modalities say of label maps.

    Attributes:
        fused: (B, K + 1, *S), the background first.
        alone: of each modality the same, by itself.
        ignorance: (B, H, *S), m(Ω) of each modality; None without evidence.
    """

    fused: Tensor
    alone: Sequence[Tensor]
    ignorance: Tensor | None


class Reliabilities(nn.Module):
    """b of each modality and class, or of each modality: σ of logits that begin at 0, so ½.

    Args:
        modalities: H.
        numbers: of each modality: the classes and the background, or 1.
    """

    def __init__(self, modalities: int, numbers: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(modalities, numbers))

    def forward(self, present: Tensor) -> Tensor:
        """(B, H, numbers), exactly 0 where a modality is missing from present (B, H)."""
        return self.logits.sigmoid() * present[..., None].to(self.logits.dtype)


class EIDDPM(GaussianMasks):
    r"""Evidence-identified diffusion over the channels of an image (Zhao and Li, 2023).

    .. math:: x^h_{t-1} = \frac{1}{\sqrt{\alpha_t}}\Big(x^h_t - \frac{1 - \alpha_t}{\sqrt{1 - \bar\alpha_t}}
              \epsilon_h(x^h_t \oplus I_h, t)\Big) + \sigma_t z, \quad
              p(c) \propto \prod_h \big(1 - b_{hc} + b_{hc}\, pl_h(c)\big)

    for each modality h, with the same noise z for all. pl_h is the contour of the mass function that an evidential
    layer makes of the label map at the end of the chain; the paper gives no formula for it, so it is that of Huang et
    al. (2022), whom it follows. A modality that a case lacks has b = 0, in training and at inference.
    """

    card = CARDS["ei-ddpm"]
    Settings = EIDDPMSettings
    settings: EIDDPMSettings

    def __init__(self, settings: EIDDPMSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None) -> None:
        super().__init__(settings, traits, uses=uses)
        modalities, classes = len(traits.channels), len(traits.classes)
        self.paths = nn.ModuleList(self.denoiser(classes + 1, classes) for _ in range(modalities))
        clean = 2 * torch.cat([torch.zeros(1, classes), torch.eye(classes)]) - 1  # the label map of each class
        self.layers = nn.ModuleList(
            EvidentialLayer(classes, classes + 1, prototypes=settings.prototypes, around=LOGIT * clean)
            for _ in range(0 if settings.evidence == "none" else modalities)
        )
        self.reliabilities: Reliabilities | None = None
        if settings.evidence == "full":
            self.reliabilities = Reliabilities(modalities, classes + 1 if settings.fusion == "contour" else 1)

    @property
    def states(self) -> int:
        """A label map for each modality."""
        return len(self.traits.channels) * len(self.traits.classes)

    def stream(self) -> Stream:
        """Labelled images, some of which may lack modalities."""
        return replace(super().stream(), partial=True)

    def stages(self) -> Sequence[Stage]:
        """One stage; the evidential part is a player with a rate of its own."""
        (stage,) = super().stages()
        (player,) = stage.players
        paths = replace(player, name="paths", modules=(self.paths,))
        if self.settings.evidence == "none":
            return (replace(stage, players=(paths,)),)
        evidence = Player(
            name="evidence",
            modules=(self.layers,) if self.reliabilities is None else (self.layers, self.reliabilities),
            rate=self.settings.evidence_rate,
            schedule=player.schedule,
            clip=player.clip,
            average=player.average,
        )
        return (replace(stage, players=(paths, evidence)),)

    def calibration(self) -> Calibration | None:
        """The reliabilities once more, from the ends of chains of training images (`refitted`)."""
        of = self.settings
        if not of.refitted or of.evidence != "full" or of.fusion != "contour":
            return None
        stream = Stream(name="labelled", reads=("image", "mask"), partial=True)
        return Calibration(stream=stream, split="train", fit=self.fit_reliabilities)

    def fit_reliabilities(self, visit: Iterable[Batch], step: Step) -> None:
        """The reliabilities under which the ends of chains agree best with the masks of training images (ours).

        While paths learn, most of what they guess is background, and a modality that sees nothing is believed of it.
        Half of the images show a class, as far as there are some. A modality that an image lacks says nothing of it;
        classes that none of them shows keep what they have.
        """
        shown, others = apart(visit, most=self.settings.refitted)
        if self.reliabilities is None or not shown:
            return
        said: list[list[Tensor]] = [[] for _ in self.paths]
        masks = list[Tensor]()
        for number, batch in enumerate([*shown, *others]):
            inference = Inference(
                seed=seed_of(step.seed, "reliabilities", number), stage="reliabilities", device=batch.image.device,
                options=SegmentOptions(samples=1),
            )  # fmt: skip
            maps = exact(self.ends(batch.image, inference)[0].x).to(batch.image.device).unflatten(1, (len(said), -1))
            for h, layer in enumerate(self.layers):
                found = contour(layer(LOGIT * maps[:, h]))
                there = batch.present["image"][0, h]
                said[h].append((found if there else torch.ones_like(found)).flatten(2))
            masks.append(batch.mask.flatten(2))
        target = torch.cat(masks, 2)[:, :, None].long()  # (1, 1, 1, pixels)
        b = learn_reliabilities([torch.cat(each, 2)[:, :, None] for each in said], target, ignore_index=IGNORE)
        for number in (n for n in range(b.shape[1]) if bool((target == n).any())):
            self.reliabilities.logits[:, number] = torch.logit(b[:, number], eps=1e-4).to(self.reliabilities.logits)

    def denoise(self, noisy: Tensor, condition: Condition, timestep: Tensor) -> Tensor:
        """What each path says of its own noisy label map beside its own modality, (B, H K, *S)."""
        (image,) = condition
        maps = noisy.unflatten(1, (len(self.paths), -1))  # (B, H, K, *S)
        said = [
            path(torch.cat([maps[:, h], image[:, h : h + 1]], 1).to(self.dtype), timestep)
            for h, path in enumerate(self.paths)
        ]
        return torch.cat(said, 1)

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The squared error of each path, and the Dice losses of what is fused and of each modality by itself.

        The Dice losses count all samples of a step as one, as the relatives count the slices of a crop. Where the
        network says the noise, a sample weighs ᾱ_t in them (ours): the label map that follows from its words is the
        less true the more noise there is.
        """
        labelled, of = batch["labelled"], self.settings
        present, modalities = labelled.present["image"], len(self.paths)  # (B, H)
        clean, known = masks_of(labelled.mask, len(self.traits.classes))
        clean, timestep = 2 * clean - 1, step.randint("timestep", 0, of.chain, count=len(clean))
        noise = step.randn("noise", like=clean)

        def of_all(tensor: Tensor) -> Tensor:
            return tensor.repeat(1, modalities, *[1] * (tensor.ndim - 2))

        noisy = of_all(self.process.noised(clean, timestep, noise))
        predicted = exact(self.denoise(noisy, self.condition(labelled.image), timestep))  # (B, H K, *S)
        target = of_all(self.process.target(clean, timestep, noise, kind=of.predicts))
        there = present.repeat_interleave(clean.shape[1], 1).reshape(len(clean), -1, *[1] * (clean.ndim - 2))
        terms = {"denoising": of.denoising * mean_of_known((predicted - target).square(), of_all(known) & there)}
        if of.dice or of.dice_alone:
            guesses = self.process.x0_from(predicted, noisy, timestep, kind=of.predicts)
            found = self.together(guesses.unflatten(1, (modalities, -1)), present)
            (weight,) = columns(clean[:, 0, 0, 0], self.process.alpha_bar(timestep))  # (B,)
            weight = weight if of.predicts == "eps" else torch.ones_like(weight)
            weights = [weight, *(weight[:, None] * present).unbind(1)]
            sums = torch.stack(
                [
                    weighted_sums(one, labelled.mask, of_it)
                    for one, of_it in zip((found.fused, *found.alone), weights, strict=True)
                ]
            )  # (1 + H, 3, K)
            total = yield Total(sums)
            fused, *alone = (
                batch_dice_loss(part, total=whole, parts=step.slots) for part, whole in zip(sums, total, strict=True)
            )
            terms |= {"dice": of.dice * fused, "dice_alone": of.dice_alone * added(alone)}
        yield ("paths",) if of.evidence == "none" else ("paths", "evidence"), terms

    def together(self, maps: Tensor, present: Tensor) -> Together:
        """What all modalities say of their label maps (B, H, K, *S) in [-1, 1], of which present (B, H) are there."""
        of, each = self.settings, maps.unbind(1)
        priors = [contours_of(within_one(self.probability(one), self.traits)) for one in each]
        if of.evidence == "none":
            share = present / present.sum(1, keepdim=True).clamp(min=1)
            parts = [part.reshape(-1, *[1] * (maps.ndim - 2)) for part in share.to(maps.dtype).unbind(1)]
            return Together(added(part * one for part, one in zip(parts, priors, strict=True)), priors, None)
        masses: list[Tensor] = [layer(LOGIT * one) for layer, one in zip(self.layers, each, strict=True)]
        b: Tensor = present[..., None].to(maps.dtype)  # (B, H, 1), or (B, H, K + 1)
        if self.reliabilities is not None:
            b = self.reliabilities(present)
        if of.fusion == "contour":
            fused = fused_contours([contour(one) for one in masses], b.unbind(1))
        else:
            fused = scalar_fusion(masses, priors, b.unbind(1))
        return Together(fused, [pignistic(one) for one in masses], torch.stack([one[:, -1] for one in masses], 1))

    def read(self, ends: Sequence[Final], present: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        """What is fused of the ends of all paths; "ignorance" is the mean m(Ω) of the modalities that are there."""
        device, modalities = next(self.parameters()).device, len(self.paths)
        samples, unknown = list[Tensor](), list[Tensor]()
        for end in ends:
            maps = exact(end.x).to(device).unflatten(1, (modalities, -1))
            found = self.together(maps, present.to(device).expand(len(maps), -1))
            samples.append(found.fused[:, 1:].cpu())
            if found.ignorance is not None:
                unknown.append(found.ignorance[:, present[0].to(device)].mean(1, keepdim=True).cpu())
        uncertainty = {"ignorance": torch.cat(unknown).mean(0, keepdim=True)} if unknown else {}
        return torch.cat(samples), uncertainty

    def noise(self, moments: Sequence[Draws], purpose: str, like: Tensor) -> Tensor:
        """The same noise for the label maps of all modalities, as the paper draws it."""
        shared = super().noise(moments, purpose, like[:, : len(self.traits.classes)])
        return shared.repeat(1, len(self.paths), *[1] * (like.ndim - 2))

    def learned(self) -> Mapping[str, float]:
        """The reliability of each modality, for each class and the background where they are discounted by class."""
        if self.reliabilities is None:
            return {}
        b = self.reliabilities.logits.detach().sigmoid().tolist()
        names = ("background", *self.traits.classes)
        return {
            f"reliability of {channel}" + (f" for {names[place]}" if len(row) > 1 else ""): value
            for channel, row in zip(self.traits.channels, b, strict=True)
            for place, value in enumerate(row)
        }


def apart(visit: Iterable[Batch], *, most: int) -> tuple[list[Batch], list[Batch]]:
    """Images that show a class and images that do not, of each half of `most` (one at least), spread evenly over all;
    those of which nothing is known are left out."""
    shown, others = (Spread[Batch](max(1, most // 2)) for _ in range(2))
    for batch in visit:
        known = batch.mask != IGNORE
        if bool(known.any()):
            (shown if bool((batch.mask[known] > 0).any()) else others).add(batch)
    return shown.kept(), others.kept()


def weighted_sums(probabilities: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """(3, K) `overlap_sums` of the foreground of (B, K + 1, *S), summed over samples of which each weighs (B,)."""
    return (overlap_sums(probabilities[:, 1:], mask, ignore_index=IGNORE) * weight[:, None]).sum(1)
