"""Streams of batches: the batch of a step is a function of the seed, the stage and the step, and of nothing else.

Sets that fit live in memory, prepared; what does not fit is read again at every visit, ahead of time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from scantling.core.case import IGNORE, Case
from scantling.core.errors import DataError, SettingsError
from scantling.core.randomness import numpy_generator, torch_generator
from scantling.core.samples import Augmentation, Batch, Stream
from scantling.data.augmentation import OUTSIDE, Placement, change_values
from scantling.data.preprocessing import Preprocessed

KEPT_PIXELS = 4096
"""Labelled pixels that are remembered of each class of a case, to centre patches on."""


class CaseCache:
    """Prepared cases, kept in memory as long as the budget lasts.

    Args:
        prepare: reads and prepares a case.
        budget: bytes that may be kept.
    """

    def __init__(self, prepare: Callable[[Case], Preprocessed], *, budget: int) -> None:
        self._prepare = prepare
        self._budget = budget
        self._kept: dict[str, Preprocessed] = {}
        self._foreground: dict[str, tuple[np.ndarray, ...]] = {}
        self._held = 0
        self._lock = threading.Lock()

    def take(self, case: Case) -> Preprocessed:
        """The case, from memory where it is kept."""
        if (kept := self._kept.get(case.id)) is not None:
            return kept
        prepared = self._prepare(case)
        with self._lock:
            if case.id not in self._kept and self._held + prepared.nbytes <= self._budget:
                self._kept[case.id] = prepared
                self._held += prepared.nbytes
        return prepared

    def foreground(self, case: Case, prepared: Preprocessed) -> tuple[np.ndarray, ...]:
        """For each class that the first mask of the case has, up to `KEPT_PIXELS` of its pixels (n, D)."""
        if case.id not in self._foreground:
            mask = prepared.masks[0].numpy()
            values = [value for value in np.unique(mask) if value not in (0, IGNORE)]
            layers = (layer == 1 for layer in mask) if len(mask) > 1 else (mask[0] == value for value in values)
            generator = numpy_generator("foreground", case.id)
            found = []
            for layer in layers:
                pixels = np.flatnonzero(layer)
                if len(pixels) > KEPT_PIXELS:
                    pixels = pixels[np.sort(generator.choice(len(pixels), KEPT_PIXELS, replace=False))]
                if len(pixels):
                    found.append(np.stack(np.unravel_index(pixels, layer.shape), -1).astype(np.int32))
            self._foreground[case.id] = tuple(found)
        return self._foreground[case.id]


@dataclass(frozen=True)
class Place:
    """A position in a stream: a case, or one slice of it."""

    case: Case
    slice: int | None = None


class Reader:
    """Reads one stream of a stage.

    Args:
        stream: what to read.
        cases: the training cases that belong to it (`Stream.takes`), in any order.
        others: all training cases by id, for links.
        cache: where cases are prepared with all that the stream reads.
        slices: the number of slices of a case, where a method in 2-D reads volumes; None of a case that is a picture.
        image_classes: the names in the order of their numbers.

    Raises:
        DataError: there is no case, or one is linked to a case that is not for training.
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
        image_classes: Sequence[str] = (),
    ) -> None:
        if not cases:
            raise DataError(f"stream {stream.name!r} is empty: no training case has {' and '.join(stream.reads)}")
        self.stream, self.cache = stream, cache
        self.seed, self.stage = seed, stage
        self.others, self.image_classes = others or {}, list(image_classes)
        for case in cases:
            for role in stream.linked:
                if case.links[role] not in self.others:
                    raise DataError(
                        f"case {case.id}: its {role} is {case.links[role]!r}, which is no training case; link cases of "
                        "one split"
                    )
        known = (*cases, *(self.others[case.links[role]] for case in cases for role in stream.linked))
        self._regions = "image" in stream.reads and any(case.region is not None for case in known)
        ordered = sorted(cases, key=lambda case: case.id)
        self.places: list[Place] = []
        for case in ordered:
            number = slices(case) if slices is not None else None
            self.places += [Place(case, part) for part in ((None,) if number is None else range(number))]
        self._orders: dict[int, Tensor] = {}

    def batch(self, step: int, *, slot: int = 0, slots: int = 1) -> Batch:
        """The part `slot` of the batch of a step."""
        share = self.share(slots)
        first = step * self.stream.batch + slot * share
        samples = [self._sample(index) for index in range(first, first + share)]
        return self._collect(samples, self.stream.augment)

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
        """Each place once, whole and unchanged, one a batch."""
        for position, place in enumerate(self.places):
            prepared = self._slice(self.cache.take(place.case), place.slice)
            whole = Placement((0,) * len(prepared.shape), prepared.shape)
            generator = numpy_generator(self.seed, self.stage, self.stream.name, "visit", position)
            fields = self._fields(place, prepared, whole, generator)
            yield self._collect([(position, position, fields, {}, generator)], None)

    def _sample(
        self, index: int
    ) -> tuple[int, int, dict[str, Tensor], dict[str, dict[str, Tensor]], np.random.Generator]:
        stream = self.stream
        generator = numpy_generator(self.seed, self.stage, stream.name, index)
        position = self._position(index)
        place = self.places[position]
        whole = self.cache.take(place.case)
        prepared = self._slice(whole, place.slice)
        centre = None
        if stream.foreground and generator.random() < stream.foreground:
            centre = self._centre(place, whole, generator)
        patch = stream.patch or prepared.shape
        placement = Placement.draw(prepared.shape, patch, stream.augment, generator, centre=centre)
        linked = {}
        for role in stream.linked:
            other = Place(self.others[place.case.links[role]], place.slice)
            partner = self._slice(self.cache.take(other.case), other.slice)
            if partner.shape != prepared.shape:
                raise DataError(
                    f"{place.case.id} and its {role} {other.case.id} differ in size: {prepared.shape} and "
                    f"{partner.shape}"
                )
            linked[role] = self._fields(other, partner, placement, generator)
        return index, position, self._fields(place, prepared, placement, generator), linked, generator

    def _position(self, index: int) -> int:
        count = len(self.places)
        epoch, offset = divmod(index, count)
        order = self._orders.get(epoch)
        if order is None:
            order = torch.randperm(
                count, generator=torch_generator(self.seed, self.stage, self.stream.name, "order", epoch)
            )
            self._orders = {e: o for e, o in self._orders.items() if e >= epoch - 1} | {epoch: order}
        return int(order[offset])

    def _centre(self, place: Place, whole: Preprocessed, generator: np.random.Generator) -> tuple[int, ...] | None:
        layers = self.cache.foreground(place.case, whole)
        if place.slice is not None:
            layers = tuple(rest for layer in layers if len(rest := layer[layer[:, 0] == place.slice][:, 1:]))
        if not layers:
            return None
        layer = layers[int(generator.integers(len(layers)))]
        return tuple(int(c) for c in layer[int(generator.integers(len(layer)))])

    def _slice(self, prepared: Preprocessed, part: int | None) -> Preprocessed:
        if part is None:
            return prepared
        return Preprocessed(
            None if prepared.image is None else prepared.image[:, part],
            {name: field[:, part] for name, field in prepared.fields.items()},
            tuple(mask[:, part] for mask in prepared.masks),
        )

    def _fields(
        self, place: Place, prepared: Preprocessed, placement: Placement, generator: np.random.Generator
    ) -> dict[str, Tensor]:
        fields = {
            name: placement.cut(field, linear=False, outside=OUTSIDE[name]) for name, field in prepared.fields.items()
        }
        if self._regions and "region" not in fields:
            whole = torch.ones((1, *prepared.shape), dtype=torch.bool)  # a case without one is all of interest
            fields["region"] = placement.cut(whole, linear=False, outside=OUTSIDE["region"])
        if prepared.image is not None:
            fields["image"] = placement.cut(prepared.image, linear=True)
        if prepared.masks:
            drawn = self.stream.annotator == "drawn"
            mask = prepared.masks[int(generator.integers(len(prepared.masks))) if drawn else 0]
            fields["mask"] = placement.cut(mask, linear=False, outside=OUTSIDE["mask"])
        if "class" in self.stream.reads and place.case.image_class is not None:
            fields["image_class"] = torch.tensor(self.image_classes.index(place.case.image_class))
        return fields

    def _collect(
        self,
        samples: Sequence[tuple[int, int, dict[str, Tensor], dict[str, dict[str, Tensor]], np.random.Generator]],
        augment: Augmentation | None,
    ) -> Batch:
        indices, positions, rows, linked, generators = zip(*samples, strict=True)

        def stack(rows: Sequence[Mapping[str, Tensor]]) -> Batch:
            shared = set.intersection(*(set(row) for row in rows))
            try:
                stacked = {name: torch.stack([row[name] for row in rows]) for name in shared}
            except RuntimeError:
                shapes = sorted({tuple(row["image"].shape) for row in rows if "image" in row})
                raise DataError(
                    f"stream {self.stream.name!r} takes whole images, but their sizes differ: {shapes[:3]}"
                ) from None
            if "image" in stacked:
                stacked["image"] = change_values(stacked["image"], augment, generators)
            return Batch(torch.tensor(indices), torch.tensor(positions), stacked)

        batch = stack(rows)
        partners = {role: stack([pairs[role] for pairs in linked]) for role in linked[0]}  # a visit brings none
        return replace(batch, linked=partners) if partners else batch


class Prefetcher:
    """Makes the batches of the next step while the current one is computed."""

    def __init__(
        self,
        readers: Mapping[str, Reader],
        draws: Callable[[int], Sequence[str]] | None,
        slots: Sequence[int],
        total: int,
    ) -> None:
        self._readers, self._draws, self._slots, self._total = readers, draws, slots, total
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="feeder")
        self._ahead: tuple[int, Future[list[dict[str, Batch]]]] | None = None

    def batches(self, step: int, *, last: bool = False) -> list[dict[str, Batch]]:
        """The batches of a step by stream, one dictionary for each of this process's slots."""
        ahead = self._ahead
        batches = ahead[1].result() if ahead is not None and ahead[0] == step else self._make(step)
        self._ahead = None if last else (step + 1, self._pool.submit(self._make, step + 1))
        return batches

    def close(self) -> None:
        """Stop making batches."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _make(self, step: int) -> list[dict[str, Batch]]:
        names = self._draws(step) if self._draws is not None else list(self._readers)
        return [
            {name: self._readers[name].batch(step, slot=slot, slots=self._total) for name in names}
            for slot in self._slots
        ]
