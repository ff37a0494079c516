"""Labelled images in all modalities from noise: structure maps, organ masks, and a painter that follows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from scantling.contract.capabilities import Generator
from scantling.contract.method import VESSEL, Method
from scantling.contract.results import Generation, Objects
from scantling.contract.stage import Player, Stage, Visit
from scantling.contract.step import Inference, Step
from scantling.core.errors import DataError, RunError, SettingsError
from scantling.core.samples import Batch, Preprocessing, Traits
from scantling.core.streams import Stream
from scantling.diffusion.chain import exact
from scantling.methods.catalogue import CARDS
from scantling.methods.generation.label_placing import NUMBERS, TRIES, LabelBank, placed
from scantling.methods.generation.modality_games import ModalityGames
from scantling.methods.generation.multimodal_settings import (
    MultimodalGanOptions,
    MultimodalGanSettings,
    codes_in,
)
from scantling.methods.generation.structure_stage import BETAS
from scantling.phantoms.structure import without_outline
from scantling.phantoms.weak_labels import boxes_of_layers

RANGE = (-1.0, 1.0)
REALISTIC_TRIES = 50
"""Structures that are drawn for one whose discriminator finds it real enough."""
APART = 1 << 32
"""By so much the numbers of drawings of one case lie apart."""


class MultimodalGan(Generator, ModalityGames):
    """Synthesis of multimodal medical images based on GAN (Qu, 2020), whole.

    A rule draws the structure and the organ of each training image (`phantoms.structure`); `StructureStage` learns to
    draw more of them from noise; `ModalityGames` paints all modalities after one, with the label of a lesion in it. So
    the modalities of a made case are registered, whether those of the training images were or not.

    Departures, ours: what G_s draws is cut where it has as many strokes as the rule draws, and m at a half, so that the
    painter sees the same kind of structure in all stages; the discriminators are VGG11-like as in the text, D_z without
    norms, which would hide from it how large codes are; pre-training takes one structure for all modalities of a case.
    Left out of the authors' code: the class balance (10⁻⁴), the term between translations, and the first
    weights of an averaging kernel.
    """

    card = CARDS["multimodal-gan"]
    Settings = MultimodalGanSettings
    settings: MultimodalGanSettings
    generate_with = MultimodalGanOptions
    answering = ("sketcher", "organ_net", "structures_judge", "cut", "painter", "bank")

    def __init__(
        self, settings: MultimodalGanSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None
    ) -> None:
        super().__init__(settings, traits, uses=uses)
        if settings.structures:
            self.build_structures()
        self.build_images()
        self.bank = LabelBank(settings.kept, (self.planes, *settings.shape)) if settings.lesions else None

    @classmethod
    def resolve_traits(cls, settings: MultimodalGanSettings, traits: Traits) -> Traits:
        """Vessels are one class: that of the data where they name one."""
        named = not settings.vessels or len(traits.classes) == 1
        return traits if named else traits.model_copy(update={"labels": VESSEL})

    @property
    def preprocessing(self) -> Preprocessing:
        """Pictures of one size, each channel in [-1, 1] by its own range."""
        return Preprocessing(dimensions=2, normalise="unit", size=self.settings.shape)

    def stages(self) -> Sequence[Stage]:
        """Structures; translator and recognisers on real images; the painter on real structures, and on fresh ones."""
        of, parts = self.settings, self.settings.parts()
        images = Stream(name="images", reads=("image",), batch=of.image_batch, partial=True)
        label = ((of.lesions,) if of.lesions else ()) + (("image_class",) if of.with_classes else ())
        painter = Player(name="painter", modules=(self.painter,), rate=of.rate, betas=BETAS, average=of.average)
        found = []
        if "structures" in parts:
            found.append(self.structures_stage(parts["structures"]))
        if "helpers" in parts:
            players = {
                name: getattr(self, owner)
                for name, owner, there in (
                    ("recognisers", "recognisers", of.lesion_loss),
                    ("translator", "translator", of.registration),
                    ("judge of translations", "translations_judge", of.registration),
                )
                if there
            }
            labelled = Stream(name="labelled", reads=("image", *label), batch=of.image_batch, partial=True)
            found.append(
                Stage(
                    name="helpers",
                    players=tuple(self._player(name, network) for name, network in players.items()),
                    streams=(*([labelled] if of.lesion_loss else []), *([images] if of.registration else [])),
                    steps=parts["helpers"],
                    objectives=self.learn_helpers,
                )
            )
        if "pretraining" in parts:
            stream = Stream(
                name="structures", reads=("structure", "organ", "image"), wants=label, batch=of.image_batch,
                partial=True,
            )  # fmt: skip
            found.append(
                Stage(
                    name="pretraining",
                    players=(painter,),
                    streams=(stream,),
                    steps=parts["pretraining"],
                    objectives=self.learn_painting,
                )
            )
        streams = [images]
        if of.lesions:
            reads = ("mask",) if of.with_masks else ("image", "boxes")  # boxes lie on the grid of an image
            streams.append(Stream(name="labels", reads=reads, batch=of.image_batch, partial=of.with_boxes))
        if of.structures:
            streams.append(self.structures_stream(of.image_batch))
        drawn = tuple(stream.name for stream in streams if stream.name != "structures")
        found.append(
            Stage(
                name="images",
                players=(
                    replace(painter, rate=of.painting_rate or of.rate),
                    self._player("judge", self.judge),
                ),
                streams=tuple(streams),
                steps=parts["images"],
                objectives=self.learn_images,
                prepare=self.look_back,
                draws=lambda step: drawn,
            )
        )
        return tuple(found)

    def _player(self, name: str, network: nn.Module) -> Player:
        return Player(name=name, modules=(network,), rate=self.settings.rate, betas=BETAS)

    def look_back(self, visit: Visit, step: Step) -> Mapping[str, Tensor]:
        """Find where structures are cut, and keep some labels of lesions.

        Raises:
            DataError: there is no lesion.
        """
        if self.settings.structures:
            self.find_cut(visit("structures"), step)
        if self.bank is not None:
            for number, batch in enumerate(visit("labels")):
                label = self.lesions_of(batch)[0]
                if label.any():
                    coin = float(torch.rand((), generator=replace(step, number=number).generator("kept labels")))
                    self.bank.keep(label, batch.ids[0] if batch.ids else "", coin=coin)
            if not len(self.bank):
                raise DataError(
                    f"multimodal-gan: no training case shows {' or '.join(self.traits.classes)}, so that made cases "
                    "would have none; expected lesions in some, or --settings.with_masks false (with_boxes false)"
                )
        return {}

    def fresh(self, batch: Mapping[str, Batch], step: Step) -> Tensor:
        """[s', l] of drawn structures, with labels of training cases turned until they lie inside the organ."""
        of, like = self.settings, batch["images"].image[:, :1]
        s = m = torch.zeros_like(like)
        if of.structures:
            s, m = self.drawn_structures(step.randn("z", like=like.new_empty(len(like), of.code**2)))
        label = like.new_zeros((len(like), self.planes, *like.shape[2:]))
        if of.lesions:
            lesions = self.lesions_of(batch["labels"])
            coins = step.rand("turns", like=torch.empty(len(like), TRIES, NUMBERS, dtype=torch.float64))
            outside = m[:, 0] > 0.5 if of.organ_filter else torch.zeros_like(m[:, 0], dtype=torch.bool)
            rows = [placed(a, b, c, boxes=of.with_boxes).label for a, b, c in zip(lesions, outside, coins, strict=True)]
            label = torch.stack(rows).to(like.dtype)
        if of.with_classes:
            label = self.class_planes(step.randint("classes", 0, self.planes, count=len(like)), like)
        return self.told(s, m, label, step)

    def generate_options(self, options: MultimodalGanOptions) -> MultimodalGanOptions:  # type: ignore[override]
        """Refuse what needs structures where there are none."""
        super().generate_options(options)
        steered = {"walk": options.walk or None, "codes": options.codes, "realistic": options.realistic}
        named = [f"--options.{name}" for name, value in steered.items() if value is not None]
        if named and not self.settings.structures:
            raise SettingsError(f"{', '.join(named)}: this model paints after noise (--settings.structures false)")
        if len(named) > 1:
            raise SettingsError(f"{', '.join(named)}: codes that are given are not drawn anew; take one")
        if options.codes is not None:
            codes_in(options.codes, self.settings.code**2)
        return options

    def generate(self, count: int, inference: Inference, given: Batch | None = None) -> Generation:
        """Cases one by one: a structure, a lesion label that fits its organ, and all modalities."""
        del given
        cases = [self._case(number, inference) for number in range(inference.number, inference.number + count)]
        rejected: dict[str, int] = {}
        for _, tried, _ in cases:
            for reason, number in tried.items():
                rejected[reason] = rejected.get(reason, 0) + number
        parts = {name: torch.cat([case[name] for case, _, _ in cases]) for name in cases[0][0]}
        of = self.settings
        images = self.paint(parts["told"]).flatten(1, 2).clamp(*RANGE)
        masks = parts["label"] > 0.5 if of.with_masks else parts["vessels"] > 0.5 if of.vessels else None
        shown = {"sketch": parts["sketch"], "organ": 1 - parts["organ"]}
        boxes = [boxes_of_layers((layers > 0.5).cpu().numpy()) for layers in parts["label"]] if of.with_boxes else []
        return Generation(
            images=images,
            normalised=True,
            masks=masks,
            instances=[Objects(classes=torch.from_numpy(n), boxes=torch.from_numpy(found)) for found, n in boxes],
            fields=shown if of.structures else {},
            image_classes=parts["label"][:, :, 0, 0].argmax(1) if of.with_classes else None,
            rejected=rejected,
            parents=[parents for _, _, parents in cases] if of.lesions else (),
        )

    def _case(self, number: int, inference: Inference) -> tuple[dict[str, Tensor], dict[str, int], tuple[str, ...]]:
        """Structure, organ and label of one case, what was tried in vain, and whose lesion it is."""
        of, options, own = self.settings, inference.options, replace(inference, number=number)
        if not isinstance(options, MultimodalGanOptions):
            options = MultimodalGanOptions()
        like = torch.empty((1, 1, *of.shape), device=inference.device, dtype=self.dtype)
        found = {"sketch": torch.zeros_like(like), "organ": torch.zeros_like(like)}
        found["label"] = like.new_zeros((1, self.planes, *of.shape))
        tried = {"lesion label does not lie inside the organ": 0, "structure not realistic": 0}
        if of.with_classes:
            found["label"] = self.class_planes(own.randint("class", 0, self.planes, count=1), like)
        parents: tuple[str, ...] = ()
        for attempt in range(options.organs):
            again = replace(own, number=number + attempt * APART)
            if of.structures:
                given = options.walk or options.codes is not None
                found["sketch"], found["organ"], poor = self._structure(own if given else again, like, options)
                tried["structure not realistic"] += poor
            if self.bank is None or not len(self.bank):
                break
            label, parent = self.bank.label(int(again.randint("label", 0, len(self.bank), count=1)))
            coins = again.rand("turns", like=torch.empty(1, options.tries, NUMBERS, dtype=torch.float64))[0].cpu()
            filtered = found["organ"][0, 0] > 0.5
            outside = filtered if of.organ_filter else torch.zeros_like(filtered)
            one = placed(label, outside, coins, boxes=of.with_boxes)
            tried["lesion label does not lie inside the organ"] += one.tries
            if one.fits:
                found["label"], parents = one.label[None].to(like.dtype), (parent,)
                break
        else:
            raise RunError(
                f"case {number}: no lesion label lay inside an organ in {options.tries} turns each in {options.organs} "
                "organs; the lesions are larger than the organs that the model draws, or touch their border: train "
                "with --settings.organ_filter false or another --settings.rule, or allow more with --options.organs; "
                "what is made so far is kept"
            )
        found["told"] = self.told(found["sketch"], found["organ"], found["label"], own)
        if of.vessels:
            inner = without_outline(*((found[n][0, 0] > 0.5).cpu().numpy() for n in ("sketch", "organ")))
            found["vessels"] = torch.from_numpy(inner)[None, None].to(like)
        return found, {reason: times for reason, times in tried.items() if times}, parents

    def _structure(self, draws: Inference, like: Tensor, options: MultimodalGanOptions) -> tuple[Tensor, Tensor, int]:
        """s, m and how many were not realistic: the first that is, or the best."""
        if options.walk:
            return *self.drawn_structures(self._on_the_way(draws, options.walk, like)), 0
        if options.codes is not None:
            codes = codes_in(options.codes, self.settings.code**2)
            z = torch.from_numpy(codes[draws.number % len(codes)][None]).to(like)
            return *self.drawn_structures(z), 0
        best, score, tries = None, -torch.inf, 1 if options.realistic is None else REALISTIC_TRIES
        for attempt in range(tries):
            z = replace(draws, slot=attempt).randn("z", like=like.new_empty(1, self.settings.code**2))
            s, m = self.drawn_structures(z)
            found = float(exact(self.structures_judge(s)[0]).mean()) if options.realistic is not None else 0.0
            if best is None or found > score:
                best, score = (s, m), found
            if options.realistic is None or found >= options.realistic:
                break
        if best is None:
            raise RunError("no structure was drawn")
        return *best, attempt

    def _on_the_way(self, draws: Inference, walk: int, like: Tensor) -> Tensor:
        """A code between two that are drawn, on the arc that keeps its length (Shoemake, 1985)."""
        place, share = divmod(draws.number, walk)
        a, b = (
            replace(draws, number=place + n).randn("walk", like=like.new_empty(1, self.settings.code**2))
            for n in range(2)
        )
        cosine = torch.cosine_similarity(a, b).clamp(-0.9999, 0.9999)
        angle, t = cosine.acos(), share / walk
        return ((1 - t) * angle).sin() / angle.sin() * a + (t * angle).sin() / angle.sin() * b

    def pictures(self, batch: Batch, inference: Inference) -> Mapping[str, Tensor]:
        """The structure and the organ of an image, and the same of made cases with their modalities."""
        rule = self.by_rule_of(batch)
        first = batch.image[:1, :1]
        shown = {
            "A training image, its structure and its organ": [(first + 1) / 2, rule["structure"], 1 - rule["organ"]]
        }
        options = replace(inference, options=MultimodalGanOptions())
        try:
            made = self.generate(1, options)
        except RunError:
            return self._side_by_side(shown)
        images = made.images if made.images is not None else first
        rest = [*made.fields.values()] + ([made.masks.any(1, keepdim=True)] if made.masks is not None else [])
        shown["A made case: its modalities, its structure, its organ and its label"] = [
            *((images[:1] + 1) / 2).split(1, 1), *rest,
        ]  # fmt: skip
        return self._side_by_side(shown)

    @staticmethod
    def _side_by_side(shown: Mapping[str, Sequence[Tensor]]) -> dict[str, Tensor]:
        return {
            caption: torch.cat([part[0, 0].float() for part in parts], 1).clamp(0, 1).expand(3, -1, -1)
            for caption, parts in shown.items()
        }
