"""The readers of a stage: each stream over its cases, prepared as the method takes them."""

from __future__ import annotations

from collections.abc import Callable

from scantling.contract.method import Method
from scantling.contract.stage import Stage
from scantling.core.case import Case, Split
from scantling.core.machine import memory_free
from scantling.data.dataset import Dataset
from scantling.data.files import probe
from scantling.data.loading import load
from scantling.data.preprocessing import Preprocessed, preprocess
from scantling.data.streams import CaseCache, Reader


def readers_of(
    stage: Stage, method: Method, dataset: Dataset, *, seed: int, split: Split = "train", budget: int | None = None
) -> dict[str, Reader]:
    """The readers of a stage's streams over the cases of a split; streams that read the same share memory.

    Args:
        budget: bytes of cases that may be kept; None: a third of what is free.

    Raises:
        DataError: a stream of training cases is empty. One of other cases is left out.
    """
    cases = dataset.split(split)
    by_id = {case.id: case for case in cases}
    budget = memory_free() // 3 if budget is None else budget
    caches: dict[tuple[str, ...], CaseCache] = {}
    traits, preprocessing = method.traits, method.preprocessing
    slicing = preprocessing.dimensions == 2 and traits.dimensions == 3

    def slices(case: Case) -> int | None:
        shape = probe(next(address for _, address in case.addresses())).geometry.shape
        return shape[traits.slice_axis] if len(shape) == 3 else None

    def preparing(reads: tuple[str, ...]) -> Callable[[Case], Preprocessed]:
        return lambda case: preprocess(
            load(case, labels=traits.labels, channels=traits.channels, reads=reads), preprocessing, traits
        )

    readers = {}
    for stream in stage.streams:
        taken = [case for case in cases if stream.takes(case)]
        if not taken and split != "train":
            continue
        words = {*stream.reads} - {"class"} | ({"region"} if "image" in stream.reads else set())
        if stream.annotator == "drawn" and "mask" in words:
            words = words - {"mask"} | {"masks"}
        reads = tuple(sorted(words))
        if reads not in caches:
            caches[reads] = CaseCache(preparing(reads), budget=budget // len(stage.streams))
        readers[stream.name] = Reader(
            stream,
            taken,
            caches[reads],
            seed=seed,
            stage=stage.name,
            others=by_id,
            slices=slices if slicing else None,
            image_classes=traits.image_classes,
        )
    return readers


def can_be_judged(model: Method, dataset: Dataset, seed: int) -> bool:
    """Whether there is a validation case that the criterion of a stage can be computed of."""
    for stage in model.stages():
        if stage.criterion is not None:
            held_out = readers_of(stage, model, dataset, seed=seed, split="validation")
            if held_out.keys() >= {*stage.criterion.visits}:
                return True
    return False
