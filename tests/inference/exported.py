"""The rules of `export.json` in plain code: NumPy, SciPy and onnxruntime, and nothing of Scantling or torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from scipy import ndimage


def repeated(folder: Path, image: np.ndarray, spacing: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The mask (*S) and the probabilities (K, *S) of an image (C, *S) of exclusive classes without a region."""
    rules = json.loads((folder / "export.json").read_text())
    before, after = rules["preprocessing"], rules["postprocessing"]
    session = onnxruntime.InferenceSession(str(folder / rules["file"]), providers=["CPUExecutionProvider"])
    least = 1.5 if "1.5 times" in before["averaged"] else 1.0
    shape = image.shape[1:]
    grid = shape
    if before["spacing"] is not None:
        sides = zip(shape, spacing, before["spacing"], strict=True)
        grid = tuple(max(1, round(n * s / target)) for n, s, target in sides)
    values = np.stack([in_units(channel, number, before) for number, channel in enumerate(image.astype(np.float32))])
    canvas = resampled(values, grid, least)[None].astype(np.float32)
    total = np.zeros(())
    for view in rules["views"]["each"]:
        axes = [2 + axis for axis in view["reversed"]]
        turned = np.flip(np.rot90(canvas, view["quarter_turns"], (2, 3)), axes)
        (found,) = session.run(None, {rules["input"]["name"]: np.ascontiguousarray(turned)})
        total = total + np.rot90(np.flip(found, axes), -view["quarter_turns"], (2, 3))
    likely = resampled(total[0] / len(rules["views"]["each"]), shape, least)
    rest = 1 - likely.sum(0)
    if (temperature := after["temperature"]) != 1:
        powers = np.clip(np.concatenate([rest[None], likely]), 0, 1) ** (1 / temperature)
        likely = powers[1:] / powers.sum(0)
        rest = 1 - likely.sum(0)
    if len(likely) == 1:
        classes = (likely[0] > (after["thresholds"] or [0.5])[0]).astype(int)
    else:
        classes = np.where(likely.max(0) > rest, likely.argmax(0) + 1, 0)
    mask, size = np.zeros(shape, int), np.prod(spacing)
    for number, values_of in enumerate(rules["output"]["values"], start=1):
        kept = classes == number
        rule = (after["components"] or [None] * number)[number - 1]
        if rule is not None:
            pieces, count = ndimage.label(kept, np.ones((3,) * kept.ndim))
            sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:] * size
            stay = sizes == sizes.max(initial=0) if rule == "largest" else sizes >= rule
            kept = np.concatenate([[False], stay])[pieces]
        mask[kept] = values_of[0]
    return mask, likely


def in_units(channel: np.ndarray, number: int, before: dict[str, Any]) -> np.ndarray:
    """A channel in the units of the network."""
    if before["normalise"] == "none":
        return channel
    if before["normalise"] == "image":
        middle, scale, low, high = channel.mean(dtype=float), channel.std(dtype=float), -np.inf, np.inf
        greatest = np.abs(channel).max()
    elif before["normalise"] == "unit":
        low, high = float(channel.min()), float(channel.max())
        middle, scale, greatest = (low + high) / 2, (high - low) / 2, np.abs(channel).max()
    else:
        facts = before["statistics"][number]
        middle, scale, low, high = facts["mean"], facts["std"], facts["low"], facts["high"]
        greatest = facts["greatest"]
    return np.zeros_like(channel) if scale <= 1e-12 * greatest else (np.clip(channel, low, high) - middle) / scale


def resampled(array: np.ndarray, shape: tuple[int, ...], least: float) -> np.ndarray:
    """(C, *S) on another grid, every axis by a matrix."""
    lengths = [*enumerate(zip(array.shape[1:], shape, strict=True), start=1)]
    averaged = [axis for axis, (n, m) in lengths if n > m and n >= least * m]
    for axis, (n, m) in sorted(lengths, key=lambda one: (one[0] not in averaged, -one[0])):
        if n == m:
            continue
        centres, old = (np.arange(m) + 0.5) * n / m - 0.5, np.arange(n)
        if axis in averaged:
            weights = np.maximum(0, 1 - np.abs((old + 0.5) * m / n - (np.arange(m)[:, None] + 0.5)))
        else:
            weights = np.maximum(0, 1 - np.abs(old - np.clip(centres, 0, n - 1)[:, None]))
        weights /= weights.sum(1, keepdims=True)
        array = np.moveaxis(np.tensordot(weights, array, (1, axis)), 0, axis)
    return array
