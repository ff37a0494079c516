"""`predict` and `synthesize` spread over a cluster: each of its parts does a shard of the job, as in an array job."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from scantling.core.engines import Cluster
from scantling.core.errors import ScantlingError
from scantling.core.machine import COMPUTE
from scantling.inference.listing import Listing
from scantling.inference.prediction import predict
from scantling.inference.runner import Progress
from scantling.inference.synthesis import synthesize


def predict_on(cluster: Cluster, run: Path, source: Path | str, *, progress: Progress | None, **how: Any) -> Listing:
    """As `predict` with the same keywords; the list is that of all shards.

    Raises:
        ScantlingError: nothing can be started.
    """
    parts: list[Listing] = _spread(cluster, _predict_shard, {"run": run.absolute(), "source": source, **how}, progress)
    whole = parts[0]
    whole.total = sum(part.total for part in parts)
    whole.cases = sorted((case for part in parts for case in part.cases), key=lambda case: str(case["id"]))
    whole.failed = sorted((case for part in parts for case in part.failed), key=lambda case: case["id"])
    whole.skipped = sum(part.skipped for part in parts)
    whole.notes = tuple(dict.fromkeys(note for part in parts for note in part.notes))
    return whole


def synthesize_on(cluster: Cluster, source: str, *, progress: Progress | None, **how: Any) -> dict[str, Any]:
    """As `synthesize` with the same keywords.

    Raises:
        ScantlingError: nothing can be made.
    """
    _spread(cluster, _synthesize_shard, {"source": source, **how}, progress)
    return synthesize(source, **how)  # all is made; this says what


def _predict_shard(job: tuple[Mapping[str, Any], tuple[int, int]]) -> Listing:
    arguments, shard = job
    return predict(**arguments, shard=shard)


def _synthesize_shard(job: tuple[Mapping[str, Any], tuple[int, int]]) -> dict[str, Any]:
    arguments, shard = job
    return synthesize(**arguments, shard=shard)


def _spread(
    cluster: Cluster,
    work: Callable[[tuple[Mapping[str, Any], tuple[int, int]]], Any],
    arguments: Mapping[str, Any],
    progress: Progress | None,
) -> list[Any]:
    """The results of all shards, in order.

    Raises:
        ScantlingError: that of the first shard that could not be started.
    """
    compute = arguments.get("compute", COMPUTE)
    alone = replace(compute, threads=compute.threads or cluster.cpus)
    shared = {**arguments, "compute": alone, "out": Path(arguments["out"]).absolute()}
    number, found = cluster.parts, dict[int, Any]()
    for place, result in cluster.run(work, [(shared, (part, number)) for part in range(1, number + 1)]):
        if isinstance(result, ScantlingError):
            raise result
        found[place] = result
        if progress is not None:
            progress(len(found), number, f"part {place + 1} of {number}")
    return [found[place] for place in range(number)]
