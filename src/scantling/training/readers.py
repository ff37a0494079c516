"""The readers of a stage: which cases its streams draw, in which order and shares, and how they are changed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from scantling.contract.method import Method
from scantling.contract.stage import Stage
from scantling.contract.views import mirrored_of
from scantling.core.case import Case, Frozen, Split
from scantling.core.errors import DataError, SettingsError
from scantling.core.fields import FIELDS
from scantling.core.machine import memory_free
from scantling.core.samples import Traits
from scantling.core.streams import Augmentation, Stream
from scantling.data.case_cache import CaseCache
from scantling.data.channels import owner_of
from scantling.data.contents import some
from scantling.data.dataset import Dataset
from scantling.data.files import probe
from scantling.data.loading import load
from scantling.data.order import KINDS, belongs
from scantling.data.prepared_fields import PreparedField
from scantling.data.preprocessing import Preprocessed, preprocess
from scantling.data.reader import Reader

Ordering = Literal["shuffled", "sequential", "synthetic-first", "real-first"]


class Sampling(Frozen):
    """How the samples of every stream are drawn, whatever the method.

    Attributes:
        share: of the samples by the name of a pool, "real" or "synthetic"; the other cases share what is left.
        order: drawn anew each epoch, by the ids of the cases, or all of one kind first (`data.order.Phases`).
        augment: the changes of each stream: its own, none, or `Augmentation.strong`.
        augment_share: of the samples that are changed, evenly spread; the others stay as they are.
    """

    share: Mapping[str, float] = {}
    order: Ordering = "shuffled"
    augment: Literal["own", "none", "strong"] = "own"
    augment_share: float = 1.0

    @property
    def first(self) -> str | None:
        """The kind of cases that comes first, "real" or "synthetic"."""
        return self.order.removesuffix("-first") if self.order.endswith("-first") else None

    def check(self, cases: Collection[Case]) -> None:
        """Make sure that the shares and the order can be given to the training cases.

        Raises:
            SettingsError: they are no shares, or a name fits no case.
        """
        if not 0 <= self.augment_share <= 1:
            raise SettingsError(f"--augment-share {self.augment_share:g}: expected a share from 0 to 1")
        if self.first is not None:
            kinds = {"synthetic" if belongs(case, "synthetic") else "real" for case in cases}
            if lacking := [name for name in KINDS if name not in kinds]:
                raise SettingsError(f"--order {self.order}: found no {lacking[0]} training case; leave it out")
            if others := [name for name in self.share if name not in KINDS]:
                raise SettingsError(
                    f"--order {self.order}: goes with shares of {' and '.join(KINDS)}; found {others[0]}"
                )
        if not all(0 <= share <= 1 for share in self.share.values()) or sum(self.share.values()) > 1 + 1e-9:
            shares = ", ".join(f"{name}={share:g}" for name, share in self.share.items())
            raise SettingsError(f"--share {shares}: expected shares from 0 to 1 that add up to 1 at most")
        for name in self.share:
            if not any(belongs(case, name) for case in cases):
                known = {case.pool for case in cases if case.pool} | {case.origin.kind for case in cases}
                raise SettingsError(
                    f"--share {name}: found no training case that is of the pool {name}; expected one of "
                    f"{some(sorted(known), most=9)}"
                )


OWN = Sampling()
"""As the method says."""


def readers_of(
    stage: Stage,
    method: Method,
    dataset: Dataset,
    *,
    seed: int,
    split: Split = "train",
    budget: int | None = None,
    sampling: Sampling = OWN,
    prepared: Mapping[str, PreparedField] | None = None,
) -> dict[str, Reader]:
    """The readers of a stage's streams over the cases of a split; streams that read the same share memory.

    Args:
        budget: bytes of cases that may be kept; None: a third of what is free.
        prepared: fields that stages prepare, which streams read by name.
        sampling: in which order and shares cases come, and how they are changed.

    Raises:
        DataError: a stream of training cases is empty that is not optional, or its cases have no companions. One of
            other cases is left out.
    """
    cases, budget = dataset.split(split), memory_free() // 3 if budget is None else budget
    by_id = {case.id: case for case in cases}
    caches: dict[tuple[object, ...], CaseCache] = {}
    traits, preprocessing = method.traits, method.preprocessing
    slicing = preprocessing.dimensions == 2 and traits.dimensions == 3

    def slices(case: Case) -> int | None:
        shape = probe(next(address for _, address in case.addresses())).geometry.shape
        return shape[traits.slice_axis] if len(shape) == 3 else None

    def preparing(reads: Sequence[str], of: Stream) -> Callable[[Case], Preprocessed]:
        partial, layered = of.partial, of.layered
        return lambda case: preprocess(
            load(case, labels=traits.labels, channels=traits.channels, reads=reads, partial=partial, layered=layered),
            preprocessing,
            traits,
        )

    readers = {}
    made_of = {name: each.reads for other in method.stages() for each in other.prepares for name in each.fields}
    made_of |= {name: () for name in prepared or {} if name not in made_of}
    for stream in stage.streams:
        own = tuple(word for name in stream.reads for word in _from_files(name, made_of))
        taken = [case for case in cases if replace(stream, reads=own).takes(case)]
        if not taken and (split != "train" or stream.optional):
            continue
        _check_channels(stream, taken, traits)
        if split == "train":
            _check_background(stream, taken, method)
        reads = _read_by(stream)
        key = (*reads, stream.partial, stream.layered)
        if key not in caches:
            caches[key] = CaseCache(preparing(reads, stream), budget=budget // len(stage.streams))
        try:
            readers[stream.name] = Reader(
                replace(stream, augment=augmented(stream.augment, method, sampling)),
                taken,
                caches[key],
                seed=seed,
                stage=stage.name,
                others=by_id,
                slices=slices if slicing else None,
                traits=traits,
                shares=sampling.share if split == "train" else None,
                sequential=sampling.order == "sequential",
                changed=sampling.augment_share if split == "train" else 1.0,
                phases=(sampling.first, stage.steps) if sampling.first and split == "train" else None,
                prepared=prepared,
            )
        except DataError:  # among few validation cases there may be no partner
            if split == "train":
                raise
    return readers


def _check_background(stream: Stream, cases: Sequence[Case], method: Method) -> None:
    """Make sure that some mask knows the background, where masks that know only some classes leave it unknown.

    Raises:
        DataError: none does.
    """
    labels = method.traits.labels
    if stream.layered or labels is None or not labels.exclusive or not {"mask", "masks"} & {*stream.fields}:
        return
    known = [{*labels.names} if case.drawn_classes is None else {*case.drawn_classes} for case in cases if case.masks]
    if known and not any(each >= {*labels.names} for each in known):
        raise DataError(
            f"no training mask knows all classes ('drawn_classes'), and {method.card.name} takes the background from "
            "such masks alone; add one that does, or train `unet` or a semi-supervised method, which learn without"
        )


def _from_files(name: str, made_of: Mapping[str, Sequence[str]]) -> list[str]:
    """What a case must have so that it has a field: the field itself, or what the field is prepared from."""
    return [word for part in made_of[name] for word in _from_files(part, made_of)] if name in made_of else [name]


def _read_by(stream: Stream) -> tuple[str, ...]:
    """What is read from disk for a stream, in the words of `load`: all masks where one of them is drawn."""
    words = {name for name in stream.fields if name in FIELDS} - {"image_class"}
    if "masks" in words or ("mask" in words and stream.annotator == "drawn"):
        words = words - {"mask"} | {"masks"}
    return tuple(sorted(words))


def _check_channels(stream: Stream, cases: Sequence[Case], traits: Traits) -> None:
    """Make sure that the cases of a stream have all channels, where it cannot do without them."""
    if stream.partial or "image" not in stream.reads:
        return
    for case in cases:
        there = [bool(owner_of(channel, case.images)) for channel in traits.channels]
        if any(there) and not all(there):
            raise DataError(
                f"case {case.id}: it has the images {some(case.images)}; expected {some(traits.channels)} as in other "
                "cases"
            )


def augmented(own: Augmentation | None, method: Method, sampling: Sampling) -> Augmentation | None:
    """The changes to the samples of a stream: its own, none, or strong ones that keep which axes may be mirrored.

    Whatever they are, they mirror no axis along which the labels tell the two sides apart.
    """
    mirrored = mirrored_of(method)
    if sampling.augment == "own":
        return own and own.within(mirrored)
    if sampling.augment == "none":
        return None
    if own is not None:
        strong = Augmentation.strong(spacing=own.spacing)
        return replace(strong, flips=own.flips, turns=own.turns, ignore_sides=own.ignore_sides).within(mirrored)
    spacing = list(method.preprocessing.spacing or method.traits.spacing)
    if len(spacing) > method.preprocessing.dimensions:
        spacing.pop(method.traits.slice_axis)
    return Augmentation.strong(spacing=tuple(spacing)).within(mirrored)


def can_be_judged(model: Method, dataset: Dataset, seed: int) -> bool:
    """Whether there is a validation case that the criterion of a stage can be computed of."""
    for stage in model.stages():
        if stage.criterion is not None:
            held_out = readers_of(stage, model, dataset, seed=seed, split="validation")
            if held_out.keys() >= {*stage.criterion.visits}:
                return True
    return False
