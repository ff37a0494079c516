"""From a probability map to an unbroken mask: diffuse, threshold, drop what is too small to be a vessel.

Each of the three does one thing that the others cannot: diffusion joins pieces along their direction, two thresholds
follow a weak vessel from a sure one, and what is still a small piece by itself after both is more likely noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from scantling.core.checks import numbers
from scantling.core.errors import ArrayError
from scantling.mending.anisotropic import Diffusion, diffuse, directions
from scantling.mending.closing import closed
from scantling.mending.hysteresis import drop_small, joined
from scantling.mending.orientation import Orientation, carried, structure_orientation

Rule = Literal["threshold", "hysteresis", "anisotropic", "both", "closing"]
RULES: dict[Rule, tuple[bool, bool]] = {
    "threshold": (False, False),
    "hysteresis": (False, True),
    "anisotropic": (True, False),
    "both": (True, True),
    "closing": (False, False),
}
"""Whether a rule diffuses the map, and whether it uses the low threshold."""

FAINTEST = 1e-3
"""Probabilities beyond it are not told apart in a logit; about what eight bits can hold."""


class Mending(Diffusion):
    """What `mend` does; a rule uses those settings that concern it.

    The thresholds are those of the published dual-threshold iteration, λ∥, λ⊥, Δt and N those of the published
    diffusion. The structure tensor, the carrying, the strength and the smallest piece are ours; their defaults
    leave the published rules as they are.
    """

    rule: Rule = "anisotropic"
    """threshold: u > high. hysteresis: also u > low where it touches that. anisotropic: diffuse, then threshold.
    both: diffuse, then hysteresis. closing: u > high, closed along the level sets of its distance (`closed`): the rival
    that knows no direction."""
    radius: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 3.0
    """Of the closing, in pixels; gaps of thick vessels of up to twice as much close (`closed`)."""
    tensor: Literal["probability", "logit"] = "probability"
    """Whose structure tensor gives the direction: that of the probability, or of its logit, where faint pieces have
    as much to say as bright ones."""
    sigma: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """The scale of the gradient in the structure tensor, in pixels."""
    rho: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 2.0
    """The scale of the neighbourhood that votes on the direction, in pixels."""
    carry: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """The scale, in pixels, over which directions are carried into gaps; 0 leaves those of the structure tensor."""
    coherence: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """The power of the coherence that the conductivity is multiplied with; 0 diffuses everywhere alike."""
    high: Annotated[float, Field(ge=0, le=1)] = 0.5
    low: Annotated[float, Field(ge=0, le=1)] = 0.3
    smallest: Annotated[int, Field(ge=0)] = 0
    """Pieces of fewer pixels are dropped."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"the low threshold {self.low:g} is above the high one {self.high:g}")
        return self


def spelled(settings: Mending) -> str:
    """The settings that concern the rule, for people."""
    diffuses, two = RULES[settings.rule]
    parts = [f"rule {settings.rule}"]
    if diffuses:
        parts.append(f"{settings.iterations} iterations")
        parts += ["directions of the logit"] if settings.tensor == "logit" else []
        parts += [f"directions carried over {settings.carry:g} pixels"] if settings.carry else []
        parts += [f"coherence to the power {settings.coherence:g}"] if settings.coherence else []
    parts += _controls(settings) if diffuses else []
    parts += [f"radius {settings.radius:g}"] if settings.rule == "closing" else []
    parts.append(f"thresholds {settings.high:g} and {settings.low:g}" if two else f"threshold {settings.high:g}")
    parts += [f"pieces under {settings.smallest} pixels dropped"] if settings.smallest else []
    return ", ".join(parts)


def _controls(settings: Mending) -> list[str]:
    """What of the equation is not as published."""
    along, across = settings.parallel, settings.perpendicular
    changed = [] if (along, across) == (1, 0) else [f"conductivity {along:g} along and {across:g} across"]
    return changed + ([] if settings.rectified else ["without the rectifier"])


@dataclass(frozen=True)
class Mended:
    """A mended map and the mask that follows from it.

    Args:
        map: (K, *S) float32, the probabilities after diffusion (as they came, if the rule does not diffuse).
        mask: (K, *S) bool.
    """

    map: NDArray[np.float32]
    mask: NDArray[np.bool_]


def mend(
    probabilities: NDArray[np.floating],
    settings: Mending,
    *,
    spatial_dims: int | None = None,
    direction: NDArray[np.floating] | None = None,
) -> Mended:
    """Mend the probability maps of one case, each class by itself.

    Args:
        probabilities: (K, *S) of K foreground classes in [0, 1], in two or three dimensions.
        settings: the rule and what belongs to it.
        spatial_dims: 2 or 3; has to be said where (K, H, W) with several classes may be a volume (D, H, W), and where
            (K, D, H, W) may be a batch.
        direction: (D, *S), known directions (a learned layer's, say), taken as wholly coherent.

    Raises:
        ArrayError: the maps are not probability maps, their shape has two readings, or the directions do not fit or
            are no numbers.
        SettingsError: the time step is not stable.

    Example:
        >>> import numpy as np
        >>> from scantling.mending import Mending, mend
        >>> vessel = np.zeros((1, 9, 24), np.float32)
        >>> vessel[0, 4] = 0.9
        >>> vessel[0, 4, 11:13] = 0.3  # a gap
        >>> mended = mend(vessel, Mending(rule="hysteresis", low=0.25))
        >>> bool((vessel > 0.5)[0, 4].all()), bool(mended.mask[0, 4].all())
        (False, True)
    """
    maps = checked_maps(probabilities, spatial_dims=spatial_dims)
    shape = maps.shape[1:]
    direction = None if direction is None else directions(direction)
    if direction is not None and direction.shape != (len(shape), *shape):
        raise ArrayError(f"the directions have shape {direction.shape}; expected {(len(shape), *shape)}")
    diffuses, _ = RULES[settings.rule]
    if diffuses:
        settings.check(len(shape))
        known = (
            None if direction is None else Orientation(np.asarray(direction, np.float32), np.ones(shape, np.float32))
        )
        maps = np.stack([diffused(map_, settings, known or way(map_, settings)) for map_ in maps])
    return Mended(maps, np.stack([cut(map_, settings) for map_ in maps]))


def checked_maps(probabilities: NDArray[np.floating], *, spatial_dims: int | None = None) -> NDArray[np.float32]:
    """The maps as float32, if that is what they are.

    Raises:
        ArrayError: not (K, *S) in 2-D or 3-D, a shape with two readings, not in [0, 1], or nothing but 0 and 1.
    """
    array = numbers(probabilities, "the map")
    if array.ndim not in (3, 4) or not array.size or array.ndim != 1 + (spatial_dims or array.ndim - 1):
        axes = {2: "(K, H, W)", 3: "(K, D, H, W)"}.get(spatial_dims or 0, "(K, H, W) or (K, D, H, W)")
        raise ArrayError(f"found an array of shape {array.shape}; expected probability maps {axes}")
    if spatial_dims is None and (len(array) > 1 if array.ndim == 3 else array.shape[1] == 1):
        readings = (
            f"{len(array)} classes of a 2-D image (spatial_dims=2), or a volume (map[None] and spatial_dims=3)"
            if array.ndim == 3
            else "a volume of one slice (spatial_dims=3), or a batch of 2-D maps (map[0] and spatial_dims=2)"
        )
        raise ArrayError(f"found probability maps of shape {array.shape}: {readings}; say spatial_dims")
    maps = np.ascontiguousarray(array, np.float32)
    lowest, highest = float(maps.min()), float(maps.max())
    if not (lowest >= 0 and highest <= 1):  # also NaN
        found = "values that are not numbers" if np.isnan(lowest) else f"values from {lowest:g} to {highest:g}"
        raise ArrayError(f"found {found}; expected probabilities in [0, 1]; logits need a sigmoid or a softmax first")
    if lowest < highest == 1 and not np.any((maps > 0) & (maps < 1)):
        raise ArrayError(
            "found a mask of zeros and ones; expected a probability map; mending needs to know how sure each pixel is"
        )
    return maps


def way(map_: NDArray[np.float32], settings: Mending) -> Orientation:
    """Directions and coherence of one map (*S)."""
    seen = map_
    if settings.tensor == "logit":
        inside = np.clip(map_, FAINTEST, 1 - FAINTEST)
        seen = np.log(inside / (1 - inside))
    orientation = structure_orientation(seen, sigma=settings.sigma, rho=settings.rho)
    return carried(orientation, map_, scale=settings.carry) if settings.carry else orientation


def diffused(map_: NDArray[np.float32], settings: Mending, orientation: Orientation) -> NDArray[np.float32]:
    """The first half of `mend`: one map (*S) after N steps."""
    strength = orientation.coherence**settings.coherence if settings.coherence else None
    return diffuse(map_, orientation.direction, settings=settings, strength=strength)


def cut(map_: NDArray[np.float32], settings: Mending) -> NDArray[np.bool_]:
    """The second half of `mend`: the mask of one map (*S), by one threshold or two, without small pieces."""
    _, two = RULES[settings.rule]
    mask = joined(map_, high=settings.high, low=settings.low) if two else map_ > settings.high
    if settings.rule == "closing":
        mask = closed(mask, settings.radius)
    return drop_small(mask, settings.smallest)
