"""Nuclei and their images by diffusion: first where each nucleus lies, then what the tissue looks like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.segmentation import find_boundaries
from torch import Tensor

from scantling.contract.method import Method
from scantling.contract.options import GenerateOptions
from scantling.contract.results import Generation, Objects
from scantling.contract.schedules import SCHEDULES, cosine
from scantling.contract.stage import Game, Player, Stage
from scantling.contract.step import Inference, Step
from scantling.core.case import IGNORE, Labels
from scantling.core.errors import DataError, SettingsError
from scantling.core.randomness import numpy_generator
from scantling.core.samples import Batch, Traits
from scantling.core.streams import Augmentation, Stream
from scantling.diffusion.schedules import timesteps
from scantling.methods.catalogue import CARDS
from scantling.methods.features.image_diffusion import ImageDiffusion, shown
from scantling.methods.generation.mask_to_image import MaskToImage
from scantling.methods.generation.nuclei_layouts import moved, rebalanced
from scantling.methods.generation.nuclei_settings import (
    NucleiDiffusionSettings,
    NucleiOptions,
    given_alone,
)
from scantling.methods.supervised.instances import objects_in
from scantling.metrics.instance_overlaps import renumbered
from scantling.objects import hover_instances, hover_maps
from scantling.objects.seeded import without_small

NUCLEUS = Labels(names=("nucleus",), values=((255, 1),))
"""The one class where the data do not name it."""
SHOWN = 4
SMALLEST = 10
"""Pixels of a piece of a made structure that is looked at (the authors' number)."""
Numbers = NDArray[np.int32]
Classes = NDArray[np.int64]


def planes_of(settings: NucleiDiffusionSettings, traits: Traits) -> int:
    """The planes of the classes of a structure."""
    return len(traits.classes) if settings.with_classes else 1


class Structures(ImageDiffusion):
    """A diffusion model of structures: the classes of nuclei in {-1, 1}, their horizontal and their vertical map."""

    card = CARDS["nuclei-diffusion"]
    Settings = NucleiDiffusionSettings
    settings: NucleiDiffusionSettings

    @property
    def made(self) -> int:
        """The planes of a structure."""
        return planes_of(self.settings, self.traits) + 2


class NucleiDiffusion(MaskToImage):
    r"""Nuclei made in pairs of image and instance map (NuDiff), with DiffMix's idea as settings.

    Stage 1 learns p(y) of structures y, the classes of the nuclei and where in its nucleus a pixel lies
    (`objects.hover_maps`); stage 2 learns p(x | y) of images, as `mask-to-image` does, with guidance without a
    classifier. The nuclei of a structure that was drawn are found by the energy watershed, and the image is led by the
    maps that are made of them anew. The maps are made of the instance map after it was mirrored and turned, so that
    their signs are right; the authors mirror and turn the maps and leave the signs, and search eight orientations.
    """

    card = CARDS["nuclei-diffusion"]
    Settings = NucleiDiffusionSettings
    settings: NucleiDiffusionSettings
    generate_with = NucleiOptions

    def __init__(
        self, settings: NucleiDiffusionSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None
    ) -> None:
        super().__init__(settings, traits, uses=uses)
        self.structures = Structures(settings.of_structures(), traits)

    @classmethod
    def resolve_traits(cls, settings: NucleiDiffusionSettings, traits: Traits) -> Traits:
        """With the classes of the masks where they are read, else with one."""
        if settings.with_classes or len(traits.classes) == 1:
            return traits
        return traits.model_copy(update={"labels": NUCLEUS})

    @property
    def planes(self) -> int:
        """The planes of the condition, without the one that says that there is none."""
        return planes_of(self.settings, self.traits) + (2 if self.settings.condition == "distances" else 1)

    @property
    def reads(self) -> tuple[str, ...]:
        """The fields that training reads."""
        return ("image", "instances", "mask") if self.settings.with_classes else ("image", "instances")

    def stages(self) -> Sequence[Stage]:
        """Structures; images, each with its structure; images, of which some are learned without."""
        of, (drawing, painting, guiding) = self.settings, self.settings.stage_steps
        images = Stream(
            name="images", reads=self.reads, batch=of.batch, patch=of.shape(self.traits),
            augment=Augmentation(flips=of.flips, turns=of.turns),
        )  # fmt: skip
        maps = replace(images, name="structures", batch=of.structure_batch)
        drawer = Player(
            name="drawer", modules=(self.structures.network,), rate=of.structure_rate, optimiser="adamw",
            weight_decay=of.structure_decay, schedule=of.schedule_of_rate, clip=1.0, average=of.average,
        )  # fmt: skip
        painter = Player(
            name="denoiser", modules=(self.network,), rate=of.rate, schedule=self.rate_of_images, warmup=of.warmup,
            weight_decay=of.decay, clip=1.0, average=of.average,
        )  # fmt: skip
        last = replace(painter, rate=of.guided_rate, schedule="constant", warmup=0)
        learn = self.learn_led if guiding else self.objectives
        stages = (
            ("structures", drawer, maps, drawing, self.learn_structures),
            ("images", painter, images, painting, learn),
            ("guidance", last, images, guiding, self.objectives),
        )
        return tuple(
            Stage(name=name, players=(player,), streams=(stream,), steps=steps, objectives=objectives)
            for name, player, stream, steps, objectives in stages
            if steps
        )

    def rate_of_images(self, progress: float) -> float:
        """What the rate of the images is multiplied by: cosines from 1 to 0, each of so many steps, or one cycle."""
        of = self.settings
        if of.cycle is None:
            return SCHEDULES[of.schedule_of_rate](progress, 1.0)
        cycles = max((of.stage_steps[1] - of.warmup) / of.cycle, 1.0)
        return cosine(progress * cycles % 1.0)

    def learn_structures(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The terms of the structures, of pixels whose class is known."""
        maps = batch["structures"]
        classes, offsets = self.classes_of(maps), self.distances_of(maps)
        known = (maps.mask != IGNORE).all(1, keepdim=True) if "mask" in maps.fields else None
        yield "drawer", self.structures.denoising(torch.cat([2 * classes - 1, offsets], 1), step, known=known)

    def learn_led(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The terms of images, each with its structure."""
        yield "denoiser", self.led_denoising(batch["images"], step, dropped=0.0)

    def label_map(self, batch: Batch) -> Tensor:
        """The condition (B, planes, H, W) of a batch: classes, 0 and 1, and the distances or the edges of nuclei."""
        if self.settings.condition == "distances":
            return torch.cat([self.classes_of(batch), self.distances_of(batch)], 1)
        edges = np.stack([find_boundaries(each, mode="inner") for each in objects_in(batch)])[:, None]
        return torch.cat([self.classes_of(batch), torch.from_numpy(edges).to(batch.instances.device, self.dtype)], 1)

    def classes_of(self, batch: Batch) -> Tensor:
        """(B, K, H, W) of 0 and 1, the class of each pixel of a nucleus."""
        nuclei = batch.instances > 0
        if not self.settings.with_classes:
            return nuclei.to(self.dtype)
        numbers = range(1, len(self.traits.classes) + 1)
        return torch.cat([(batch.mask == number) & nuclei for number in numbers], 1).to(self.dtype)

    def distances_of(self, batch: Batch) -> Tensor:
        """(B, 2, H, W) in [-1, 1], the horizontal and the vertical map; 0 in what is too small to have any."""
        maps = [
            hover_maps(np.where(np.bincount(each.ravel())[each] < self.settings.smallest, 0, each))
            for each in objects_in(batch)
        ]
        return torch.from_numpy(np.stack(maps)).to(batch.instances.device, self.dtype)

    def generate_options(self, options: GenerateOptions) -> GenerateOptions:
        """With the steps of the chain that are walked."""
        if getattr(options, "layout", "as drawn") == "rebalanced" and len(self.traits.classes) < 2:
            raise SettingsError(
                "--options.layout rebalanced: the model knows one class of nuclei; train it on several, "
                "--settings.with_classes"
            )
        return super().generate_options(options)

    def generate(self, count: int, inference: Inference, given: Batch | None = None) -> Generation:
        """Images with their nuclei, which are drawn first, or are those of the images that are given.

        Raises:
            SettingsError: no image is given, and an option says what becomes of one.
            DataError: the mask of a given image says no class of an object.
        """
        options = self.generate_options(inference.options)
        if given is None and (alone := given_alone(options)):
            raise SettingsError(f"--options.{alone}: says what becomes of the cases of --from; name a data set with it")
        images, masks, nuclei = list[Tensor](), list[Tensor](), list[Objects]()
        for row in range(count):
            own = replace(inference, number=inference.number + row)
            image, numbers, classes = self._made(own, options, _row(given, row))
            images.append(image)
            masks.append(self.classes_of(self._batch(numbers, classes, own)).bool())
            each = [torch.from_numpy(numbers == number) for number in range(1, len(classes) + 1)]
            nuclei.append(Objects.of_masks(each, classes=torch.from_numpy(classes)))
        return Generation(images=torch.cat(images), masks=torch.cat(masks), instances=nuclei, normalised=True)

    def _made(self, own: Inference, options: GenerateOptions, given: Batch | None) -> tuple[Tensor, Numbers, Classes]:
        """One case: its image (1, C, H, W), its nuclei (H, W) and the class of each."""
        steps, start, image = options.steps or 1, getattr(options, "start", 1.0), None
        if given is None:
            numbers, classes = self.found(self.structures.drawn(replace(own, stage="structures"), steps))
        else:
            seen = given if getattr(options, "whole", False) else self._square(given, own)
            numbers, classes, image = self._laid_out(seen, own, getattr(options, "layout", "as drawn"))
        planes = self.label_map(self._batch(numbers, classes, own))
        noise = own.randn("start", like=planes[:, :1].expand(-1, self.made, -1, -1))
        chain = max(1, round(start * self.settings.chain))
        walked = timesteps(chain, min(steps, chain), spacing="trailing")
        if image is not None and start < 1:
            noise = self.process.noised(image, walked[0], noise)
        return self.painted(noise, planes, walked, getattr(options, "guidance", None)), numbers, classes

    def found(self, structure: Tensor) -> tuple[Numbers, Classes]:
        """The nuclei (H, W) in a structure (1, K + 2, H, W) in [-1, 1], from 1, and the class of each from 0.

        The class is that of the greatest mean over the pixels of a nucleus.
        """
        of, values = self.settings, structure[0].float().cpu().numpy()
        nuclei = (values[:-2] + 1) / 2
        found = hover_instances(
            nuclei.max(0), values[-2:], kernel=of.kernel, opening=of.opening, smallest=min(of.smallest, SMALLEST)
        )
        numbers, _ = renumbered(without_small(found, of.smallest))
        count = int(numbers.max())
        sums = [np.bincount(numbers.ravel(), plane.ravel(), count + 1)[1:] for plane in nuclei]
        return numbers, np.argmax(np.stack(sums), 0).astype(np.int64)

    def _square(self, given: Batch, own: Inference) -> Batch:
        """Of a given case that is larger than what the networks were trained on a part of that size, anywhere in it."""
        if self.settings.patch is None:
            return given
        chance = numpy_generator(own.seed, own.stage, "square", own.number)
        sides = zip(given.image.shape[2:], self.settings.shape(self.traits), strict=True)
        starts = [(int(chance.integers(max(there - side, 0) + 1)), side) for there, side in sides]
        rows, columns = (slice(start, start + side) for start, side in starts)
        fields = {name: each[..., rows, columns] for name, each in given.fields.items()}
        return replace(given, fields=fields, present={})

    def _laid_out(self, given: Batch, own: Inference, layout: str) -> tuple[Numbers, Classes, Tensor]:
        """The nuclei of a given case as the layout has them, the class of each, and its image."""
        (numbers,) = objects_in(given)
        count = int(numbers.max())
        planes = self.classes_of(given)[0].cpu().numpy()
        sums = [np.bincount(numbers.ravel(), plane.ravel(), count + 1)[1:] for plane in planes]
        if bare := int((np.sum(sums, 0) == 0).sum()):
            raise DataError(
                f"the mask of a case of --from says no class of {bare} of its {count} objects; expected one for each"
            )
        classes = np.argmax(np.stack(sums), 0).astype(np.int64)
        image = given.image[0].float().cpu().numpy()
        chance = numpy_generator(own.seed, own.stage, "layout", own.number)
        if layout == "moved":
            numbers, image = moved(numbers, image, chance)
        elif layout == "rebalanced":
            classes, image = rebalanced(numbers, classes, image, len(planes), chance)
        return numbers, classes, torch.from_numpy(image)[None].to(given.image)

    def _batch(self, numbers: Numbers, classes: Classes, own: Inference) -> Batch:
        """Nuclei and their classes, as they are read."""
        index = torch.zeros(1, dtype=torch.int64, device=own.device)
        maps = {"instances": numbers, "mask": np.concatenate([[0], classes + 1])[numbers]}
        fields = {name: torch.from_numpy(each)[None, None].to(own.device) for name, each in maps.items()}
        return Batch(index, index, fields)

    def pictures(self, batch: Batch, inference: Inference) -> Mapping[str, Tensor]:
        """Cases that it makes: the image, its nuclei, and how far right and below its middle a pixel of them lies."""
        del batch
        options, made = self.generate_options(self.generate_with()), list[Tensor]()
        for number in range(SHOWN):
            own = replace(inference, number=number)
            image, numbers, classes = self._made(own, options, None)
            nuclei = self._batch(numbers, classes, own)
            inside = 2 * self.classes_of(nuclei).amax(1, keepdim=True) - 1
            maps = [inside, *self.distances_of(nuclei).split(1, 1)]
            made.append(torch.cat([image, *(each.expand_as(image) for each in maps)], 2))
        return {f"{SHOWN} made images, and the maps of nuclei that they were painted from": shown(torch.cat(made, 3))}


def _row(given: Batch | None, row: int) -> Batch | None:
    """One row of what is given; of a single one always that."""
    if given is None:
        return None
    place = slice(row, row + 1) if len(given.index) > 1 else slice(0, 1)
    return replace(
        given,
        index=given.index[place],
        case=given.case[place],
        fields={name: each[place] for name, each in given.fields.items()},
        present={},
    )
