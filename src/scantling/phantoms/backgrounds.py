"""What an image would look like without its vessels, by rule, and what it looks like under even light."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from scantling.core.checks import check_count, check_number
from scantling.core.errors import ArrayError
from scantling.mending.ridges import strongest, vesselness

CELLS = 7
"""The median looks at so many cells along each axis; a cell is as large as the window makes it."""
TYPICAL = 2.0
"""Deviations from the median that still are texture, in units of the typical one."""
CROWDED = 0.2
"""A pixel goes with its 5 x 5 neighbours where more of them than this share are no texture: the rim of a vessel."""
LEAST = 0.08
"""No deviation of an evened image is taken for less, in units of [-1, 1]; that of the retina is about so much; ours."""
DEVIATIONS = 3.0
"""What is farther from the mean of its surroundings, in their deviations, is as far as an evened image goes."""
_NORMAL = 1.4826
"""From the median of the absolute deviations to a standard deviation, of normal numbers."""


@torch.no_grad()
def without_tubes(image: Tensor, region: Tensor, *, window: int) -> Tensor:
    """Images (B, 1, H, W) with everything thin and unlike its surroundings taken out.

    The median over a window, in which a tube covers less than half, does not see the tube. What an image deviates
    from it is texture where it is no more than usual, and stays; elsewhere stands the texture of the opposite place.

    Args:
        image: in any units.
        region: (B, 1, H, W) bool, where there is anything to see; what is usual is what is usual there.
        window: pixels, more than twice the width of the widest tube.

    Raises:
        ArrayError: an image or a region has another shape, or a region is not bool.
        SettingsError: `window` is no whole number from 1.
    """
    check_count(window, argument="window", least=1)
    _check(image, region)
    height, width = image.shape[2:]
    cell = max(1, round(window / CELLS))
    cells = F.interpolate(image, (-(-height // cell), -(-width // cell)), mode="area")
    around = F.unfold(F.pad(cells, [CELLS // 2] * 4, mode="replicate"), CELLS)  # (B, 49, cells)
    middle = around.sort(1).values[:, CELLS**2 // 2].view(cells.shape)
    smooth = F.interpolate(middle, (height, width), mode="bilinear", align_corners=False)
    rest = image - smooth
    typical = _median_inside(rest.abs(), region)
    most = (TYPICAL * _NORMAL * typical).view(-1, 1, 1, 1)
    odd = rest.abs() > most
    odd = odd | (F.avg_pool2d(odd.to(image.dtype), 5, stride=1, padding=2) > CROWDED)
    return smooth + torch.where(odd, rest.flip((2, 3)).clamp(-most, most), rest)


def without_rim(region: Tensor, *, width: int) -> Tensor:
    """A region (B, 1, H, W) bool without the pixels that are nearer to its edge than `width`.

    The border of the image is no edge, and neither is a hole of one or two pixels.

    Raises:
        ArrayError: the region has another shape, or is not bool.
        SettingsError: `width` is no whole number from 0.
    """
    check_count(width, argument="width")
    _check(region, region)
    filled = F.max_pool2d(region.float(), 3, stride=1, padding=1)  # a pixel wider, and its holes are gone
    return region & (F.max_pool2d(1 - filled, 2 * width + 3, stride=1, padding=width + 1) == 0)


SHIFTS = ((0.31, 0.17), (-0.23, 0.29), (0.11, -0.37), (-0.41, -0.13), (0.47, 0.43), (-0.07, 0.5), (0.19, -0.05))
"""Of the sides, by which texture comes from elsewhere: the first that leads to a place without a ridge."""
SMOOTH = 4.0
"""The σ in pixels of the light beneath ridges, which comes from what is beside them."""
FAR = 1e-4
"""Where less than this of the Gaussian lies beside ridges, the light is the mean of the image."""


@torch.no_grad()
def without_ridges(image: Tensor, region: Tensor, *, share: float, dark: bool = True) -> Tensor:
    """Images (B, 1, H, W) whose strongest ridges are filled with the light beside them and texture from elsewhere.

    Unlike `without_tubes` it sees thin ones: what a filter for tubes answers most strongly to, and a pixel around it,
    is no background, however little it differs from what is around it.

    Args:
        image: in any units.
        region: (B, 1, H, W) bool, where there is anything to see.
        share: of the region that is filled, before it is grown by a pixel.
        dark: whether ridges are darker than what is around them.

    Raises:
        ArrayError: an image or a region has another shape, or a region is not bool.
        SettingsError: `share` is not positive.
    """
    check_number(share, argument="share", above=0)
    _check(image, region)
    ridges = ridges_of(image, region, share=share, dark=dark)
    known = region & (F.max_pool2d(ridges.to(image.dtype), 3, stride=1, padding=1) == 0)
    weight = known.to(image.dtype)
    near, axes = blurred(weight, SMOOTH), (1, 2, 3)
    everywhere = (image * weight).sum(axes, keepdim=True) / weight.sum(axes, keepdim=True).clamp(min=1)
    light = torch.where(near > FAR, blurred(image * weight, SMOOTH) / near.clamp(min=FAR), everywhere)
    rest, missing = (image - light) * weight, ~known
    most = (TYPICAL * _NORMAL * _median_inside(rest.abs(), known)).view(-1, 1, 1, 1)
    for shift in SHIFTS:
        places = tuple(round(part * side) for part, side in zip(shift, image.shape[2:], strict=True))
        there, texture = known.roll(places, (2, 3)), rest.clamp(-most, most).roll(places, (2, 3))
        rest = torch.where(missing & there, texture, rest)
        missing = missing & ~there
    return torch.where(known | ~region, image, light + rest)


@torch.no_grad()
def ridges_of(image: Tensor, region: Tensor, *, share: float, dark: bool = True) -> Tensor:
    """Where images (B, 1, H, W) are most like tubes: (B, 1, H, W) bool, `share` of the region of each."""
    found = []
    for one, inside in zip(image[:, 0].float().cpu().numpy(), region[:, 0].cpu().numpy(), strict=True):
        response = vesselness(one, inside, dark=dark, ratios=False)
        found.append(strongest(response, share, region=inside) & (response > 0))
    return torch.from_numpy(np.stack(found))[:, None].to(image.device)


def blurred(values: Tensor, sigma: float) -> Tensor:
    """(B, 1, H, W) by a Gaussian of so many pixels; nothing lies beyond the border."""
    reach = max(1, round(3 * sigma))
    kernel = torch.arange(-reach, reach + 1, device=values.device, dtype=values.dtype).div(sigma).square().div(-2).exp()
    kernel = kernel / kernel.sum()
    values = F.conv2d(values, kernel.view(1, 1, -1, 1), padding=(reach, 0))
    return F.conv2d(values, kernel.view(1, 1, 1, -1), padding=(0, reach))


@torch.no_grad()
def evened(image: Tensor, region: Tensor, *, window: int) -> Tensor:
    """Images (B, 1, H, W) in [-1, 1] whose light and contrast are the same everywhere; 0 outside the region.

    From each pixel the mean of the square around it is taken, and the rest is divided by three times the deviation
    there, or by three times `LEAST`: where there is little but noise, noise stays small. Pixels outside the region
    (B, 1, H, W) bool count nowhere. A patch is evened as the image that it is cut from, but for its border.

    Args:
        image: in [-1, 1].
        region: where there is anything to see.
        window: half the side of the square, in pixels.

    Raises:
        ArrayError: an image or a region has another shape, or a region is not bool.
        SettingsError: `window` is no whole number from 1.
    """
    check_count(window, argument="window", least=1)
    _check(image, region)
    inside = region.to(image.dtype)

    def around(values: Tensor) -> Tensor:
        for size, padding in (((2 * window + 1, 1), (window, 0)), ((1, 2 * window + 1), (0, window))):
            values = F.avg_pool2d(values, size, stride=1, padding=padding)
        return values

    share = around(inside).clamp(min=1e-6)
    mean = around(image * inside) / share
    rest = (image - mean) * inside
    spread = (around(rest.square()) / share).sqrt().clamp(min=LEAST)
    return (rest / (DEVIATIONS * spread)).clamp(-1, 1)


def _check(image: Tensor, region: Tensor) -> None:
    if image.ndim != 4 or image.shape[1] != 1 or region.shape != image.shape or region.dtype != torch.bool:
        raise ArrayError(
            f"found an image {tuple(image.shape)} and a region {tuple(region.shape)}, {region.dtype}; expected "
            "(B, 1, H, W) twice, the region bool"
        )


def _median_inside(values: Tensor, region: Tensor) -> Tensor:
    """The lower median (B,) of the values (B, 1, H, W) inside the region; 0 where it is empty.

    By sorting: nanmedian has no deterministic kernel on a GPU.
    """
    ordered = values.masked_fill(~region, torch.inf).flatten(1).sort(1).values
    inside = region.flatten(1).sum(1, keepdim=True)
    middle = ordered.gather(1, (inside - 1).clamp(min=0) // 2).squeeze(1)
    return torch.where(inside.squeeze(1) > 0, middle, 0.0)
