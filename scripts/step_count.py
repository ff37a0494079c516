"""What one step of a training takes, counted with tensors that have shapes and no values.

Operations are those of convolutions, matrix products and attention, forwards and back. Memory is that of weights, their
gradients and moments, of averaged weights, and of what is kept for the way back, all in float32; what kernels take for
themselves is not in it, and mixed precision takes less.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from scantling.contract.method import Method
from scantling.contract.stage import Stage
from scantling.contract.step import Step
from scantling.core.errors import ScantlingError
from scantling.core.samples import Batch
from scantling.core.streams import Stream
from scantling.data.dataset import Dataset, open_dataset
from scantling.data.division import divide
from scantling.training import Options
from scantling.training.readers import readers_of
from scantling.training.stage_runner import StageRunner
from scantling.training.training import preview


class Book:
    """The bytes of the tensors that are kept for the way back, each storage once."""

    def __init__(self, weights: Iterator[Tensor]) -> None:
        self.weights = {_storage(tensor) for tensor in weights}
        self.held, self.sizes, self.most = Counter[int](), dict[int, int](), 0

    def keep(self, tensor: Tensor) -> Kept:
        """Write a tensor down until what is returned is forgotten."""
        return Kept(self, tensor)

    def add(self, tensor: Tensor, count: int) -> None:
        """One more of a tensor, or one less."""
        key = _storage(tensor)
        if key in self.weights:
            return
        self.held[key] += count
        if self.held[key] <= 0:
            del self.held[key], self.sizes[key]
        else:
            self.sizes[key] = tensor.untyped_storage().nbytes()
            self.most = max(self.most, sum(self.sizes.values()))


class Kept:
    """A tensor that is kept for the way back."""

    def __init__(self, book: Book, tensor: Tensor) -> None:
        self.book, self.tensor = book, tensor.detach()  # without its history, which would hold this
        book.add(tensor, 1)

    def __del__(self) -> None:
        self.book.add(self.tensor, -1)


@contextmanager
def kept_for_the_way_back(method: nn.Module) -> Iterator[Book]:
    """The book of what is kept within the block."""
    book = Book(method.parameters())
    with torch.autograd.graph.saved_tensors_hooks(book.keep, lambda kept: kept.tensor):
        yield book


ERRORS = (RuntimeError, NotImplementedError, KeyError, TypeError, ValueError, AssertionError)
"""What a step may end in that looks at values."""


def counted(name: str, data: Path, *, preset: str) -> dict[str, Any]:
    """The row of a method: the first steps of its stages on real shapes, of which the largest counts."""
    from rich.console import Console

    try:
        options = Options(preset=preset, device="cpu", validation=0.0)
        method = preview(name, [data], options, console=Console(quiet=True)).method
        stages, dataset = method.stages(), divide(open_dataset(data), validation=0.0)
        if not stages:
            return {"method": name, "error": "has no steps to count"}
        read = [_read(method, dataset, stage) for stage in stages]
    except ScantlingError as error:
        return {"method": name, "error": str(error)}
    found, made, why = list[tuple[int, int]](), dict[str, Tensor](), ""
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        _without_values(method, mode)
        for number, (batch, wholes) in enumerate(read):
            try:
                with _unchecked(), Guessed():
                    made |= _prepared(method.stages()[number], {n: _shapes(each, mode) for n, each in wholes.items()})
                    found.append(_step(method, number, {n: _shapes(each, mode) for n, each in batch.items()}, made))
            except ERRORS as error:
                why = (str(error).splitlines() or [type(error).__name__])[0]
    if not found:
        return {"method": name, "error": f"cannot be counted, since its step looks at values ({why[:60]})"}
    operations, most = (max(each) for each in zip(*found, strict=True))
    return {
        "method": name, "parameters": sum(parameter.numel() for parameter in method.parameters()),
        "operations": operations, "bytes": most, "counted": len(found), "stages": len(stages), "why": why,
        "steps": sum(stage.steps for stage in stages),
    }  # fmt: skip


def _step(method: Method, number: int, batch: dict[str, Batch], made: Mapping[str, Tensor]) -> tuple[int, int]:
    """Operations and bytes of the first step of a stage."""
    stage = method.stages()[number]
    runner = StageRunner(method, stage, seed=0, device=torch.device("cpu"))
    runner.layers = []  # dropout by sample draws values; torch's own does as much work
    for stream in stage.streams:
        if stream.name in batch and (wanted := [name for name in stream.reads if name in made]):
            own = batch[stream.name]
            fields = {name: _as_read(made[name], own, patched=stream.patch is not None) for name in wanted}
            batch[stream.name] = replace(own, fields={**own.fields, **fields}, present={})
    with FlopCounterMode(display=False) as operations, kept_for_the_way_back(method) as book:
        runner.step(0, [batch])
    moments = [t for each in runner.optimisers.values() for kept in each.state.values() for t in kept.values()]
    trained = [parameter for each in runner.owned.values() for parameter in each]
    averages = [tensor for each in runner.averages.values() for tensor in each]
    fixed = [*method.parameters(), *method.buffers(), *trained, *averages]
    fixed += [tensor for tensor in moments if torch.is_tensor(tensor)]
    return operations.get_total_flops(), sum(tensor.nbytes for tensor in fixed) + book.most


def _as_read(made: Tensor, beside: Batch, *, patched: bool) -> Tensor:
    """A field of a whole case as a batch holds it: cut as the images are, or whole."""
    shape = beside.region.shape[2:] if patched else made.shape[2:]
    return made.new_zeros((len(beside.index), made.shape[1], *shape))


@torch.no_grad()
def _prepared(stage: Stage, wholes: Mapping[str, Batch]) -> dict[str, Tensor]:
    """The fields of one case that a stage prepares."""
    found = dict[str, Tensor]()
    for each in stage.prepares:
        made = each.make(wholes[each.name], Step(seed=0, stage=stage.name, number=0))
        found |= {each.name: made} if isinstance(made, Tensor) else made
    return found


class Guessed(TorchDispatchMode):
    """Answers what a step asks of values, of which there are none: it takes one way, as it would for some values."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """As torch does, but for single values."""
        del types
        if func is torch.ops.aten._local_scalar_dense.default:
            kind = args[0].dtype
            return False if kind == torch.bool else 0.5 if kind.is_floating_point else 0
        if func is torch.ops.aten.nonzero.default:
            return torch.zeros((0, args[0].ndim), dtype=torch.int64, device=args[0].device)
        return func(*args, **(kwargs or {}))


@contextmanager
def _unchecked() -> Iterator[None]:
    """Without the checks of the values of targets, which have none here."""
    with ExitStack() as stack:
        for name, module in list(sys.modules.items()):
            for check in ("check_target", "check_probabilities") if name.startswith("scantling.") else ():
                if hasattr(module, check):
                    stack.enter_context(patch.object(module, check))
        yield


def _without_values(method: Method, mode: FakeTensorMode) -> None:
    """Have the weights and buffers of a method shapes alone."""
    for module in method.modules():
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(mode.from_tensor(parameter.detach())))
        for name, buffer in module.named_buffers(recurse=False):
            setattr(module, name, mode.from_tensor(buffer))


def _shapes(batch: Batch, mode: FakeTensorMode) -> Batch:
    """A batch of shapes alone."""
    batch = batch.to("cpu")

    def of(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: mode.from_tensor(tensor) for name, tensor in tensors.items()}

    return replace(
        batch, index=mode.from_tensor(batch.index), case=mode.from_tensor(batch.case), fields=of(batch.fields),
        present=of(batch.present), counts=of(batch.counts), classes=of(batch.classes),
        companions={name: _shapes(each, mode) for name, each in batch.companions.items()},
    )  # fmt: skip


def _read(method: Method, dataset: Dataset, stage: Stage) -> tuple[dict[str, Batch], dict[str, Batch]]:
    """The batch of the first step of a stage, without fields that are prepared, and one whole case for each of those
    that it prepares."""
    made = {name for one in method.stages() for each in one.prepares for name in each.fields}

    def of(stream: Stream) -> Stream:
        return replace(stream, reads=tuple(name for name in stream.reads if name not in made) or ("image",))

    readers = readers_of(replace(stage, streams=tuple(map(of, stage.streams))), method, dataset, seed=0)
    names = stage.draws(StageRunner.start(stage, 0, torch.device("cpu"))) if stage.draws is not None else list(readers)
    wholes = {}
    for each in stage.prepares:
        alone = replace(stage, streams=(of(Stream(name="whole", reads=each.reads)),))
        wholes[each.name] = readers_of(alone, method, dataset, seed=0)["whole"].at(0)
    return {name: readers[name].batch(0) for name in names if name in readers}, wholes


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
