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
from scantling.core.errors import SettingsError
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
from scantling.objects import hover_instances, hover_maps
from scantling.objects.hover import consecutive, without_small

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
        of = self.settings
        shared = {"patch": of.shape(self.traits), "augment": Augmentation(flips=of.flips, turns=of.turns)}
        fields = tuple(name for name in self.reads if name != "image")
        drawer = Player(
            name="drawer", modules=(self.structures.network,), rate=of.structure_rate, optimiser="adamw",
            weight_decay=of.structure_decay, schedule=of.schedule_of_rate, clip=1.0, average=of.average,
        )  # fmt: skip
        maps = Stream(name="structures", reads=("image", *fields), batch=of.structure_batch, **shared)
        images = Stream(name="images", reads=self.reads, batch=of.batch, **shared)
        painter = Player(
            name="denoiser", modules=(self.network,), rate=of.rate, schedule=self.rate_of_images, warmup=of.warmup,
            weight_decay=of.decay, clip=1.0, average=of.average,
        )  # fmt: skip
        found = [
            Stage(
                name="structures", players=(drawer,), streams=(maps,), steps=of.structure_steps,
                objectives=self.learn_structures,
            ),
            Stage(
                name="images", players=(painter,), streams=(images,), steps=of.steps,
                objectives=self.learn_without if not of.guided_steps else self.learn_led,
            ),
        ]  # fmt: skip
        if of.guided_steps:
            last = replace(painter, rate=of.guided_rate, schedule="constant", warmup=0)
            found.append(
                Stage(
                    name="guidance", players=(last,), streams=(images,), steps=of.guided_steps,
                    objectives=self.learn_without,
                )
            )  # fmt: skip
        return tuple(found)

    def rate_of_images(self, progress: float) -> float:
        """What the rate of the images is multiplied by: cosines from 1 to 0, each of so many steps, or one cycle."""
        of = self.settings
        if of.cycle is None:
            return SCHEDULES[of.schedule_of_rate](progress, 1.0)
        cycles = max((of.steps - of.warmup) / of.cycle, 1.0)
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

    def learn_without(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The terms of images, of which some are learned without their structure."""
        yield "denoiser", self.led_denoising(batch["images"], step, dropped=self.settings.dropped)

    def label_map(self, batch: Batch) -> Tensor:
        """The condition (B, planes, H, W) of a batch: classes, 0 and 1, and the distances or the edges of nuclei."""
        if self.settings.condition == "distances":
            return torch.cat([self.classes_of(batch), self.distances_of(batch)], 1)
        edges = [find_boundaries(each, mode="inner") for each in _maps(batch)]
        return torch.cat([self.classes_of(batch), torch.from_numpy(np.stack(edges))[:, None].to(batch.instances)], 1).to(
            self.dtype
        )

    def classes_of(self, batch: Batch) -> Tensor:
        """(B, K, H, W) of 0 and 1, the class of each pixel of a nucleus."""
        nuclei = batch.instances > 0
        if not self.settings.with_classes:
            return nuclei.to(self.dtype)
        numbers = range(1, len(self.traits.classes) + 1)
        return torch.cat([(batch.mask == number) & nuclei for number in numbers], 1).to(self.dtype)

    def distances_of(self, batch: Batch) -> Tensor:
        """(B, 2, H, W) in [-1, 1], the horizontal and the vertical map; 0 in what is too small to have any."""
        maps = [hover_maps(without_small(each, self.settings.smallest)) for each in _maps(batch)]
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
        """
        options = self.generate_options(inference.options)
        if given is None and (alone := given_alone(options)):
            raise SettingsError(f"--options.{alone}: says what becomes of the cases of --from; name a data set with it")
        made = [
            self._made(replace(inference, number=inference.number + row), options, _row(given, row))
            for row in range(count)
        ]
        images, masks, nuclei = zip(*made, strict=True)
        return Generation(images=torch.cat(images), masks=torch.cat(masks), instances=nuclei, normalised=True)

    def _made(self, own: Inference, options: GenerateOptions, given: Batch | None) -> tuple[Tensor, Tensor, Objects]:
        """One case: its image (1, C, H, W), the masks of its classes (1, K, H, W) and its nuclei."""
        steps, start, image = options.steps or 1, getattr(options, "start", 1.0), None
        if given is None:
            numbers, classes = self.found(self.structures.drawn(replace(own, stage="structures"), steps))
        else:
            numbers, classes, image = self._laid_out(given, own, getattr(options, "layout", "as drawn"))
        batch = self._batch(numbers, classes, own)
        planes = self.label_map(batch)
        noise = own.randn("start", like=planes[:, :1].expand(-1, self.made, -1, -1))
        chain = max(1, round(start * self.settings.chain))
        walked = timesteps(chain, min(steps, chain), spacing="trailing")
        if image is not None and start < 1:
            noise = self.process.noised(image, walked[0], noise)
        painted = self.painted(noise, planes, walked, getattr(options, "guidance", None))
        nuclei = Objects.of_masks(
            [torch.from_numpy(numbers == number) for number in range(1, len(classes) + 1)],
            classes=torch.from_numpy(classes),
        )
        return painted, self.classes_of(batch).bool(), nuclei

    def found(self, structure: Tensor) -> tuple[Numbers, Classes]:
        """The nuclei (H, W) in a structure (1, K + 2, H, W) in [-1, 1], from 1, and the class of each from 0.

        The class is that of the greatest mean over the pixels of a nucleus.
        """
        of, values = self.settings, structure[0].float().cpu().numpy()
        nuclei = (values[:-2] + 1) / 2
        numbers = hover_instances(
            nuclei.max(0), values[-2:], kernel=of.kernel, opening=of.opening, smallest=min(of.smallest, SMALLEST)
        )
        count = int(numbers.max())
        sums = [np.bincount(numbers.ravel(), plane.ravel(), count + 1)[1:] for plane in nuclei]
        return numbers, np.argmax(np.stack(sums), 0).astype(np.int64)

    def _laid_out(self, given: Batch, own: Inference, layout: str) -> tuple[Numbers, Classes, Tensor]:
        """The nuclei of a given case as the layout has them, the class of each, and its image."""
        numbers = consecutive(_maps(given)[0])
        count = int(numbers.max())
        planes = self.classes_of(given)[0].cpu().numpy()
        sums = [np.bincount(numbers.ravel(), plane.ravel(), count + 1)[1:] for plane in planes]
        classes = np.argmax(np.stack(sums), 0).astype(np.int64)
        image = given.image[0].float().cpu().numpy()
        chance = numpy_generator(own.seed, own.stage, "layout", own.number)
        if layout == "moved":
            numbers, image = moved(numbers, image, chance)
        elif layout == "rebalanced":
            classes, image = rebalanced(numbers, classes, image, len(planes), chance)
        return numbers, classes, torch.from_numpy(image)[None].to(given.image)

    def _batch(self, numbers: Numbers, classes: Classes, own: Inference) -> Batch:
        """Nuclei as they are read."""
        index = torch.zeros(1, dtype=torch.int64, device=own.device)
        mask = np.concatenate([[0], classes + 1])[numbers]
        fields = {name: torch.from_numpy(each)[None, None].to(own.device) for name, each in
                  (("instances", numbers), ("mask", mask))}
        return Batch(index, index, fields)

    def pictures(self, batch: Batch, inference: Inference) -> Mapping[str, Tensor]:
        """Cases that it makes, each above the maps that it was painted from."""
        steps = self.generate_options(self.generate_with())
        rows = list[Tensor]()
        for number in range(SHOWN):
            own = replace(inference, number=number)
            image, _, _ = self._made(own, steps, None)
            structure = self.structures.drawn(replace(own, stage="structures"), steps.steps or 1)
            numbers, classes = self.found(structure)
            clean = self.label_map(self._batch(numbers, classes, own))
            seen = [image.float(), *(each[:, None].expand(-1, self.made, -1, -1) for each in clean.float().unbind(1))]
            rows.append(torch.cat(seen, 2))
        del batch
        return {f"{SHOWN} images that the model makes, and the maps that each was painted from": shown(torch.cat(rows, 3))}


def _maps(batch: Batch) -> list[Numbers]:
    """The instance maps (H, W) of a batch."""
    return [each[0].astype(np.int32) for each in batch.instances.cpu().numpy()]


def _row(given: Batch | None, row: int) -> Batch | None:
    """One row of what is given; of a single one always that."""
    if given is None:
        return None
    place = slice(row, row + 1) if len(given.index) > 1 else slice(0, 1)
    return replace(given, index=given.index[place], case=given.case[place],
                   fields={name: each[place] for name, each in given.fields.items()}, present={})
