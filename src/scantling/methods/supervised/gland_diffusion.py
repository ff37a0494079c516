"""Glands as instances: boxes that are drawn out of noise, each with a mask network of its own."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from scantling.contract.capabilities import Segmenter
from scantling.contract.method import Method
from scantling.contract.options import SegmentOptions
from scantling.contract.results import Objects, Segmentation
from scantling.contract.stage import Calibration, Game, Player, Stage
from scantling.contract.step import Draws, Inference, Step, Total
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch, Preprocessing, Traits
from scantling.core.streams import Augmentation, Stream
from scantling.diffusion.boxes import boxes_of_signal, filled_up, signal_of
from scantling.diffusion.chain import exact
from scantling.diffusion.gaussian import GaussianProcess
from scantling.diffusion.samplers import Guess, Moment, ddim
from scantling.diffusion.schedules import betas, timesteps
from scantling.losses.box_sets import Costs, box_terms, dynamic_k, focal_loss, mask_dice
from scantling.methods.catalogue import CARDS
from scantling.methods.features.factories import made_by
from scantling.methods.supervised.gland_objects import Truth, painted, separated, truth_of
from scantling.methods.supervised.gland_settings import GlandOptions, GlandSettings
from scantling.networks.box_decoder import BoxDecoder, Found
from scantling.networks.box_pyramid import BoxPyramid
from scantling.networks.instance_masks import MaskBranch, aligned_bilinear, instance_logits, kernel_length
from scantling.networks.ssd import without_doubles


class GlandNetwork(nn.Module):
    """Encoder with pyramid, mask branch and heads (Sun, Huang and Zheng, 2023, on DiffusionInst; the heads are those of
    the parent: the paper draws a network of five blocks down and five up in their place, of which nothing else is
    known).

    Args:
        channels: of the image.
        classes: of objects.
    """

    def __init__(self, of: GlandSettings, channels: int, classes: int) -> None:
        super().__init__()
        encoder = None if of.encoder is None else made_by(of.encoder, flag="--settings.encoder")
        self.pyramid = BoxPyramid(
            channels, channels=of.channels, width=of.width, depths=of.depths, block=of.block, finest=of.finest or 4,
            encoder=encoder, layers=of.layers,
        )  # fmt: skip
        widths, kernels = self.pyramid.widths, of.mask_channels
        self.masks = MaskBranch(widths, width=of.mask_width, outputs=kernels)
        self.coordinates = of.coordinates
        self.decoder = BoxDecoder(
            last=widths[-1] if of.conditional else None, width=of.channels, inner=of.inner, hidden=of.hidden,
            count=of.heads, heads=of.attention, classes=classes,
            kernels=kernel_length(kernels + 2 * of.coordinates, kernels), canonical=of.canonical,
        )  # fmt: skip

    @property
    def stride(self) -> int:
        """Of the map of masks."""
        return int(self.pyramid.strides[0])

    def see(self, image: Tensor) -> Seen:
        """What all steps of a chain read of images (B, C, H, W)."""
        encoded, maps = self.pyramid(image)
        return Seen(self, self.masks(encoded), self.decoder.reading(maps, encoded[-1], self.pyramid.strides))

    def logits(self, shared: Tensor, image: Tensor, boxes: Tensor, kernels: Tensor) -> Tensor:
        """The mask logits (n, h, w) of n proposals over the whole map.

        Args:
            shared: (B, C, h, w), see `MaskBranch`.
            image: (n,) which image each is in.
            boxes: (n, 4) in pixels.
            kernels: (n, K).
        """
        features = shared[image]
        width = shared.shape[1]
        if self.coordinates:
            places = []
            for axis, length in enumerate(features.shape[2:]):
                at = torch.arange(length, device=boxes.device, dtype=boxes.dtype) * self.stride + self.stride // 2
                middle, side = (boxes[:, axis] + boxes[:, axis + 2]) / 2, boxes[:, axis + 2] - boxes[:, axis]
                beside = (at - middle[:, None]) / side[:, None].clamp(min=1)
                shape = (len(boxes), 1, length, 1) if axis == 0 else (len(boxes), 1, 1, length)
                places.append(beside.view(shape).expand(-1, -1, *features.shape[2:]).clamp(-4, 4))
            features = torch.cat([features, *(each.to(features) for each in places)], 1)
        return instance_logits(features, kernels, width)


class Seen:
    """What the network has seen of images, of which it then asks what boxes hold."""

    def __init__(self, network: GlandNetwork, shared: Tensor, reading: tuple) -> None:  # type: ignore[type-arg]
        self.network, self.shared, self.reading = network, shared, reading

    def found(self, boxes: Tensor, timestep: Tensor) -> list[Found]:
        """What each head says of boxes (B, N, 4) noised to timesteps (B,)."""
        return self.network.decoder(boxes, timestep, self.reading)


class GlandDiffusion(Segmenter):
    """Instance-aware diffusion for glands (Sun, Huang and Zheng, 2023), after DiffusionInst and DiffusionDet.

    Departures: group norm in the encoder from nothing and in the mask branch, that a step may be divided; every step of
    a chain joins the answer (the parent leaves the last one out); an object owns the pixels that no better one has.
    """

    card = CARDS["gland-diffusion"]
    Settings = GlandSettings
    settings: GlandSettings
    segment_with = GlandOptions
    finds_objects = True
    threshold: Tensor

    def __init__(self, settings: GlandSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None) -> None:
        super().__init__(settings, traits, uses=uses)
        self.network = GlandNetwork(settings, len(traits.channels), len(traits.classes))
        self.process = GaussianProcess(betas("cosine2", settings.chain))
        self.register_buffer("threshold", torch.tensor(0.5))

    @property
    def preprocessing(self) -> Preprocessing:
        """Each channel by its mean and deviation over the training data."""
        return Preprocessing(dimensions=2, normalise="dataset", spacing=self.settings.spacing)

    def segment_options(self, options: SegmentOptions) -> SegmentOptions:
        """With the steps of the chain, 1 unless said.

        Raises:
            SettingsError: samples, or more steps than the chain has.
        """
        if (options.samples or 1) > 1:
            raise SettingsError("--samples: found objects of several answers do not become one; leave it out")
        steps = options.steps or 1
        if steps > self.settings.chain:
            raise SettingsError(f"--sampling-steps {steps}: the chain has {self.settings.chain} steps")
        return options.model_copy(update={"samples": 1, "steps": steps, "fuse": options.fuse or "mean"})

    def stages(self) -> Sequence[Stage]:
        """One stage, one player."""
        of = self.settings
        player = Player(
            name="network", modules=(self.network,), rate=of.rate, optimiser="adamw", weight_decay=of.weight_decay,
            schedule=of.schedule, clip=1.0, average=of.average,
        )  # fmt: skip
        augment = Augmentation(flips=of.flips, turns=of.flips, brightness=of.jitter, contrast=of.jitter)
        stream = Stream(
            name="tiles", reads=("image", of.objects_from), batch=of.batch, patch=(of.patch,) * 2, augment=augment
        )
        return (
            Stage(name="train", players=(player,), streams=(stream,), steps=of.steps, objectives=self.objectives),
        )  # fmt: skip

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """Class, boxes and masks of every head, over the true objects of the whole step."""
        tiles, of = batch["tiles"], self.settings
        size = (tiles.image.shape[2], tiles.image.shape[3])
        truth = truth_of(tiles, objects_from=of.objects_from, least=of.least)
        count = tiles.image.new_tensor(float(sum(len(each.boxes) for each in truth)), dtype=torch.float64)
        total = (yield Total(count)).clamp(min=1)
        timestep = step.randint("timestep", 0, of.chain, count=len(truth))
        blank = tiles.image.new_zeros(len(truth), of.proposals or 1, 4)
        padding, noise = step.randn("padding", like=blank), step.randn("noise", like=blank)
        signal = torch.stack(
            [
                filled_up(signal_of(each.boxes, size, scale=of.scale), padding[row], scale=of.scale)
                for row, each in enumerate(truth)
            ]
        )
        noisy = self.process.noised(signal, timestep, noise)
        seen = self.network.see(tiles.image)
        heads = seen.found(boxes_of_signal(noisy, size, scale=of.scale), timestep)
        sums = dict.fromkeys(("class", "distance", "overlap", "mask"), torch.zeros((), device=tiles.image.device))
        for place, head in enumerate(heads):
            masked = of.mask_heads == "all" or place == len(heads) - 1
            for name, value in self.terms(head, truth, seen, size, masked=masked).items():
                sums[name] = sums[name] + value
        weights = {"class": of.focal, "distance": of.distance, "overlap": of.overlap, "mask": of.dice}
        yield "network", {name: weights[name] * step.mean(value, total) for name, value in sums.items()}

    def terms(
        self, head: Found, truth: Sequence[Truth], seen: Seen, size: tuple[int, int], *, masked: bool
    ) -> dict[str, Tensor]:
        """The sums of the terms of one head."""
        of = self.settings
        costs = Costs(of.focal, of.distance, of.overlap)
        logits, boxes, kernels = exact(head.logits), exact(head.boxes), exact(head.kernels)
        targets, known, pairs = torch.zeros_like(logits), list[Tensor](), list[tuple[int, Tensor, Tensor]]()
        for row, each in enumerate(truth):
            found = dynamic_k(logits[row], boxes[row], each.boxes, each.classes, size, costs=costs)
            places = (found >= 0).nonzero()[:, 0]
            targets[row, places, each.classes[found[places]]] = 1
            known.append((found >= 0) | each.known_at(boxes[row].detach()))
            pairs.append((row, places, found[places]))
        terms = {"class": (focal_loss(logits, targets) * torch.stack(known)[..., None]).sum()}
        there = torch.cat([boxes[row, places] for row, places, _ in pairs])
        wanted = torch.cat([truth[row].boxes[numbers] for row, _, numbers in pairs])
        terms["distance"], terms["overlap"] = box_terms(there, wanted, size)
        if masked:
            image = torch.cat([torch.full_like(places, row) for row, places, _ in pairs])
            vectors = torch.cat([kernels[row, places] for row, places, _ in pairs])
            found_masks = exact(self.network.logits(seen.shared, image, there.detach(), vectors.to(seen.shared.dtype)))
            shape, stride = tuple(found_masks.shape[1:]), self.network.stride
            masks = torch.cat([truth[row].masks_at(numbers, stride, shape) for row, _, numbers in pairs])
            sure = torch.cat([truth[row].known_cells(stride, shape).expand(len(n), -1, -1) for row, _, n in pairs])
            terms["mask"] = mask_dice(found_masks, masks, sure)
        return terms

    def calibration(self) -> Calibration:
        """The score from which objects count: that with the best F1 at IoU > 0.5 on the validation cases."""
        stream = Stream(name="objects", reads=("image", self.settings.objects_from))
        return Calibration(stream=stream, split="validation", fit=self.fit_threshold)

    def fit_threshold(self, visit: Iterable[Batch], step: Step) -> None:
        """Set the score from which objects count."""
        results = list[tuple[float, bool]]()
        objects = 0
        for number, batch in enumerate(visit):
            found = self.find(batch.image, Draws(seed=step.seed, stage="calibration", number=number), 0, score=0.02)
            truth = truth_of(batch, objects_from=self.settings.objects_from, least=1)[0]
            objects += len(truth.boxes)
            results += hits(found, truth)
        if results and objects:
            self.threshold.fill_(best_score(results, objects))

    def segment(self, batch: Batch, inference: Inference) -> Segmentation:
        """The objects of each image, and the mask of all of them."""
        options, size = inference.options, tuple(batch.image.shape[2:])

        def finder(row: int) -> Objects:
            return inference.find(
                lambda canvas: self.find(canvas, inference, row, options=options), batch.image[row : row + 1]
            )

        found = [finder(row) for row in range(len(batch.image))]
        exclusive = self.traits.labels is None or self.traits.labels.exclusive
        maps = [painted(each, len(self.traits.classes), size) for each in found]
        probabilities = torch.stack([likely for likely, _ in maps])
        layers = torch.stack([layer for _, layer in maps])
        decision = (layers.byte().argmax(1, keepdim=True) + 1) * layers.any(1, keepdim=True) if exclusive else layers
        return Segmentation(probabilities=probabilities, decision=decision.to(torch.uint8), instances=found)

    def find(
        self,
        canvas: Tensor,
        draws: Draws,
        row: int,
        *,
        options: SegmentOptions | None = None,
        score: float | None = None,
    ) -> Objects:
        """The objects of one image (1, C, H, W), the best first: a chain of boxes from noise, doubles removed.

        Args:
            row: of the batch, which tells its noise.
            score: the least that counts, in place of that of the options.
        """
        of, chosen = self.settings, GlandOptions.of(dict(options or {}))
        size = (canvas.shape[2], canvas.shape[3])
        number = math.ceil((of.proposals or 1) * max(1.0, math.prod(size) / of.patch**2))
        seen, kept = self.network.see(canvas), list[Found]()
        low = torch.zeros(1, 0)

        def drawn(purpose: str, like: Tensor) -> Tensor:
            return draws.randn(purpose, like=like.expand(row + 1, -1, -1))[row:]

        def model(x: Tensor, t: int) -> Guess:
            nonlocal low
            boxes = boxes_of_signal(x, size, scale=of.scale)
            found = seen.found(boxes, torch.full((1,), t, device=x.device))[-1]
            kept.append(Found(exact(found.logits), exact(found.boxes), exact(found.kernels)))
            low = kept[-1].logits.sigmoid().amax(2) < chosen.renew
            return Guess(signal_of(kept[-1].boxes, size, scale=of.scale).clamp(-of.scale, of.scale))

        def renewed(moment: Moment) -> Tensor:
            return torch.where(low[..., None], drawn(f"renewal {moment.t}", moment.x), moment.x)

        blank = canvas.new_zeros(1, number, 4)
        ddim(
            model, drawn("boxes", blank), process=self.process, draw=drawn, eta=1.0, observe=renewed,
            timesteps=timesteps(of.chain, chosen.steps or 1, spacing="trailing"), clip=(-of.scale, of.scale),
        )  # fmt: skip
        least = score if score is not None else float(self.threshold) if chosen.score is None else chosen.score
        logits, boxes, kernels = (
            torch.cat([getattr(each, name)[0] for each in kept]) for name in ("logits", "boxes", "kernels")
        )
        ends = boxes.new_tensor(size * 2)
        boxes = boxes.clamp(min=0).minimum(ends)
        scores, classes = logits.sigmoid().max(1)
        places = torch.cat(
            [
                without_doubles(boxes, scores.masked_fill(classes != each, -1), score=least, overlap=chosen.doubles)
                for each in range(logits.shape[1])
            ]
        )
        places = places[scores[places].argsort(descending=True, stable=True)[: chosen.most]]
        masks = self.masks(seen.shared, boxes[places], kernels[places], size)
        return separated(masks, scores[places], classes[places], own=chosen.own)

    def masks(self, shared: Tensor, boxes: Tensor, kernels: Tensor, size: tuple[int, int]) -> Iterable[Tensor]:
        """The mask (H, W) of bool of each object, one after the other: above one half, and inside its box."""
        first = torch.zeros(1, dtype=torch.long, device=shared.device)
        for place in range(len(boxes)):
            box, kernel = boxes[place : place + 1], kernels[place : place + 1]
            logits = self.network.logits(shared, first, box, kernel.to(shared.dtype))
            fine = aligned_bilinear(logits[:, None], self.network.stride)[0, 0, : size[0], : size[1]]
            top, left, bottom, right = box[0].tolist()
            inside = torch.zeros_like(fine, dtype=torch.bool)
            inside[math.floor(top) : math.ceil(bottom), math.floor(left) : math.ceil(right)] = True
            yield (fine > 0) & inside


def hits(found: Objects, truth: Truth) -> list[tuple[float, bool]]:
    """The score of each found object, and whether it has IoU > 0.5 with a true one (which no other can have)."""
    scores = found.scores if found.scores is not None else torch.ones(len(found.classes))
    corners = found.corners if found.corners is not None else torch.zeros(0, 2)
    results = []
    for score, crop, (top, left) in zip(scores.tolist(), found.crops, corners.tolist(), strict=True):
        window = truth.numbers[top : top + crop.shape[0], left : left + crop.shape[1]].cpu().numpy()
        inside = window[crop.numpy()]
        counts = np.bincount(inside[inside > 0]) if (inside > 0).any() else np.zeros(1, int)
        best = int(counts.argmax())
        whole = int(crop.sum()) + int((truth.numbers == best).sum()) - int(counts[best])
        results.append((score, best > 0 and 2 * int(counts[best]) > whole))
    return results


def best_score(results: Sequence[tuple[float, bool]], objects: int) -> float:
    """The score from which objects should count: halfway below the last one that counts at the best F1.

    Args:
        results: the score of each found object, and whether it is right.
        objects: how many there are to be found.
    """
    ordered = sorted(results, reverse=True)
    right = np.cumsum([hit for _, hit in ordered])
    f1 = 2 * right / (np.arange(1, len(ordered) + 1) + objects)
    last = int(f1.argmax())
    following = ordered[last + 1][0] if last + 1 < len(ordered) else 0.0
    return (ordered[last][0] + following) / 2
