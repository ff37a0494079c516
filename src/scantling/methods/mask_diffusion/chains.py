"""What the systems that draw masks share: a mask drowns in noise, and a network that sees the image brings it back."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from scantling.contract.capabilities import Segmenter
from scantling.contract.options import SegmentOptions
from scantling.contract.results import Segmentation
from scantling.contract.stage import Game, Player, Stage
from scantling.contract.step import Draws, Inference, Step
from scantling.core.case import IGNORE
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch, Preprocessing, Traits
from scantling.core.streams import Augmentation, Stream
from scantling.diffusion.chain import exact, pairs
from scantling.diffusion.samplers import Draw, Final, Guess, Model
from scantling.diffusion.schedules import timesteps
from scantling.losses.overlap import class_channels
from scantling.methods.mask_diffusion.chain_settings import MaskDiffusionSettings, check_steps
from scantling.methods.mask_diffusion.kernel import Kernel
from scantling.networks.denoiser import Denoiser

Condition = tuple[Tensor, ...]
"""What a network makes of one image alone: tensors (1, ...)."""

TOGETHER = {"cpu": 128 * 256, "cuda": 16 * 256 * 256}
"""Pixels, of all samples that go through the network together, beyond which a larger batch is no faster."""


class MaskDiffusion(Segmenter):
    """A method that answers with samples. Subclasses say what they know of an image, and what they make of noise.

    The network sees whatever does not depend on the noisy mask once for each image, not once a step.
    """

    settings: MaskDiffusionSettings
    kernel: Kernel
    """The noise of its chain, or none; subclasses set it."""
    draws = True

    @property
    def preprocessing(self) -> Preprocessing:
        """Planes of one size or longest side, each image in units of its own deviation."""
        side, longest = self.settings.size, self.settings.longest
        size = None if side is None else (side, side)
        return Preprocessing(dimensions=2, normalise="image", size=size, longest=longest)

    def segment_options(self, options: SegmentOptions) -> SegmentOptions:
        """The number of samples, of steps and the rule of the settings, unless something else is asked."""
        of = self.settings
        if not of.chain:
            for flag, asked in (("--samples", options.samples), ("--sampling-steps", options.steps)):
                if (asked or 1) > 1:
                    raise SettingsError(
                        f"{flag} {asked}: this {self.card.name} was trained with --settings.chain 0 and answers at "
                        "once, without chance; leave it out"
                    )
            return options.model_copy(update={"samples": 1, "steps": 1, "fuse": options.fuse or of.fuse})
        steps = options.steps or of.sampling_steps
        check_steps(steps, of.chain, "--sampling-steps")
        return options.model_copy(
            update={"samples": options.samples or of.samples, "steps": steps, "fuse": options.fuse or of.fuse}
        )

    @property
    def states(self) -> int:
        """Channels of the state of a chain: one for each class, unless a method runs several chains side by side."""
        return len(self.traits.classes)

    def condition(self, image: Tensor) -> Condition:
        """What the network needs of images (B, C, *S) at every step; the image itself unless a method says more."""
        return (image,)

    @abstractmethod
    def denoise(self, noisy: Tensor, condition: Condition, timestep: Tensor) -> Tensor:
        """What the network says (B, ?, *S) of noisy masks (B, K, *S) at timesteps (B,) under a condition."""

    def guess(self, predicted: Tensor, noisy: Tensor, timestep: int, before: int) -> Guess:
        """The clean masks that the network's words (B, ?, *S) mean, on the way from a timestep to the one before it."""
        return self.kernel.guess(predicted, noisy, timestep, before)

    def walk(self, model: Model, *, like: Tensor, steps: Sequence[int], draw: Draw) -> Final:
        """Draw masks in the shape of `like` by the chain's timesteps `steps`; `draw` gives all randomness."""
        return self.kernel.walk(model, like=like, steps=steps, draw=draw)

    def probability(self, state: Tensor) -> Tensor:
        """The end of a chain (B, K, *S) as probabilities."""
        return self.kernel.probability(state)

    def stream(self) -> Stream:
        """Labelled images; where several readers marked one, the mask of a reader drawn at every visit."""
        of = self.settings
        patch = None if of.patch is None and of.longest is None else of.shape(self.traits)
        return Stream(
            name="labelled",
            batch=of.batch,
            patch=patch,
            foreground=of.foreground if patch is not None else 0.0,
            annotator="drawn",
            augment=Augmentation(
                flips=of.flips,
                turns=of.turns,
                rotation=of.rotation,
                zoom=of.zoom,
                warped=0.3,
                brightness=of.jitter,
                contrast=of.jitter,
                gamma=of.jitter,
            ),
        )

    def stages(self) -> Sequence[Stage]:
        """One stage, and one player that owns everything; that its gradient is clipped, at a norm of 1, is ours."""
        of = self.settings
        player = Player(
            name=self.card.name,
            modules=(self,),
            rate=of.rate,
            optimiser="adamw",
            weight_decay=of.weight_decay,
            schedule=of.schedule_of_rate,
            clip=1.0,
            average=of.average,
        )
        stream = self.stream()
        return (Stage(name="train", players=(player,), streams=(stream,), steps=of.steps, objectives=self.objectives),)

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """What the player is to minimise on a batch of the stream: what the network says of noisy masks is wrong."""
        labelled = batch["labelled"]
        noisy, timestep = self.noised(labelled, step)
        predicted = self.denoise(noisy, self.condition(labelled.image), timestep)
        yield self.card.name, self.terms(predicted, labelled, step)

    def noised(self, batch: Batch, step: Step) -> tuple[Tensor, Tensor]:
        """Noisy masks (B, K, *S) of a batch, and the timesteps (B,) that they are at; 0 where there is no chain."""
        clean, _ = masks_of(batch.mask, len(self.traits.classes))
        timestep = step.randint("timestep", 0, self.settings.chain or 1, count=len(clean))
        return self.kernel.noised(clean, timestep, step), timestep

    def terms(self, predicted: Tensor, batch: Batch, step: Step) -> Mapping[str, Tensor]:
        """The terms that train the denoiser on what `noised` gave.

        Args:
            predicted: (B, ?, *S), of the network.
            batch: that was noised.
            step: of the same step.
        """
        clean, known = masks_of(batch.mask, len(self.traits.classes))
        noisy, timestep = self.noised(batch, step)
        return self.kernel.terms(predicted, clean, noisy=noisy, timestep=timestep, known=known, step=step)

    def denoiser(self, inputs: int, outputs: int, *, scale_shift: bool = False) -> Denoiser:
        """The U-Net of the settings, for subclasses that denoise with one; see `Denoiser`."""
        of = self.settings
        return Denoiser(
            inputs,
            outputs,
            widths=of.widths,
            blocks=of.blocks,
            attention=of.attention,
            heads=of.heads,
            dropout=of.dropout,
            scale_shift=scale_shift,
        )

    def segment(self, batch: Batch, inference: Inference) -> Segmentation:
        """Samples (N, B, K, *S) on the processor, each a chain of its own over the whole canvas.

        The noise of a sample depends on its number alone: the slices of a volume share it, however many come together,
        so that what is vague is decided alike in neighbours.
        """
        rows = [slice(row, row + 1) for row in range(len(batch.image))]
        drawn = [self._answered(batch.image[row], batch.present["image"][row], inference) for row in rows]
        names = drawn[0][1]
        return Segmentation(
            samples=torch.cat([samples for samples, _ in drawn], 1),
            uncertainty={name: torch.cat([maps[name] for _, maps in drawn]) for name in names},
        )

    def doubt(self, ends: Sequence[Final]) -> Mapping[str, Tensor]:
        """Uncertainties (1, 1, *S) that the method reads from the ends of an image's chains; none by default."""
        del ends
        return {}

    def read(self, ends: Sequence[Final], present: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Samples (N, K, *S) and uncertainties (1, 1, *S) of the ends of an image's chains, on the processor.

        Args:
            ends: on the processor, each with the states (n, `states`, *S) of some of the N samples.
            present: (1, C) bool, which channels the image has.
        """
        del present
        return torch.cat([self.probability(end.x) for end in ends]), self.doubt(ends)

    def _answered(self, image: Tensor, present: Tensor, inference: Inference) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Samples (N, 1, K, *S) of one image (1, C, *S), and the uncertainties; arguments as in `read`."""
        samples, maps = self.read(self.ends(image, inference), present)
        return within_one(samples, self.traits)[:, None], maps

    def ends(self, image: Tensor, inference: Inference) -> list[Final]:
        """The ends of the chains of one image (1, C, *S), as `read` takes them."""
        options = self.segment_options(inference.options)
        whole = tuple(image.shape[2:])
        steps = timesteps(self.settings.chain or 1, options.steps or 1, spacing=self.settings.spacing)
        before = dict(pairs(steps))
        known, states = list[Condition](), self.states

        def network(tile: Tensor, timestep: int) -> Tensor:
            noisy, seen = tile.tensor_split([states], 1)
            condition = known[0] if known and tuple(tile.shape[2:]) == whole else self.condition(seen[:1])
            if tuple(tile.shape[2:]) == whole:
                known[:] = [condition]
            condition = tuple(part.expand(len(tile), *part.shape[1:]) for part in condition)
            return self.denoise(noisy, condition, torch.full((len(tile),), timestep, device=tile.device))

        def model(noisy: Tensor, timestep: int) -> Guess:
            canvas = torch.cat([noisy, image.expand(len(noisy), *image.shape[1:])], 1)
            predicted = inference.tile(partial(network, timestep=timestep), canvas)
            return self.guess(predicted, noisy, timestep, before[timestep])

        at_once = max(1, TOGETHER.get(image.device.type, TOGETHER["cuda"]) // math.prod(whole))
        found = []
        for numbers in torch.arange(options.samples or 1).split(at_once):
            moments = [replace(inference, number=0, slot=int(number)) for number in numbers]
            like = image.new_empty((len(moments), states, *whole))
            end = self.walk(model, like=like, steps=steps, draw=partial(self.noise, moments))
            found.append(
                Final(end.x.cpu(), end.mean.cpu(), None if end.log_variance is None else end.log_variance.cpu())
            )
        return found

    def noise(self, moments: Sequence[Draws], purpose: str, like: Tensor) -> Tensor:
        """Random numbers (N, K, *S) for the samples of these moments, each its own whatever their number."""
        return torch.cat([self.kernel.noise(draws, purpose, like[:1]) for draws in moments])


def masks_of(mask: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """One channel for each class (B, K, *S) of 0 and 1, and which pixels count, as the same shape in bool."""
    wanted = class_channels(mask, classes)
    return wanted.float(), (mask != IGNORE).expand_as(wanted)


def mean_of_known(values: Tensor, known: Tensor) -> Tensor:
    """The mean of (B, K, *S) over the pixels that count, each sample for itself, then over samples."""
    sums = (exact(values) * known).flatten(1).sum(1)
    return (sums / known.flatten(1).sum(1).clamp(min=1)).mean()


def within_one(samples: Tensor, traits: Traits) -> Tensor:
    """Exclusive classes that exceed 1 together share it."""
    if traits.labels is None or not traits.labels.exclusive or len(traits.classes) == 1:
        return samples
    return samples / samples.sum(1, keepdim=True).clamp(min=1)
