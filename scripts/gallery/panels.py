"""How a strip of the gallery is drawn: panels side by side, each with a line of words below it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

SIDE, WORDS, GAP = 128, 16, 6
COLOURS = ((0, 158, 115), (213, 94, 0), (0, 114, 178), (240, 228, 66), (204, 121, 167), (86, 180, 233))
"""Okabe and Ito; the first is class 1."""


@dataclass(frozen=True)
class Panel:
    """One picture of a strip (H, W, 3) uint8, and what it shows."""

    picture: np.ndarray
    words: str


def plane(image: np.ndarray, at: int | None = None) -> np.ndarray:
    """An image (C, H, W) or a slice of a volume (C, X, Y, Z) as a picture (H, W, 3), by its own range."""
    array = np.asarray(image, np.float64)
    if array.ndim == 4:
        array = np.moveaxis(array[..., array.shape[-1] // 2 if at is None else at], 1, 2)[:, ::-1]
    if array.shape[0] == 3:
        return np.clip(np.moveaxis(array, 0, -1), 0, 255).astype(np.uint8)
    low, high = array[0].min(), array[0].max()
    grey = np.clip(255 * (array[0] - low) / max(high - low, 1e-6), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def flat(labels: np.ndarray, at: int | None = None) -> np.ndarray:
    """Labels (*S) as a plane that fits `plane`."""
    if labels.ndim == 3:
        return np.asarray(labels[..., labels.shape[-1] // 2 if at is None else at].T[::-1])
    return labels


def enlarged(picture: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) whose longer side is `SIDE`."""
    scale = SIDE / max(picture.shape[:2])
    size = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))


def _bigger(labels: np.ndarray, like: np.ndarray) -> np.ndarray:
    rows = np.arange(like.shape[0]) * labels.shape[0] // like.shape[0]
    columns = np.arange(like.shape[1]) * labels.shape[1] // like.shape[1]
    return np.asarray(labels[np.ix_(rows, columns)])


def outlined(picture: np.ndarray, labels: np.ndarray, *, each: bool = False) -> np.ndarray:
    """A picture with the outlines of its labels (H, W); `each` number has a colour of its own, else each class."""
    drawn = enlarged(picture).copy()
    big = _bigger(labels, drawn)
    for place, value in enumerate(sorted(set(np.unique(big).tolist()) - {0})):
        inside = big == value
        rim = inside & ~ndimage.binary_erosion(inside, iterations=2)
        drawn[rim] = COLOURS[(place if each else place % 2) % len(COLOURS)]
    return drawn


def filled(picture: np.ndarray, labels: np.ndarray, unknown: int = 255) -> np.ndarray:
    """A picture with what is labelled painted over it; class 0 is painted blue, where nothing is known stays."""
    drawn = enlarged(picture).copy()
    big = _bigger(labels, drawn)
    for value in set(np.unique(big).tolist()) - {unknown}:
        drawn[big == value] = COLOURS[2] if value == 0 else COLOURS[(value - 1) % 2]
    return drawn


def with_boxes(picture: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """A picture with boxes (N, 2, 2): where each starts and stops along rows and columns."""
    drawn = Image.fromarray(enlarged(picture))
    scale = SIDE / max(picture.shape[:2])
    for (top, left), (bottom, right) in np.swapaxes(np.asarray(boxes, float), 1, 2) * scale:
        ImageDraw.Draw(drawn).rectangle([left, top, right - 1, bottom - 1], outline=COLOURS[0], width=2)
    return np.asarray(drawn)


def with_points(picture: np.ndarray, points: np.ndarray) -> np.ndarray:
    """A picture with dots (N, 2)."""
    drawn = Image.fromarray(enlarged(picture))
    scale = SIDE / max(picture.shape[:2])
    for row, column in (np.asarray(points, float) + 0.5) * scale:
        dot = [column - 3, row - 3, column + 3, row + 3]
        ImageDraw.Draw(drawn).ellipse(dot, fill=COLOURS[0], outline=(255, 255, 255))
    return np.asarray(drawn)


def grid_of(displacement: np.ndarray) -> np.ndarray:
    """A displacement (2, H, W) in pixels as the bent lines of a grid."""
    height, width = displacement.shape[1:]
    drawn = Image.new("RGB", (SIDE, SIDE), (255, 255, 255))
    scale = SIDE / max(height, width)
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    bent = np.stack([columns + displacement[1], rows + displacement[0]], -1) * scale
    for lines in (bent[::5], bent.swapaxes(0, 1)[::5]):
        for line in lines:
            ImageDraw.Draw(drawn).line([tuple(point) for point in line], fill=(60, 60, 60))
    return np.asarray(drawn)


def components_of(features: np.ndarray) -> np.ndarray:
    """Features (F, H, W) as a picture of their three principal components."""
    flat_features = features.reshape(len(features), -1).astype(np.float64)
    flat_features -= flat_features.mean(1, keepdims=True)
    _, _, along = np.linalg.svd(flat_features, full_matrices=False)
    three = np.zeros((3, flat_features.shape[1]))
    three[: min(3, len(along))] = along[:3]
    low, high = np.percentile(three, 2, axis=1, keepdims=True), np.percentile(three, 98, axis=1, keepdims=True)
    scaled = np.clip((three - low) / np.maximum(high - low, 1e-9), 0, 1) * 255
    return np.moveaxis(scaled.reshape(3, *features.shape[1:]), 0, -1).astype(np.uint8)


def strip(panels: Sequence[Panel]) -> Image.Image:
    """Panels side by side, on white."""
    width = len(panels) * (SIDE + GAP) - GAP
    drawn = Image.new("RGB", (width, SIDE + WORDS), (255, 255, 255))
    font: Any = ImageFont.load_default(size=10)
    for number, panel in enumerate(panels):
        left = number * (SIDE + GAP)
        drawn.paste(Image.fromarray(enlarged(panel.picture)), (left, 0))
        ImageDraw.Draw(drawn).text((left, SIDE + 2), panel.words, fill=(40, 40, 40), font=font)
    return drawn
