"""Works through the items of a job: each is done once, fails by itself, and is listed with what was written."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from scantling.core.errors import DiskFullError, ScantlingError, SettingsError, out_of_memory
from scantling.core.outputs import PREDICTIONS, output_folder
from scantling.core.randomness import seed_of
from scantling.inference.listing import Listing, merge, resumed, shard_name

SAVED_EVERY = 10.0
"""Seconds between two writings of the list of what is done."""

Progress = Callable[[int, int, str], None]
"""Called with the number of items done, of all, and the id of the last one."""


class Item(Protocol):
    """What is worked on one by one: a case, a map, a pair."""

    @property
    def id(self) -> str:
        """Unique in its job."""


T = TypeVar("T", bound=Item)


@dataclass(frozen=True, kw_only=True)
class Job:
    """Where results go, and all that they are a function of.

    Attributes:
        out: the folder.
        header: what the record says of how everything in it is made; another one is refused.
        record: the file name of the record.
        shard: (i, n) does every n-th item, the i-th of n jobs, counted from 1.
    """

    out: Path
    header: Mapping[str, Any]
    record: str = PREDICTIONS
    shard: tuple[int, int] = (1, 1)


def check_shard(shard: tuple[int, int]) -> None:
    """Make sure that a shard is the i-th of n, with i from 1 to n.

    Raises:
        SettingsError: it is not.
    """
    whole = isinstance(shard, tuple | list) and len(shard) == 2 and all(isinstance(one, int) for one in shard)
    if not whole or not 1 <= shard[0] <= shard[1]:
        found = "/".join(map(str, shard)) if whole else repr(shard)
        raise SettingsError(f"--shard {found}: expected i/n with i from 1 to n")


def run_job(
    job: Job,
    items: Sequence[T],
    work: Callable[[T], dict[str, Any]],
    *,
    inputs: Iterable[Path],
    content: Callable[[T], str] | None = None,
    finish: Callable[[Listing], None] | None = None,
    progress: Progress | None = None,
) -> Listing:
    """Hold the folder of a job and work through this shard's items; the last shard to end merges the lists.

    Args:
        items: of the whole job, each shard's among them.
        work: does one item; returns what the record says of it, with the paths of its files below the folder.
        inputs: every file that is read.
        content: a hash of what an item is made from; an item whose content has changed is done again.
        finish: called once with the whole list.

    Raises:
        ScantlingError: nothing can be started. Items that fail are listed, not raised.
    """
    check_shard(job.shard)
    part, parts = job.shard
    of = f"{seed_of(*(item.id for item in items)):016x}"
    own = f"{part}-of-{parts}" if parts > 1 else ""
    with output_folder(job.out, record=job.record, inputs=inputs, shard=own):
        done = work_through(job, items[part - 1 :: parts], work, of=of, content=content, progress=progress)
        whole = done if parts == 1 else merge(job.out, job.record, parts, job.header, of=of)
        if whole is not None and finish is not None:
            finish(whole)
    return done


def work_through(
    job: Job,
    items: Sequence[T],
    work: Callable[[T], dict[str, Any]],
    *,
    of: str = "",
    content: Callable[[T], str] | None = None,
    progress: Progress | None = None,
) -> Listing:
    """Do the items that the list of the folder does not hold yet; the caller holds the folder."""
    done = resumed(job.out, job.header, shard_name(job.record, *job.shard), [item.id for item in items], of=of)
    earlier = {case["id"]: case.get("content") for case in done.cases}
    done.save()  # from now on the folder is known to be that of this job
    saved = time.monotonic()
    try:
        for number, item in enumerate(items, start=1):
            try:
                now = content(item) if content is not None else None
                if item.id in earlier and earlier[item.id] not in (None, now):
                    del earlier[item.id]
                if item.id not in earlier:
                    done.drop(item.id)
                    done.cases.append({**work(item), **({} if now is None else {"content": now})})
            except DiskFullError:
                raise  # the list would not be written either
            except (ScantlingError, OSError) as error:
                done.fail(item.id, str(error) or type(error).__name__)
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                done.fail(item.id, "too large for the memory that is free; lower --memory")
            if time.monotonic() - saved > SAVED_EVERY:
                done.save()
                saved = time.monotonic()
            if progress is not None:
                progress(number, len(items), item.id)
    except KeyboardInterrupt:  # what is done is not done again
        done.save()
        raise
    done.save()
    return done
