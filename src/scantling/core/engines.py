"""Where the parts of a command are computed: in this process, or spread over a machine or a cluster with Ray.

A part is a function of this package with arguments that can be pickled, and leaves its result in files; so whoever
computes it, the same files come out. A part whose process is killed is begun again elsewhere and goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, TypeVar

from scantling.core.errors import RunError, ScantlingError, SettingsError

T = TypeVar("T")
R = TypeVar("R")

ADDRESS = "RAY_ADDRESS"
"""The variable that names a running cluster, as for every program that uses Ray."""
AGAIN = 3
"""How often a part is begun again whose process has died."""
ENDING = 60.0
"""Seconds that parts have to save when the command is stopped."""

STARTS = 2
"""How often a Ray is started that does not answer."""
LISTENING = 10.0
"""Seconds in which an address has to answer."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """What each part takes of a machine.

    Attributes:
        cpus: processor cores, which are its threads; None: with a GPU the cores of each, else 1.
        gpus: a number of GPUs, or a fraction of one that several parts share; None: 1 where there are GPUs, else 0.
    """

    cpus: int | None = None
    gpus: float | None = None

    def check(self) -> None:
        """Make sure that both can be.

        Raises:
            SettingsError: one is out of range.
        """
        if self.cpus is not None and self.cpus < 1:
            raise SettingsError(f"--cpus-per-cell {self.cpus}: expected 1 or more")
        if self.gpus is not None and not (0 <= self.gpus <= 1 or self.gpus == int(self.gpus)):
            raise SettingsError(f"--gpus-per-cell {self.gpus:g}: expected a share of a GPU, such as 0.5, or a number")


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A Ray that answers.

    Attributes:
        cpus, gpus: that each part takes.
        parts: how many fit at once.
    """

    cpus: int
    gpus: float
    parts: int

    def run(self, work: Callable[[T], R], items: Sequence[T]) -> Iterator[tuple[int, R | ScantlingError]]:
        """Compute `work` of each item; yields the number of an item and its result as they are done, in any order.

        A `ScantlingError` of an item is yielded in place of its result, and so is that its processes died.

        Raises:
            KeyboardInterrupt: the command is to stop; what was begun has been told to save.
        """
        import ray

        remote: Any = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=AGAIN)(_there)
        waiting = {remote.remote(os.getcwd(), work, item): number for number, item in enumerate(items)}
        try:
            with _terminable():
                while waiting:
                    done, _ = ray.wait([*waiting], num_returns=1)
                    yield waiting.pop(done[0]), _result(ray, done[0])
        except BaseException:
            for reference in waiting:
                with contextlib.suppress(Exception):
                    ray.cancel(reference)
            with contextlib.suppress(Exception, KeyboardInterrupt):
                ray.wait([*waiting], num_returns=len(waiting), timeout=ENDING)
            raise


def _there(folder: str, work: Callable[[T], R], item: T) -> R:
    """Compute in the folder of the command, from which its paths start."""
    with contextlib.suppress(OSError):
        os.chdir(folder)
    return work(item)


def _result(ray: Any, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause if isinstance(getattr(error, "cause", None), Exception) else error
        if isinstance(cause, ScantlingError):
            return cause
        raise cause from None
    except ray.exceptions.RayError as error:
        first = " ".join(str(error).split()).partition(". ")[0]
        return RunError(f"its process was ended {AGAIN + 1} times ({type(error).__name__}: {first})")


@contextmanager
def ray_cluster(share: Share) -> Iterator[Cluster]:
    """A running cluster that `RAY_ADDRESS` names, or a Ray of this machine alone that is stopped at the end.

    The nodes of a cluster have this package and see the same folders.

    Raises:
        SettingsError: Ray is not installed, or no part would fit.
        RunError: the cluster does not answer.
    """
    share.check()
    try:
        import ray
    except ImportError:
        raise SettingsError(
            "--engine ray: Ray is not installed; install it with `pip install 'scantling[ray]'`"
        ) from None
    address = os.environ.get(ADDRESS)
    own = not ray.is_initialized()
    if own:
        _started(ray, address)
    try:
        resources: Any = ray.cluster_resources  # untyped
        yield _sized(resources(), share)
    finally:
        if own:
            ray.shutdown()


def _started(ray: Any, address: str | None) -> None:
    """Join the cluster at `address`, or start a Ray.

    Raises:
        RunError: it does not answer.
    """
    from scantling.core.machine import cores

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # what Ray will do by itself in later versions
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    for attempt in range(1, STARTS + 1):
        try:
            if address is None:
                ray.init(num_cpus=cores(), include_dashboard=False, **quiet)
            else:
                asyncio.run(_listened_to(address))
                ray.init(address=address, **quiet)
            return
        except Exception as error:  # it raises several, whatever is wrong
            ray.shutdown()
            said = f"({type(error).__name__}: {' '.join(str(error).split())[:160]})"
            if address is not None:
                remedy = f"start it, or unset {ADDRESS} to use this machine alone"
                raise RunError(f"--engine ray: no Ray answers {ADDRESS}={address} {said}; {remedy}") from None
            if attempt == STARTS:  # on a busy machine the half minute that it gives itself may not be enough
                raise RunError(
                    f"--engine ray: Ray does not start on this machine {said}; run the command again, or leave "
                    "--engine out"
                ) from None


async def _listened_to(address: str) -> None:
    """Make sure that something listens at HOST:PORT; Ray itself would ask for ten minutes.

    Raises:
        OSError: nothing does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        _, writer = await asyncio.wait_for(asyncio.open_connection(host.strip("[]"), int(port)), LISTENING)
        writer.close()
        await writer.wait_closed()


def _sized(resources: dict[str, float], share: Share) -> Cluster:
    """How many parts fit into what there is.

    Raises:
        SettingsError: none does.
    """
    processors, graphics = int(resources.get("CPU", 0)), float(resources.get("GPU", 0))
    gpus = share.gpus if share.gpus is not None else float(min(1.0, graphics))
    at_once = int(graphics / gpus) if gpus else processors
    cpus = share.cpus if share.cpus is not None else max(1, processors // at_once) if gpus and at_once else 1
    parts = min(at_once, processors // cpus)
    if parts < 1:
        raise SettingsError(
            f"--engine ray: a part takes {cpus} cores and {gpus:g} GPUs; Ray has {processors} and {graphics:g}; ask "
            "for less"
        )
    return Cluster(cpus=cpus, gpus=gpus, parts=parts)


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM is as Ctrl-C, for the length of the block."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
