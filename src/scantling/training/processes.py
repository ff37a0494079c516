"""Several processes as one: started by torchrun or SLURM, gradients averaged by hand.

A wrapper that averages inside `backward` silently leaves processes with different gradients when `backward`
is told its inputs, as the game of players does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from scantling.core.errors import RunError

MEETING = timedelta(hours=2)
"""How long a process waits for the others: at the start, and in a step, while the first one validates."""


@dataclass(frozen=True)
class Processes:
    """This process among all: its rank, how many there are, and how many of them share its machine."""

    rank: int = 0
    count: int = 1
    here: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace every gradient by its mean over all processes; a missing one counts as zero."""
        if self.count == 1:
            return
        missing = torch.tensor([p.grad is None for p in parameters], dtype=torch.int32)
        missing = self.sum(missing.to(parameters[0].device))
        shared = [p for p, absent in zip(parameters, missing.tolist(), strict=True) if absent < self.count]
        if not shared:
            return
        grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in shared]
        flat = self.sum(torch.cat([grad.reshape(-1) for grad in grads])) / self.count
        for parameter, part in zip(shared, flat.split([p.numel() for p in shared]), strict=True):
            parameter.grad = torch.empty_like(parameter).copy_(part.view_as(parameter))

    def share_buffers(self, network: nn.Module) -> None:
        """Give every process the first one's buffers, such as the running means of batch norm."""
        if self.count == 1:
            return
        kinds: dict[torch.dtype, list[Tensor]] = {}
        for buffer in network.buffers():
            kinds.setdefault(buffer.dtype, []).append(buffer)
        for buffers in kinds.values():
            flat = self.from_first(torch.cat([buffer.reshape(-1) for buffer in buffers]))
            for buffer, part in zip(buffers, flat.split([b.numel() for b in buffers]), strict=True):
                buffer.copy_(part.view_as(buffer))

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, without gradient."""
        total = tensor.detach().clone()
        if self.count > 1:
            dist.all_reduce(total)
        return total

    def from_first(self, tensor: Tensor) -> Tensor:
        """The tensor of the first process, of the same shape in all."""
        tensor = tensor.detach().clone()
        if self.count > 1:
            dist.broadcast(tensor, 0)
        return tensor

    def gather(self, tensor: Tensor) -> Tensor:
        """The rows of all processes in the order of the ranks, without gradient."""
        if self.count == 1:
            return tensor
        parts = [torch.empty_like(tensor) for _ in range(self.count)]
        dist.all_gather(parts, tensor.detach().contiguous())
        return torch.cat(parts)

    def all(self, value: Any) -> list[Any]:
        """A small JSON-like value from every process."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values

    def agreed(self, value: Any) -> Any:
        """The first process's value."""
        return self.all(value)[0]


@contextmanager
def processes(device: torch.device) -> Iterator[Processes]:
    """Join the other processes if a launcher started several, and leave them at the end.

    Raises:
        RunError: the launcher's variables make no sense, or another process stopped.
    """
    if dist.is_initialized():  # somebody else's group, as in tests
        yield Processes(dist.get_rank(), dist.get_world_size(), dist.get_world_size())
        return
    rank, count, here = _place(os.environ)
    if count == 1:
        yield Processes()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)  # NCCL takes the current one for this process's own
    try:
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
            rank=rank,
            world_size=count,
            timeout=MEETING,
        )
    except (ValueError, dist.DistError) as error:
        raise RunError(f"{count} processes were started but cannot meet ({error}); set MASTER_PORT too") from None
    try:
        yield Processes(rank, count, here)
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo/transport" in str(error):
            raise RunError("another process of this training stopped; its own message says why") from None
        raise
    finally:
        dist.destroy_process_group()


def _place(environment: Mapping[str, str]) -> tuple[int, int, int]:
    """The rank of this process, how many there are, and how many of them share its machine.

    torchrun sets RANK and WORLD_SIZE for each process that it starts, srun the variables of a step. In a batch script
    or in the shell of an allocation SLURM_NTASKS only says how many tasks there could be.

    Raises:
        RunError: the variables make no sense, or speak of processes that nobody has started.
    """

    def number(name: str, default: int) -> int:
        text = environment.get(name, str(default))
        if not (text.isascii() and text.isdecimal()):
            raise RunError(f"{name} is {text!r}; expected a whole number; start with torchrun or srun, or unset it")
        return int(text)

    slurm = "SLURM_STEP_NUM_TASKS" in environment
    count = number("WORLD_SIZE", number("SLURM_STEP_NUM_TASKS", 1))
    rank = number("RANK", number("SLURM_PROCID", 0) if slurm else 0)
    meant = "MASTER_ADDR" in environment  # else nobody wants several processes
    if meant and "WORLD_SIZE" not in environment and not slurm and number("SLURM_NTASKS", 1) > 1:
        raise RunError(
            f"SLURM_NTASKS is {environment['SLURM_NTASKS']}, but srun has not started this process; start with "
            "`srun scantling train ...`, or unset SLURM_NTASKS to train in one process"
        )
    if count == 1:
        return 0, 1, 1
    if "WORLD_SIZE" in environment and "RANK" not in environment:
        raise RunError(f"WORLD_SIZE is {count}, but RANK is not set; start with torchrun, or unset WORLD_SIZE")
    if not rank < count:
        raise RunError(f"this is process {rank} of {count}, counted from 0; start all of them with one launcher")
    if not meant:
        raise RunError(
            f"{count} processes were started, but MASTER_ADDR does not say where they meet; set it to the first node "
            "and MASTER_PORT to a free port"
        )
    return rank, count, number("LOCAL_WORLD_SIZE", number("SLURM_NTASKS_PER_NODE", count))
