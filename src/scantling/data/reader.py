"""The batches of a stream: that of a step is a function of the seed, the stage and the step, and of nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from scantling.core.case import Case
from scantling.core.errors import DataError, SettingsError
from scantling.core.fields import FIELDS, Field, Kind, label_map_of
from scantling.core.randomness import numpy_generator
from scantling.core.samples import Batch, Traits
from scantling.core.streams import Augmentation, Partner, Stream, View
from scantling.data.augmentation import change_values
from scantling.data.case_cache import CaseCache
from scantling.data.known_pixels import KnownPixels
from scantling.data.order import Order, Phases
from scantling.data.pixels import Pixels
from scantling.data.placement import Placement
from scantling.data.prepared_fields import PreparedField
from scantling.data.preprocessing import Preprocessed

DTYPES: Mapping[Kind, torch.dtype] = {"labels": torch.uint8, "binary": torch.bool, "objects": torch.int32}
"""The types of fields that are not float32."""
Where = Placement | Pixels
PADDED = ("masks", "boxes", "points")
"""Fields of which samples have different numbers."""


@dataclass(frozen=True)
class Place:
    """A position in a stream: a case, or one slice of it."""

    case: Case
    slice: int | None = None


@dataclass(frozen=True)
class Row:
    """One sample of a batch, before its values change; see `Batch`."""

    id: str
    index: int
    position: int
    fields: Mapping[str, Tensor]
    present: Mapping[str, Tensor]
    classes: Mapping[str, Tensor]
    generator: np.random.Generator
    changed: bool = True
    companions: Mapping[str, Row] = field(default_factory=dict)
    caption: str = ""


class Reader:
    """Reads one stream of a stage.

    Args:
        stream: what to read.
        cases: the training cases that belong to it (`Stream.takes`), in any order.
        cache: where cases are prepared with all that the stream reads.
        others: all training cases by id, for links and partners.
        slices: the number of slices of a case, where a method in 2-D reads volumes; None of a case that is a picture.
        traits: of the data: how many channels and classes there are, and which image classes.
        shares: see `Order`.
        sequential: see `Order`.
        changed: the share of the samples that the augmentation of the stream changes, evenly spread.
        phases: the kind of cases that comes first ("real" or "synthetic"), and the steps of the stage; see `Phases`.
        prepared: fields that were made for the cases, by name.

    Raises:
        DataError: there is no case, a case has no partner, or one is linked to a case that is not for training.
    """

    def __init__(
        self,
        stream: Stream,
        cases: Sequence[Case],
        cache: CaseCache,
        *,
        seed: int,
        stage: str,
        others: Mapping[str, Case] | None = None,
        slices: Callable[[Case], int | None] | None = None,
        traits: Traits | None = None,
        shares: Mapping[str, float] | None = None,
        sequential: bool = False,
        changed: float = 1.0,
        phases: tuple[str, int] | None = None,
        prepared: Mapping[str, PreparedField] | None = None,
    ) -> None:
        if not cases:
            raise DataError(f"stream {stream.name!r} is empty: no training case has {' and '.join(stream.reads)}")
        self.stream, self.cache, self.traits, self.seed, self.stage = stream, cache, traits, seed, stage
        self.others, self.prepared, self._changed = others or {}, prepared or {}, changed
        self._known = KnownPixels(cache, traits, scribbled=label_map_of(stream.fields) == "scribbles")

        def places(cases: Sequence[Case]) -> list[Place]:
            ordered = sorted(cases, key=lambda case: case.id)
            numbers = [slices(case) if slices is not None else None for case in ordered]
            return [
                Place(case, part)
                for case, number in zip(ordered, numbers, strict=True)
                for part in ((None,) if number is None else range(number))
            ]

        self.places = places(cases)
        self.partners = {
            companion.name: places([case for case in self.others.values() if companion.takes(case, stream.pool)])
            for companion in stream.companions
            if isinstance(companion, Partner)
        }
        for case in cases:
            self._check_companions(case)
        ordered, key = [place.case for place in self.places], (seed, stage, stream.name)
        self._order: Order | Phases = Order(ordered, *key, shares=shares, sequential=sequential)
        if phases is not None:
            first, steps = phases
            self._order = Phases(ordered, *key, first=first, samples=steps * stream.batch, shares=shares)

    def batch(self, step: int, *, slot: int = 0, slots: int = 1) -> Batch:
        """The part `slot` of the batch of a step."""
        share = self.share(slots)
        first = step * self.stream.batch + slot * share
        return self._collect([self._row(index) for index in range(first, first + share)], self.stream.augment)

    def share(self, slots: int) -> int:
        """How many samples of a batch each of `slots` parts has.

        Raises:
            SettingsError: the batch cannot be divided into so many parts.
        """
        if self.stream.batch % slots:
            raise SettingsError(
                f"stream {self.stream.name!r}: a batch of {self.stream.batch} cannot be shared by {slots} processes "
                f"times micro-batches; choose a batch that is a multiple of {slots}"
            )
        return self.stream.batch // slots

    def visit(self) -> Iterator[Batch]:
        """Each place once, whole and unchanged, one a batch; its companions, whole and unchanged, come along."""
        for position in range(len(self.places)):
            yield self.at(position)

    def at(self, position: int) -> Batch:
        """One place, whole and unchanged."""
        return self._collect([self._row(position, visit=True)], None, visit=True)

    def _row(self, index: int, *, visit: bool = False) -> Row:
        key = (self.seed, self.stage, self.stream.name, *(("visit",) if visit else ()), index)
        generator = numpy_generator(*key)
        position = index if visit else self._order.position(index)
        place = self.places[position] if visit else self._drawn_part(self.places[position])
        position += (place.slice or 0) - (self.places[position].slice or 0)
        changed = int((index + 1) * self._changed) > int(index * self._changed)
        augment = self.stream.augment if changed else None
        prepared, placement = self._placed(place, generator, augment, visit=visit)
        cut = self._cut(place, prepared, placement, generator)
        row = Row(place.case.id, index, position, *cut, generator, changed, caption=place.case.caption)
        companions = {}
        for companion in self.stream.companions:
            own = numpy_generator(*key, "companion", companion.name)
            if isinstance(companion, View):
                companions[companion.name] = replace(row, generator=own)
                continue
            if isinstance(companion, Partner):
                other = self._drawn_part(self._drawn(companion, place.case, own))
                partner, where = self._placed(other, own, augment, visit=visit)
            else:
                other, where = Place(self.others[place.case.links[companion.role]], place.slice), placement
                partner = self.cache.take(other.case).slice(other.slice)
                if partner.shape != prepared.shape:
                    raise DataError(
                        f"{place.case.id} and its {companion.role} {other.case.id} differ in size: {prepared.shape} "
                        f"and {partner.shape}"
                    )
            companions[companion.name] = Row(
                other.case.id, index, position, *self._cut(other, partner, where, own), own, changed
            )
        return replace(row, companions=companions)

    def _placed(
        self, place: Place, generator: np.random.Generator, augment: Augmentation | None, *, visit: bool
    ) -> tuple[Preprocessed, Placement | Pixels]:
        """What is at a place and which patch or pixels of it are taken; all of it on a visit."""
        stream, whole = self.stream, self.cache.take(place.case)
        prepared = whole.slice(place.slice)
        if visit:
            return prepared, Placement((0,) * len(prepared.shape), prepared.shape)
        if stream.pixels:
            return prepared, Pixels.draw(prepared, stream.pixels, generator)
        centre = None
        if stream.foreground and generator.random() < stream.foreground:
            centre = self._centre(place, whole, generator)
        patch = stream.patch or prepared.shape
        if centre is None and stream.patch is not None:
            centre = self._known.centre(place.case, place.slice, whole, patch=patch, generator=generator)
        return prepared, Placement.draw(prepared.shape, patch, augment, generator, centre=centre)

    def _centre(self, place: Place, whole: Preprocessed, generator: np.random.Generator) -> tuple[int, ...] | None:
        layers = self.cache.foreground(place.case, whole)
        if place.slice is not None:
            layers = tuple(rest for layer in layers if len(rest := layer[layer[:, 0] == place.slice][:, 1:]))
        if not layers:
            return None
        layer = layers[int(generator.integers(len(layers)))]
        return tuple(int(c) for c in layer[int(generator.integers(len(layer)))])

    def _drawn_part(self, place: Place) -> Place:
        """The place itself, or another slice of its volume where the mask or scribbles, if read, know nothing there."""
        if place.slice is None or label_map_of(self.stream.fields) is None:
            return place
        return replace(place, slice=self._known.slice(place.case, place.slice))

    def _drawn(self, partner: Partner, case: Case, generator: np.random.Generator) -> Place:
        """A partner of a case; there is one (`_check_companions`)."""
        candidates = self.partners[partner.name]
        while True:
            place = candidates[int(generator.integers(len(candidates)))]
            if _fits(partner, place.case, case):
                return place

    def _check_companions(self, case: Case) -> None:
        for role in self.stream.roles:
            if case.links[role] not in self.others:
                raise DataError(
                    f"case {case.id}: its {role} is {case.links[role]!r}, which is no training case; link cases of one "
                    "split"
                )
        for companion in self.stream.companions:
            if isinstance(companion, Partner) and not any(
                _fits(companion, place.case, case) for place in self.partners[companion.name]
            ):
                what = f"the case {companion.case}" if companion.case else "another case"
                kind = {True: " with a mask", False: " without a mask", None: ""}[companion.labelled]
                subject = " of another subject" if companion.other_subject and not companion.case else ""
                raise DataError(
                    f"stream {self.stream.name!r}: case {case.id} needs {what}{kind}{subject} for training beside it "
                    f"({companion.name}), and there is none; add cases"
                )

    def _cut(
        self, place: Place, prepared: Preprocessed, placement: Where, generator: np.random.Generator
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
        """Fields, presence and classes of a sample; what it does not have is neutral."""
        fields, present, classes = {}, {}, {}
        for name in self.stream.fields:
            if name in self.prepared:
                fields[name], present[name] = self._prepared_field(name, place, prepared, placement)
                continue
            if (kind := FIELDS.get(name)) is None:  # "link:ROLE" or "pool:NAME"
                continue
            there = torch.tensor([place.case.has(name)])
            if kind.kind == "class":
                known = {title: number for number, title in enumerate(self.traits.image_classes if self.traits else ())}
                fields[name] = torch.tensor(known.get(place.case.image_class or "", int(kind.absent)))
                there = fields[name][None] >= 0
            elif kind.kind in ("boxes", "points"):
                rows = prepared.coordinates.get(name)
                if rows is None:
                    rows = torch.zeros((0, len(prepared.shape), 2)[: 3 if kind.kind == "boxes" else 2])
                fields[name], inside = placement.boxes(rows) if kind.kind == "boxes" else placement.points(rows)
                classes[name] = prepared.classes.get(name, torch.zeros(len(rows), dtype=torch.int64))[inside]
            else:
                arrays = self._arrays(name, prepared, generator)
                cuts = [placement.cut_field(array, kind) for array in arrays]
                first = cuts[0] if cuts else self._absent(kind, placement, prepared)
                fields[name] = first if name != "masks" else torch.stack(cuts) if cuts else first[None][:0]
                parts = {"channels": prepared.channels, "classes": prepared.known}.get(kind.channels)
                width = {"channels": len(first), "classes": len(self.traits.classes) if self.traits else 1}
                there = torch.tensor([bool(arrays)]).expand(width.get(kind.channels, 1))
                there = there if parts is None or not arrays else parts
            present[name] = there
        return fields, present, classes

    def _prepared_field(
        self, name: str, place: Place, prepared: Preprocessed, placement: Where
    ) -> tuple[Tensor, Tensor]:
        """A prepared field of a sample, and whether it has one; one on a coarser grid stays whole."""
        field = self.prepared[name].field
        array = self.prepared[name].load(place.case.id, place.slice)
        if array is None:
            absent = self._absent(field, placement, prepared)
            absent = absent.expand(self.prepared[name].channels, *absent.shape[1:])
            return absent, torch.zeros(1, dtype=torch.bool)
        if tuple(array.shape[1:]) == prepared.shape or isinstance(placement, Pixels):
            return placement.cut_field(array, field), torch.ones(1, dtype=torch.bool)
        if self.stream.patch is not None or self.stream.augment is not None:
            raise DataError(
                f"stream {self.stream.name!r}: {name!r} of {place.case.id} lies on a grid of {tuple(array.shape[1:])}, "
                f"its image on one of {prepared.shape}; read it without a patch and without augmentation"
            )
        return array.clone(), torch.ones(1, dtype=torch.bool)

    def _arrays(self, name: str, prepared: Preprocessed, generator: np.random.Generator) -> Sequence[Tensor]:
        """What there is of a field on a grid: none, one, or the masks of all annotators."""
        if name == "image":
            return () if prepared.image is None else (prepared.image,)
        if name == "masks":
            return prepared.masks
        if name == "mask":
            drawn = self.stream.annotator == "drawn" and len(prepared.masks)
            number = int(generator.integers(len(prepared.masks))) if drawn else 0
            return prepared.masks[number : number + 1]
        return (prepared.fields[name],) if name in prepared.fields else ()

    def _absent(self, kind: Field, placement: Where, prepared: Preprocessed) -> Tensor:
        """A field (C, *patch) of a case that does not have it."""
        dtype = DTYPES.get(kind.kind, torch.float32)
        if kind.kind == "binary":  # all of the image
            return placement.cut_field(torch.full((1, *prepared.shape), bool(kind.absent), dtype=dtype), kind)
        channels, traits, layered = 1, self.traits, self.stream.layered
        if traits is not None and kind.channels == "channels":
            channels = len(traits.channels)
        elif traits and kind.channels == "classes" and traits.labels and (layered or not traits.labels.exclusive):
            channels = len(traits.classes)
        return torch.full((channels, *placement.patch), int(kind.absent), dtype=dtype)

    def _collect(self, rows: Sequence[Row], augment: Augmentation | None, *, visit: bool = False) -> Batch:
        fields, counts, classes = {}, {}, {}
        try:
            for name in rows[0].fields:
                tensors = [row.fields[name] for row in rows]
                if name in PADDED:
                    counts[name] = torch.tensor([len(tensor) for tensor in tensors])
                    tensors = _padded(tensors, FIELDS[name].absent)
                fields[name] = torch.stack(tensors)
        except RuntimeError:
            shapes = sorted({tuple(row.fields["image"].shape) for row in rows if "image" in row.fields})
            raise DataError(
                f"stream {self.stream.name!r} takes whole images, but their sizes differ: {shapes[:3]}"
            ) from None
        for name in rows[0].classes:
            classes[name] = torch.stack(_padded([row.classes[name] for row in rows], -1))
        present = {name: torch.stack([row.present[name] for row in rows]) for name in rows[0].present}
        if "image" in fields:
            image = change_values(fields["image"], None if visit else augment, [row.generator for row in rows])
            if not all(row.changed for row in rows) and augment is self.stream.augment:
                kept = torch.tensor([not row.changed for row in rows]).view(-1, *[1] * (image.ndim - 1))
                image = torch.where(kept, fields["image"], image)
            there = present["image"]
            if not there.all():
                image = image * there.view(*there.shape, *[1] * (image.ndim - 2))
            fields["image"] = image
        companions = {}
        for companion in self.stream.companions if rows[0].companions else ():
            changes = companion.augment if isinstance(companion, View) else self.stream.augment
            those = [row.companions[companion.name] for row in rows]
            companions[companion.name] = self._collect(those, changes, visit=visit)
        index, position = (torch.tensor([getattr(row, name) for row in rows]) for name in ("index", "position"))
        texts = tuple(row.id for row in rows), tuple(row.caption for row in rows)
        return Batch(index, position, fields, companions, present, counts, classes, *texts)


def _fits(partner: Partner, other: Case, case: Case) -> bool:
    if partner.case:
        return True
    return other.id != case.id and not (partner.other_subject and other.subject == case.subject)


def _padded(tensors: Sequence[Tensor], value: float) -> list[Tensor]:
    """The tensors, each with as many rows as the longest."""
    most = max(len(tensor) for tensor in tensors)
    return [torch.cat([t, t.new_full((most - len(t), *t.shape[1:]), value)]) for t in tensors]
