"""Vessels without a label: a U-Net learns from phantoms, then from what it and a filter say of the real images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import cast

import numpy as np
import torch
from torch import Tensor

from scantling.contract.capabilities import Segmenter
from scantling.contract.method import VESSEL, Method
from scantling.contract.results import Segmentation
from scantling.contract.stage import Game, Prepared, Stage, Visit
from scantling.contract.step import Inference, Step
from scantling.core.errors import SettingsError
from scantling.core.fields import IGNORE
from scantling.core.randomness import numpy_generator
from scantling.core.samples import Batch, Traits
from scantling.core.streams import Stream
from scantling.mending.choose import UNSEEN
from scantling.mending.mend import mend
from scantling.mending.widening import widened
from scantling.methods.catalogue import CARDS
from scantling.methods.semi_supervised.self_training import patch_by_patch
from scantling.methods.supervised.unet import UNetSegmenter, player_of, stream_of
from scantling.methods.supervised.unet_settings import UNetSettings
from scantling.methods.without_labels.another import check_other, said_by
from scantling.methods.without_labels.light import level_light, light_of
from scantling.methods.without_labels.vesselness import Vesselness, VesselnessSettings
from scantling.methods.without_labels.vessels_settings import SHARE, VesselsOptions, VesselsSettings
from scantling.phantoms.curves import with_look_of
from scantling.phantoms.kinds import phantom_of
from scantling.phantoms.phantom import Phantom
from scantling.phantoms.tube_volume import tube_volume

Answer = Callable[[Batch], Tensor]
"""What is said of an image: the probability of a vessel, (1, 1, *S)."""
LOOKED, PIXELS_OF_EACH = 200, 10_000
"""Images, evenly spread, and pixels of each from which the threshold of pseudo-labels is taken."""
THRESHOLD = "threshold"
LARGE = 512
"""The side of the patches in which another segmenter answers pictures, at least."""
LARGEST = 160
"""The side of a phantom in a volume in units of the finest spacing, at most; mirror images fill what is larger."""


class Vessels(UNetSegmenter):
    """A U-Net on phantoms of vessels, then on its own answers joined with those of a filter for tubes.

    A network that has seen only images made by rule knows how vessels run and branch, the filter of `vesselness` what
    thin ones look like in these images; the mean of both labels the real images, as vessel where it is highest, so many
    pixels as `share` of all, and the network goes on with that (pseudo-labels: Lee, 2013). All this is ours. No label
    is read unless `with_masks` or `with_centre_lines` asks for it.

    With a segmenter that it uses, such as one of other images or one without labels, the first of this is not phantoms
    but what that segmenter and the filter say of the images.
    """

    card = CARDS["vessels"]
    Settings = VesselsSettings
    settings: VesselsSettings
    segment_with = VesselsOptions

    def __init__(self, settings: VesselsSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None) -> None:
        super().__init__(settings, traits, uses=uses)
        seen = settings.seen(traits)
        wanted = VesselnessSettings(share=settings.share or SHARE, dark=settings.kind != "bright tubes", rule="share")
        self.filter = Vesselness(wanted.resolve(seen), seen)
        if self.other is None and not settings.rounds and (settings.with_masks or settings.with_centre_lines):
            raise SettingsError("--settings.rounds 0: no label would be read; expected 1 or more, or phantoms alone")
        if self.other is not None:
            check_other(self.other, self)
            if settings.with_masks and not traits.unlabelled:
                raise SettingsError(
                    "--use segmenter: every training image has a mask, so that nothing is asked of it; leave it out, "
                    "or read fewer masks (--labels)"
                )

    @property
    def other(self) -> Segmenter | None:
        """The segmenter whose answers stand in for phantoms, if there is one."""
        return cast(Segmenter, self.uses["segmenter"]) if "segmenter" in self.uses else None

    @classmethod
    def resolve_traits(cls, settings: UNetSettings, traits: Traits) -> Traits:
        """One class: that of the data where they name one, else the vessel. Lines do not tell what share it takes."""
        if isinstance(settings, VesselsSettings) and settings.with_centre_lines:
            traits = traits.model_copy(update={"foreground": ()})
        return traits if len(traits.classes) == 1 else traits.model_copy(update={"labels": VESSEL})

    def explain(self, traits: Traits) -> tuple[str, ...]:
        """As the settings say it, unless another segmenter begins."""
        if self.other is None:
            return super().explain(traits)
        taught = f", behind which stand {n} masks that people drew," if (n := self.other.hand_drawn) else ""
        begun = f"what {self.other.card.name}{taught} and a filter say of the images"
        return (*UNetSettings.explain(self.settings, traits), self.settings.learned_from(begun, traits))

    def stages(self) -> Sequence[Stage]:
        """One on phantoms, or on what another segmenter and the filter say of the images; then one a round on what the
        network and the filter say of them."""
        of = self.settings
        first = max(1, round(of.steps * of.first)) if of.rounds else of.steps
        names = tuple(f"phantom {number}" for number in range(of.each(self.traits)))
        stream = replace(stream_of(of, self.traits, "images"), foreground=0.0)
        phantoms = Stage(
            name="phantoms",
            players=(player_of(of, "unet", self.network),),
            streams=tuple(replace(stream, name=name, reads=("image", name)) for name in names),
            steps=first,
            objectives=self.objectives,
            prepares=(Prepared(name="phantoms", kind="image", make=partial(self.made, names=names), parts=names),),
            draws=partial(one_of, names=names),
        )
        left = max(of.rounds, of.steps - first)
        rounds = (self.round_of(number, stream, left // of.rounds) for number in range(1, of.rounds + 1))
        return (phantoms if self.other is None else self.round_of(0, stream, first), *rounds)

    def round_of(self, number: int, stream: Stream, steps: int) -> Stage:
        """The stage of a round, from 1; 0 is what the other segmenter begins."""
        of, traits = self.settings, self.traits
        answer = self.own if number else self.others
        share = traits.labelled / max(1, traits.labelled + traits.unlabelled)
        known_batch = max(1, min(stream.batch // 2, round(share * stream.batch)))
        fields = {"images": f"pseudo-labels {number}", "lined": f"centre lines {number}"}
        images = replace(stream, reads=("image", fields["images"]))
        prepares: tuple[Prepared, ...] = (
            Prepared(name=fields["images"], kind="labels", make=partial(self.label, answer=answer)),
        )
        drawn, known = "mask", replace(stream, name="labelled", foreground=of.foreground)
        if of.with_centre_lines:
            drawn, known = "scribbles", replace(stream, name="lined", reads=("image", fields["lined"]))
            reads = ("image", "scribbles")
            make = partial(self.label_around_lines, answer=answer)
            lined = Prepared(name=fields["lined"], kind="labels", make=make, reads=reads)
            prepares = (*prepares, lined)
        streams: tuple[Stream, ...] = (images,)
        if of.with_masks or of.with_centre_lines:
            rest = max(1, stream.batch - known_batch)
            both = (replace(images, without=(drawn,), batch=rest), replace(known, batch=known_batch))
            streams = both if self.traits.unlabelled else (known,)
        alone = streams[0].name == "labelled"
        return Stage(
            name=f"round {number}" if number else "segmenter",
            players=(player_of(self.settings, "unet", self.network),),
            streams=streams,
            steps=steps,
            objectives=partial(self.objectives, fields=fields),
            prepare=None if alone else partial(self.threshold, stream=streams[0].name, answer=answer),
            prepares=() if alone else prepares,
        )

    def objectives(self, batch: Mapping[str, Batch], step: Step, fields: Mapping[str, str] | None = None) -> Game:
        """The loss of `unet` on phantoms, or on masks and on the labels in the field of a stream."""
        terms, channels = dict[str, Tensor](), len(self.traits.channels)
        for name, samples in batch.items():
            if name == "labelled":
                image, mask = samples.image, samples.mask
            elif fields:
                image, mask = samples.image, samples.fields[fields[name]].to(torch.uint8)
            else:
                made = samples.fields[name].to(samples.image.dtype)
                image, mask = made[:, :channels], (made[:, channels:] > 0.5).to(torch.uint8)
            known = mask.masked_fill(~samples.region, IGNORE)
            found = yield from self.loss_terms(self.network(image), known, step)
            pseudo = len(batch) > 1 and name == "images"
            terms |= {f"pseudo {term}" if pseudo else term: found[term] for term in found}
        yield "unet", terms

    def made(self, batch: Batch, step: Step, names: Sequence[str]) -> dict[str, Tensor]:
        """Phantoms as large as an image, in its units, with their truth as the last channel: (1, C + 1, *S) each."""
        shape, found = tuple(batch.image.shape[2:]), dict[str, Tensor]()
        place = tuple(slice(side) for side in shape)
        for name in names:
            generator = numpy_generator(step.seed, name, step.number)
            phantom = self.phantom(shape, generator)
            mask, region, image = phantom.mask[place], phantom.region[place], phantom.image[(slice(None), *place)]
            if len(image) == 1:
                image = np.repeat(image, len(self.traits.channels), 0)
            if self.settings.look == "fourier":
                image = with_look_of(image, level_light(batch)[0].cpu().numpy(), generator=generator)
            inside = image[:, region]
            mean, deviation = (
                each.reshape(-1, *(1,) * len(shape)) for each in (inside.mean(1), np.maximum(inside.std(1), 1e-6))
            )
            units = (image - mean) / deviation
            layers = np.concatenate([units, mask[None]])
            found[name] = torch.from_numpy(layers.astype(np.float16))[None]
        return found

    def phantom(self, shape: tuple[int, ...], generator: np.random.Generator) -> Phantom:
        """One of the kind, at least as large as asked for."""
        if len(shape) == 3:
            dark = self.settings.kind == "dark tubes"
            spacing = self.settings.spacing or self.traits.spacing
            most = [max(1, round(LARGEST * min(spacing) / mm)) for mm in spacing]
            small = [min(side, limit) for side, limit in zip(shape, most, strict=True)]
            return mirrored(tube_volume(small, generator=generator, spacing=spacing, dark=dark), shape)
        return phantom_of(self.settings.kind or "angiogram", (shape[0], shape[1]), generator=generator)

    def segment(self, batch: Batch, inference: Inference) -> Segmentation:
        """The network's answer; mended where that is asked for: then the mending decides."""
        found, options = super().segment(batch, inference), inference.options
        if found.probabilities is None or not (isinstance(options, VesselsOptions) and options.mended):
            return found
        maps = found.probabilities.float().masked_fill(~batch.region, 0)
        mended = [mend(each.cpu().numpy(), UNSEEN, spatial_dims=each.ndim - 1) for each in maps]
        likely, decision = (
            torch.from_numpy(np.stack(each)).to(maps.device)
            for each in ([one.map for one in mended], [one.mask.astype(np.uint8) for one in mended])
        )
        return replace(found, probabilities=likely, decision=decision)

    def second_opinion(self, batch: Batch) -> Tensor:
        """The mask of the filter, against which the answer of the network is held."""
        return self.filter_of(batch) > 0.5

    def pictures(self, batch: Batch, inference: Inference) -> Mapping[str, Tensor]:
        """What the filter and the network say of an image, and how far they agree, which needs no truth."""
        seen = self.filter_of(batch)[0, 0].cpu()  # (*S)
        own = self.segment(batch, inference).probabilities
        if own is None:
            return {}
        network = own[0, 0].float().cpu()
        both, either = ((seen > 0.5) & (network > 0.5)).sum(), (seen > 0.5).sum() + (network > 0.5).sum()
        agreement = f"Dice of the two {2 * float(both) / max(float(either), 1.0):.2f}"
        return {
            f"The filter ({agreement})": plane_of(seen),
            "The network after the last round": plane_of(network),
        }

    def threshold(
        self, visit: Visit, step: Step, stream: str = "images", answer: Answer | None = None
    ) -> Mapping[str, Tensor]:
        """Above which `share` of the pixels of all images lie in the mean of an answer and the filter."""
        del step
        traits = self.settings.seen(self.traits)
        every = max(1, (traits.labelled + traits.unlabelled) // LOOKED)
        found = list[Tensor]()
        for position, batch in enumerate(visit(stream)):
            if position % every == 0:
                inside = self.together(batch, answer)[batch.region].cpu()
                each = torch.linspace(0, len(inside) - 1, min(PIXELS_OF_EACH, len(inside)), dtype=torch.float64)
                found.append(inside[each.long()])
        values = torch.cat(found).double().sort(descending=True).values
        return {THRESHOLD: values[min(round((self.settings.share or SHARE) * len(values)), len(values) - 1)].float()}

    def label(self, batch: Batch, step: Step, answer: Answer | None = None) -> Tensor:
        """What an answer and the filter say of one image together: (1, 1, *S), unknown outside of its region."""
        found = self.together(batch, answer)
        labels = (found > step.prepared[THRESHOLD].to(found)).to(torch.uint8)
        return labels.masked_fill(~batch.region, IGNORE)

    def label_around_lines(self, batch: Batch, step: Step, answer: Answer | None = None) -> Tensor:
        """What the lines that are drawn on an image tell, and where they tell nothing what `label` does: (1, 1, *S)."""
        of, drawn = self.filter.settings, batch.scribbles[0, 0].cpu().numpy()
        channel = self.traits.channels.index(of.channel or self.traits.channels[0])
        told = widened(
            (drawn > 0) & (drawn != IGNORE), light_of(batch.image)[0, channel].cpu().numpy(),
            batch.region[0, 0].cpu().numpy(), dark=bool(of.dark), ratios=bool(of.ratios),
        )  # fmt: skip
        told[drawn == 0] = 0
        labels, lines = self.label(batch, step, answer), torch.from_numpy(told)[None, None].to(batch.image.device)
        return torch.where((lines == IGNORE) | ~batch.region, labels, lines)

    def together(self, batch: Batch, answer: Answer | None = None) -> Tensor:
        """The mean of an answer, its own if none is given, and the filter, (1, 1, *S)."""
        found = (answer or self.own)(batch)
        return (found + self.filter_of(batch).to(found)) / 2

    def own(self, batch: Batch) -> Tensor:
        """What the network says of an image, (1, 1, *S)."""
        return self.probabilities(self.in_patches(self.network, batch.image))

    def others(self, batch: Batch) -> Tensor:
        """What the other segmenter says of an image, seen in its units, (1, 1, *S)."""
        tile = partial(self.in_patches, least=LARGE if batch.image.ndim == 4 else 1)
        return said_by(cast(Segmenter, self.other), batch, tile=tile)

    def in_patches(self, network: Callable[[Tensor], Tensor], image: Tensor, least: int = 1) -> Tensor:
        """The output of a network for an image (1, C, *S), in patches of so many pixels a side at least."""
        patch = self.settings.patch or self.settings.seen(self.traits).shape
        return patch_by_patch(network, image, [max(side, least) for side in patch])

    def filter_of(self, batch: Batch) -> Tensor:
        """The answer of the filter about images in units of their deviation, which it sees as light again."""
        return self.filter.probabilities(replace(batch, fields={**batch.fields, "image": light_of(batch.image)}))


def mirrored(phantom: Phantom, shape: Sequence[int]) -> Phantom:
    """A phantom that goes on beyond its far ends as its mirror image, on a grid of `shape`."""
    more = [(0, side - n) for side, n in zip(shape, phantom.mask.shape, strict=True)]
    if not any(end for _, end in more):
        return phantom
    layers = (phantom.mask, phantom.centre_line, phantom.region)
    mask, line, region = (np.pad(each, more, mode="symmetric") for each in layers)
    image = np.pad(phantom.image, [(0, 0), *more], mode="symmetric")
    return replace(phantom, image=image, mask=mask, centre_line=line, region=region)


def plane_of(values: Tensor) -> Tensor:
    """(3, H, W) of an image (H, W), or of the middle plane of a volume (D, H, W)."""
    return (values if values.ndim == 2 else values[len(values) // 2]).expand(3, -1, -1)


def one_of(step: Step, names: Sequence[str]) -> tuple[str, ...]:
    """The stream of a step: one after the other."""
    return (names[step.number % len(names)],)
