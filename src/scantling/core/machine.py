"""The machine under a run: device, threads, precision, memory, determinism; and a record of all of it."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.metadata
import math
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch

from scantling.core.errors import SettingsError

Precision = Literal["auto", "float32", "bf16", "float64"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def device_of(name: str) -> torch.device:
    """The device called `name`; "auto" is a GPU where there is one, else the processor.

    A GPU without a number is this process's own, by its place among the processes of the machine.

    Raises:
        SettingsError: the device is unknown or absent.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise SettingsError(f"--device {name}: no such device; expected auto, cpu, cuda or cuda:N") from None
    if device.type not in {"cpu", "cuda"}:
        raise SettingsError(f"--device {name}: only cpu and cuda are supported")
    if device.type == "cpu":
        return device
    if not torch.cuda.is_available():
        raise SettingsError(f"--device {name}: torch sees no GPU here; use --device cpu")
    there = torch.cuda.device_count()
    place = int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0")))
    index = place % there if device.index is None else device.index
    if index >= there:
        raise SettingsError(f"--device {name}: torch sees {there} GPU{'s' * (there > 1)} here, numbered from 0")
    return torch.device("cuda", index)


@dataclass(frozen=True, kw_only=True)
class Compute:
    """Where and how numbers are computed.

    Attributes:
        device: auto, cpu, cuda or cuda:N.
        threads: of the processor; numbers repeat bit for bit only with the same count.
        precision: auto is bf16 on a GPU that has it and, to train, on a processor that has it; float32 elsewhere.
    """

    device: str = "auto"
    threads: int | None = None
    precision: Precision = "auto"

    def prepare(self) -> torch.device:
        """Make torch deterministic, and find the device.

        Raises:
            SettingsError: the device is absent, there are fewer threads than one, or the precision is unknown.
        """
        if self.precision not in get_args(Precision):
            raise SettingsError(f"--precision {self.precision}: expected {' or '.join(get_args(Precision))}")
        steady(threads=self.threads)
        return device_of(self.device)

    def autocast(self, device: torch.device, *, training: bool) -> torch.dtype | None:
        """The type of autocast on a device, None for none."""
        return autocast_type(self.precision, device, training=training)


COMPUTE = Compute()


def steady(*, threads: int | None = None) -> None:
    """Make torch deterministic, let it use the cores that there are, and keep the memory of large activations.

    Where neither `threads` nor OMP_NUM_THREADS says how many threads there are, they are no more than `cores`: torch
    counts those of the whole machine, and more threads than cores take many times as long. glibc gives large blocks
    back to the kernel at every free, which doubles the time of some steps; higher thresholds keep them.

    Raises:
        SettingsError: fewer threads than one.
    """
    if threads is not None and threads < 1:
        raise SettingsError(f"--threads {threads}: expected 1 or more")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_deterministic_debug_mode("error")  # use_deterministic_algorithms would import torch's compiler
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    if threads is None and "OMP_NUM_THREADS" not in os.environ:
        threads = min(torch.get_num_threads(), cores())
    if threads is not None and threads != torch.get_num_threads():
        torch.set_num_threads(threads)
    if platform.system() == "Linux":
        with contextlib.suppress(OSError, AttributeError):
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
            libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


@contextlib.contextmanager
def unrepeatable() -> Iterator[None]:
    """Allow what has no deterministic form on a GPU, such as the gradient of interpolation.

    On a processor all repeats bit for bit as before.
    """
    mode = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("default")
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)


def autocast_type(precision: Precision, device: torch.device, *, training: bool) -> torch.dtype | None:
    """The type of autocast, or None for none.

    "auto" is bf16 on a GPU that has it, and for training also on a processor that computes in it, where it takes
    about half the time; answers on a processor are computed in float32.
    """
    if precision == "auto":
        on_gpu = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if on_gpu or (training and device.type == "cpu" and _computes_bf16()) else None
    return torch.bfloat16 if precision == "bf16" else None


def _computes_bf16() -> bool:
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # absent in older torch
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def record(device: torch.device) -> dict[str, object]:
    """What bit-identical repetition depends on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {
        "device": device.type,
        "device_name": name,
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {
            "python": platform.python_version(),
            **_versions(),
        },
    }


@functools.cache
def _versions() -> dict[str, str]:
    return {package: importlib.metadata.version(package) for package in ("scantling", "torch", "numpy", "monai")}


def memory_free(*, root: Path = Path("/")) -> int:
    """Bytes of main memory that this process can have now; 4 GiB where the system does not say.

    That is what the machine has left, and no more than a container or a scheduler allows.

    Args:
        root: the folder that holds `proc` and `sys`.
    """
    return int(max(0, min(_available(root), *_allowed(root))))


def _available(root: Path) -> int:
    with contextlib.suppress(OSError, ValueError, KeyError):
        facts = dict(line.split(":", 1) for line in (root / "proc/meminfo").read_text(encoding="ascii").splitlines())
        return int(facts["MemAvailable"].split()[0]) * 1024
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 4 << 30


def _allowed(root: Path) -> list[float]:
    """Bytes that each control group that holds this process has left."""
    names = {1: ("limit_in_bytes", "usage_in_bytes"), 2: ("max", "current")}
    return [math.inf, *(_left(group, *names[version]) for group, version in _groups("memory", root))]


def cores(*, root: Path = Path("/")) -> int:
    """Processor cores that this process may use: those it is bound to, and no more than a container's quota.

    Args:
        root: the folder that holds `proc` and `sys`.
    """
    bound = getattr(os, "sched_getaffinity", None)
    allowed: list[float] = [len(bound(0)) if bound is not None else os.cpu_count() or 1]
    for group, version in _groups("cpu", root):
        with contextlib.suppress(OSError, ValueError):  # "max", which is no number, is no limit
            names = ["cpu.max"] if version == 2 else ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
            quota, period = map(int, " ".join((group / name).read_text(encoding="ascii") for name in names).split())
            if quota > 0 and period > 0:
                allowed.append(math.ceil(quota / period))
    return int(min(allowed))


def _groups(controller: str, root: Path) -> Iterator[tuple[Path, int]]:
    """The control groups (Linux) that hold this process and limit what `controller` counts, with their version."""
    with contextlib.suppress(OSError, ValueError):
        for line in (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers and controller not in controllers.split(","):
                continue
            top = root / "sys/fs/cgroup" / (controller if controllers else "")
            inner = top / group.strip("/")
            yield from ((at, 1 if controllers else 2) for at in (inner, *inner.parents) if at.is_relative_to(top))


def _left(group: Path, limit: str, usage: str) -> float:
    with contextlib.suppress(OSError, ValueError):
        most = int((group / f"memory.{limit}").read_text(encoding="ascii"))  # "max", which is no number, is no limit
        used = int((group / f"memory.{usage}").read_text(encoding="ascii"))
        stat = dict(line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines())
        cache = stat.get("total_inactive_file", stat.get("inactive_file", "0"))  # given back when it is needed
        return most - used + int(cache)
    return math.inf


def _processor() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
