"""Which images are unlike the training images: farther from the nearest of them than these are from each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scantling.contract.method import Method
from scantling.core.case import Case, Sample
from scantling.core.errors import ScantlingError
from scantling.data.appearance import appearance
from scantling.data.contents import count
from scantling.data.loading import load
from scantling.data.traits import in_order
from scantling.inference.scale import field_of_view
from scantling.records.expectations import AppearanceRecord

MOST, LEAST_IMAGES, MOST_VALUES = 200, 20, 1 << 30
"""Training images that are looked at, evenly spread over their ids: fewer, but not below `LEAST_IMAGES`, of large ones,
which have so many values together."""
FEWEST = 8
"""Of fewer training subjects nothing can be told."""
SHARE = 0.95
"""Of images like the training images, so many are to be called alike."""
LEAST = 0.5
"""Spreads within which no image is unlike, however alike the training images are."""
SHOWN = 3
"""So many are named."""
FLOOR, RANGE = 0.05, 0.01
"""The least spread of a feature; of intensities it is that share of the range of the training images."""


def appearance_of_cases(method: Method, cases: Sequence[Case]) -> AppearanceRecord:
    """What the images of training cases look like to a method; cases that cannot be read do not count.

    The spread of a feature is the larger of 1.4826 MAD and the 90th percentile of the distance to the median over 1.645
    (a standard deviation of normal numbers both; the second is not 0 where most are equal), and at least a floor. The
    distance of two images is the root of the mean over features of the squared difference in spreads. The threshold
    follows from the distance of each training image to the nearest of other subjects: of n images the
    ceil(.95 (n + 1))-th smallest, of fewer than 19 the largest; so about one image in twenty like them is called unlike
    by chance, of n < 19 one in n + 1. All of this is ours.
    """
    chosen = cases_looked_at(method, cases)

    def look(case: Case) -> dict[str, float]:
        try:
            sample = load(case, channels=method.channels, reads=("image", "region"), partial=method.partial)
            return appearance(sample, method.channels) | field_of_view(sample)
        except ScantlingError:
            return {}

    found = [(case.subject, one) for case, one in zip(chosen, in_order(look, chosen), strict=True) if one]
    subjects = np.array([subject for subject, _ in found], str)
    several = len(np.unique(subjects))
    names = list(dict.fromkeys(name for _, one in found for name in one))
    table = np.array([[one.get(name, math.nan) for name in names] for _, one in found]).reshape(len(found), len(names))
    if not several:
        return AppearanceRecord()
    spread = _spread(table, names)
    apart = np.stack([_distances(row, table, spread) for row in table])
    apart[subjects[:, None] == subjects] = math.inf
    nearest = np.sort(apart.min(axis=1))
    rank = min(math.ceil((len(nearest) + 1) * SHARE - 1e-9), len(nearest))
    return AppearanceRecord(
        subjects=several,
        features=tuple(names),
        spread=tuple(spread.tolist()),
        images=tuple(tuple(None if math.isnan(value) else float(value) for value in row) for row in table.tolist()),
        threshold=max(LEAST, float(nearest[rank - 1])) if several >= FEWEST else None,
    )


def cases_looked_at(method: Method, cases: Sequence[Case]) -> list[Case]:
    """Those of the training cases that `appearance_of_cases` looks at."""
    cases = sorted((case for case in cases if case.images), key=lambda case: case.id)
    values = len(method.channels) * math.prod(method.traits.shape)
    most = min(MOST, max(LEAST_IMAGES, MOST_VALUES // values))
    return [cases[place] for place in np.linspace(0, len(cases) - 1, min(len(cases), most)).astype(int)]


def _spread(table: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """The spread of each column of a table (n, F)."""
    apart = np.abs(table - np.nanmedian(table, axis=0))
    spread = np.maximum(1.4826 * np.nanmedian(apart, axis=0), np.nanpercentile(apart, 90, axis=0) / 1.645)
    raw = np.array([name.startswith("intensity") for name in names])
    floor = RANGE * float(np.nanmax(table[:, raw]) - np.nanmin(table[:, raw])) if raw.any() else 0.0
    return np.maximum(spread, np.where(raw, max(floor, 1e-12), FLOOR))


def _distances(row: np.ndarray, table: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """(n,) the distance of an image (F,) to each of a table (n, F) over the features that both have; inf of none."""
    squares = np.square((table - row) / spread)
    there = np.count_nonzero(~np.isnan(squares), axis=1)
    return np.where(there > 0, np.sqrt(np.nansum(squares, axis=1) / np.maximum(there, 1)), math.inf)


def likeness(sample: Sample, channels: Sequence[str], known: AppearanceRecord | None) -> dict[str, Any]:
    """What a record says of how an image compares with the training images; nothing where that is not known.

    Nor is it known of an image that has none of the channels, which other models of an ensemble answer about.

    Returns:
        "distance": that to the nearest training image over the threshold, so that above 1 the image is unlike;
        "unlike": the kinds of features that are farther than the threshold, none of an image that is alike;
        "stands_out", of an unlike image: the feature that differs most from that training image, in words.
    """
    if known is None or known.threshold is None or (sample.channels is not None and not sample.channels.any()):
        return {}
    found = appearance(sample, channels) | field_of_view(sample)
    row = np.array([found.get(name, math.nan) for name in known.features])
    table = np.array(known.images, np.float64)
    apart = _distances(row, table, np.array(known.spread))
    nearest = table[int(np.argmin(apart))]
    distance = float(apart.min()) / known.threshold
    if not math.isfinite(distance):
        return {}
    if distance <= 1:
        return {"unlike": [], "distance": round(distance, 4)}
    squares = dict(zip(known.features, np.square((row - nearest) / known.spread).tolist(), strict=True))
    squares = {name: value for name, value in squares.items() if not math.isnan(value)}
    kinds = {name.split()[0] for name in squares}
    far = {kind: [value for name, value in squares.items() if name.startswith(kind)] for kind in kinds}
    most = max(squares, key=squares.__getitem__)
    return {
        "unlike": sorted(kind for kind, values in far.items() if math.sqrt(np.mean(values)) > known.threshold),
        "distance": round(distance, 4),
        "stands_out": _words(most, found[most], float(nearest[known.features.index(most)])),
    }


def _words(name: str, value: float, usual: float) -> str:
    """ "scale: size of details 2.1 times as large"."""
    kind, what = name.split(" ", 1)
    if kind == "scale":
        return f"scale: {what} {math.exp(value - usual):.2g} times as large"
    if kind == "sharpness":
        return f"sharpness: {what} {'stronger' if value > usual else 'weaker'}"
    return f"{kind}: {what} {value:.3g} instead of {usual:.3g}"


def sentences_on_likeness(cases: Sequence[Mapping[str, Any]], known: AppearanceRecord | None) -> list[str]:
    """What a command says of how the images that it has answered compare with the training images."""
    if known is not None and known.threshold is None:
        return [
            "whether an image is unlike the training images cannot be told: they show "
            f"{count(known.subjects, 'subject')}, expected {FEWEST} or more"
        ]
    compared = [case for case in cases if case.get("unlike") is not None]
    unlike = sorted((case for case in compared if case["unlike"]), key=lambda case: -float(case["distance"]))
    if not unlike:
        return []
    return [sentence_on_unlike([(case["id"], case["stands_out"]) for case in unlike], of=len(compared))]


def sentence_on_unlike(unlike: Sequence[tuple[str, str]], *, of: int) -> str:
    """How many of so many images are unlike the training images, and the first few: their ids and what stands out."""
    named = ", ".join(f"{id} ({what})" for id, what in unlike[:SHOWN])
    more = f" and {len(unlike) - SHOWN} more" if len(unlike) > SHOWN else ""
    verb = "is" if len(unlike) == 1 else "are"
    return f"{len(unlike)} of {count(of, 'image')} {verb} unlike the training images: {named}{more}"
