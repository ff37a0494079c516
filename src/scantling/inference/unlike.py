"""Which images are unlike the training images: a feature deviates more than those of the training images do."""

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
from scantling.records.expectations import AppearanceRecord, FeatureRecord

READS = ("image", "region")
MOST = 200
"""Training images that are looked at, evenly spread over their ids."""
FEWEST = 8
"""Of fewer images nothing can be told."""
LEAST = 3.0
"""Spreads that no image is unlike within."""
QUANTILE = 0.99
FLOORS = {"sharpness": 0.05, "scale": 0.05, "colour": 0.05}
"""The least spread of a feature by its kind; of intensities `RANGE` of the range of the training images."""
RANGE = 0.01


def appearance_of_cases(method: Method, cases: Sequence[Case]) -> AppearanceRecord:
    """What the images of training cases look like to a method; cases that cannot be read do not count.

    The spread of a feature is the larger of 1.4826 MAD and the 90th percentile of the distance to the median over 1.645
    (a standard deviation of normal numbers both; the second is not 0 where most are equal), at least a floor. The
    threshold is that of the greatest deviation of each image from the others (leave one out): the maximum, of 99 images
    or more their conformal 99 % quantile, and at least 3. So about one image in n + 1 like the n training images is
    unlike by chance, one in a hundred of many. All of this is ours.
    """
    cases = sorted((case for case in cases if case.images), key=lambda case: case.id)
    chosen = [cases[int(place)] for place in np.linspace(0, len(cases) - 1, min(len(cases), MOST))]

    def look(case: Case) -> dict[str, float] | None:
        try:
            return appearance(loaded(method, case), method.channels)
        except ScantlingError:
            return None

    found = [one for one in in_order(look, chosen) if one is not None]
    names = [name for name in dict.fromkeys(name for one in found for name in one)]
    table = np.array([[one.get(name, math.nan) for name in names] for one in found]).reshape(len(found), len(names))
    kept = np.count_nonzero(~np.isnan(table), axis=0) >= max(FEWEST, len(found) / 2)
    table, names = table[:, kept], [name for name, there in zip(names, kept, strict=True) if there]
    if len(found) < FEWEST or not names:
        return AppearanceRecord(images=len(found))
    floors = _floors(table, names)
    centre, spread = _centre_and_spread(table, floors)
    deviations = []
    for number, row in enumerate(table):
        middle, wide = _centre_and_spread(np.delete(table, number, axis=0), floors)
        deviations.append(float(np.nanmax(np.abs(row - middle) / wide)))
    rank = math.ceil((len(deviations) + 1) * QUANTILE)
    return AppearanceRecord(
        images=len(found),
        features={
            name: FeatureRecord(centre=float(middle), spread=float(wide))
            for name, middle, wide in zip(names, centre, spread, strict=True)
        },
        threshold=max(LEAST, sorted(deviations)[min(rank, len(deviations)) - 1]),
    )


def loaded(method: Method, case: Case) -> Sample:
    """A case as the method sees it, without labels."""
    return load(case, channels=method.channels, reads=READS, partial=method.partial)


def _floors(table: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """The least spread of each feature (F,)."""
    wide = [table[:, n] for n, name in enumerate(names) if name.startswith(("intensity low", "intensity high"))]
    span = float(np.nanmax(wide) - np.nanmin(wide)) if wide else 0.0
    return np.array([FLOORS.get(name.split()[0], max(RANGE * span, 1e-12)) for name in names])


def _centre_and_spread(table: np.ndarray, floors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The median and the spread of each column of a table (n, F)."""
    centre = np.nanmedian(table, axis=0)
    apart = np.abs(table - centre)
    spread = np.maximum(1.4826 * np.nanmedian(apart, axis=0), np.nanpercentile(apart, 90, axis=0) / 1.645)
    return centre, np.maximum(spread, floors)


def likeness(sample: Sample, channels: Sequence[str], known: AppearanceRecord | None) -> dict[str, Any]:
    """What a record says of how an image compares with the training images; nothing where that is not known.

    Returns:
        "unlike": the kinds of features beyond the threshold; "distance": the greatest deviation over the threshold, so
        that above 1 an image is unlike; "stands_out", of such an image: the feature that deviates most, in words.
    """
    if known is None or known.threshold is None:
        return {}
    found = appearance(sample, channels)
    beyond = {
        name: abs(found[name] - usual.centre) / usual.spread / known.threshold
        for name, usual in known.features.items()
        if name in found
    }
    if not beyond:
        return {}
    most = max(beyond, key=beyond.__getitem__)
    facts = {
        "unlike": sorted({name.split()[0] for name, value in beyond.items() if value > 1}),
        "distance": round(beyond[most], 4),
    }
    return facts | ({"stands_out": _words(most, found[most], known.features[most].centre)} if beyond[most] > 1 else {})


def _words(name: str, value: float, usual: float) -> str:
    """ "scale: size of details in pixels 2.1 times as large"."""
    kind, what = name.split(" ", 1)
    if kind in ("sharpness", "scale"):
        size = f"{math.exp(value - usual):.2g} times as large" if kind == "scale" else (
            "sharper or noisier" if value > usual else "smoother"
        )  # fmt: skip
        return f"{kind}: {what} {size}"
    return f"{kind}: {what} {value:.3g}, usually {usual:.3g}"


def sentences_on_likeness(cases: Sequence[Mapping[str, Any]], known: AppearanceRecord | None) -> list[str]:
    """What a command says of how the images that it has answered compare with the training images."""
    if known is None:
        return []
    if known.threshold is None:
        return [
            f"whether images are unlike the training images cannot be told: the model knows {known.images} of those, "
            f"expected {FEWEST} or more"
        ]
    compared = [case for case in cases if case.get("unlike") is not None]
    unlike = sorted((case for case in compared if case["unlike"]), key=lambda case: -float(case["distance"]))
    if not unlike:
        return []
    named = ", ".join(f"{case['id']} ({case['stands_out']})" for case in unlike[:3])
    more = f" and {len(unlike) - 3} more" if len(unlike) > 3 else ""
    verb = "is" if len(unlike) == 1 else "are"
    return [f"{len(unlike)} of {count(len(compared), 'image')} {verb} unlike the training images: {named}{more}"]
