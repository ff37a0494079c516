"""Changes to the values of training images, a whole batch at once.

What is drawn is a function of the generators alone, in a fixed order, so a sample can be drawn again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import imagecodecs
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from scantling.core.streams import Augmentation
from scantling.data.interpolation import LINEAR


def change_values(images: Tensor, augment: Augmentation | None, generators: Sequence[np.random.Generator]) -> Tensor:
    """Changes of the values of a batch (B, C, *S), each sample from its own generator.

    Gamma, contrast, brightness, blur, low resolution, noise, JPEG, cutout, in this order.
    """
    if augment is None:
        return images
    some = augment.degraded < 1 and bool(
        augment.blur or augment.noise or augment.low_resolution > 1 or augment.jpeg < 100
    )
    worse = [not some or g.random() < augment.degraded for g in generators]
    if augment.brightness or augment.contrast or augment.gamma or augment.noise:
        images, noise = _shaded(images, augment, generators, worse)
    else:
        noise = None
    if augment.blur:
        sigmas = [float(g.uniform(0, augment.blur)) * bad for g, bad in zip(generators, worse, strict=True)]
        images = torch.stack([_blurred(image, sigma) for image, sigma in zip(images, sigmas, strict=True)])
    if augment.low_resolution > 1:
        factors = [float(g.uniform(1, augment.low_resolution)) for g in generators]
        images = torch.stack(
            [
                _coarse(image, factor) if bad else image
                for image, factor, bad in zip(images, factors, worse, strict=True)
            ]
        )
    if noise is not None:
        images = images + noise
    if augment.jpeg < 100 and images.ndim == 4:
        qualities = [int(g.integers(augment.jpeg, 100)) for g in generators]
        images = torch.stack(
            [
                _compressed(image, quality) if bad else image
                for image, quality, bad in zip(images, qualities, worse, strict=True)
            ]
        )
    if augment.cutout:
        images = images.clone()
        for image, generator in zip(images, generators, strict=True):
            block = tuple(_span(length, augment.cutout, generator) for length in image.shape[1:])
            image[(slice(None), *block)] = image.flatten(1).mean(1).view(-1, *[1] * (image.ndim - 1))
    return images


def _shaded(
    images: Tensor, augment: Augmentation, generators: Sequence[np.random.Generator], worse: Sequence[bool]
) -> tuple[Tensor, Tensor | None]:
    """The images in other shades, and the noise that is to be added to those that get worse."""
    uniform = np.stack([g.uniform(-1, 1, (4, images.shape[1])) for g in generators])  # (B, 4, C)
    draws = torch.from_numpy(uniform.astype(np.float32)).view(*uniform.shape, *[1] * (images.ndim - 2))
    shades = tuple(range(2, images.ndim))
    if augment.gamma:
        low, high = images.amin(shades, keepdim=True), images.amax(shades, keepdim=True)
        span = torch.where(high > low, high - low, 1.0)
        exponent = torch.exp(draws[:, 2, :1] * math.log1p(augment.gamma))
        images = ((images - low) / span).clamp(0, 1).pow(exponent) * span + low
    if augment.contrast:
        middle = images.mean(shades, keepdim=True)
        images = (images - middle) * torch.exp(draws[:, 1] * math.log1p(augment.contrast)) + middle
    if augment.brightness:
        images = images + draws[:, 0] * augment.brightness
    if augment.noise:
        shape = images.shape[1:]
        noise = np.stack(
            [
                g.standard_normal(shape, np.float32) if bad else np.zeros(shape, np.float32)
                for g, bad in zip(generators, worse, strict=True)
            ]
        )
        return images, torch.from_numpy(noise) * (draws[:, 3, :1].abs() * augment.noise)
    return images, None


def _blurred(image: Tensor, sigma: float) -> Tensor:
    """(C, *S) under a Gaussian that is cut off at three deviations; beyond the border its value goes on."""
    if sigma < 0.1:  # of a pixel: nothing changes
        return image
    reach = math.ceil(3 * sigma)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=image.dtype) / sigma) ** 2)
    kernel /= kernel.sum()
    for axis in range(1, image.ndim):
        lines = image.movedim(axis, -1)
        flat = F.pad(lines.reshape(-1, 1, lines.shape[-1]), (reach, reach), mode="replicate")
        image = F.conv1d(flat, kernel.view(1, 1, -1)).view(lines.shape).movedim(-1, axis)
    return image


def _coarse(image: Tensor, factor: float) -> Tensor:
    """(C, *S) through a grid that is coarser by `factor`: the nearest value there, linear on the way back."""
    size = tuple(image.shape[1:])
    small = F.interpolate(image[None], [max(1, round(n / factor)) for n in size], mode="nearest-exact")
    return F.interpolate(small, size, mode=LINEAR[len(size)])[0]


def _compressed(image: Tensor, quality: int) -> Tensor:
    """(C, H, W) through JPEG: three channels as colours, others one by one, from the range of each to 0 to 255."""
    low, high = image.amin((1, 2), keepdim=True), image.amax((1, 2), keepdim=True)
    span = torch.where(high > low, high - low, 1.0)
    bytes_ = ((image - low) / span * 255).round().to(torch.uint8).movedim(0, -1).contiguous().numpy()
    layers = [bytes_] if len(image) == 3 else [np.ascontiguousarray(bytes_[..., c]) for c in range(len(image))]
    back = [imagecodecs.jpeg8_decode(imagecodecs.jpeg8_encode(layer, level=quality)) for layer in layers]
    whole = back[0] if len(image) == 3 else np.stack(back, -1)
    return torch.from_numpy(whole).movedim(-1, 0).to(image.dtype) / 255 * span + low


def _span(length: int, share: float, generator: np.random.Generator) -> slice:
    side = max(1, round(length * share))
    start = int(generator.integers(0, length - side + 1))
    return slice(start, start + side)
