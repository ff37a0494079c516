"""Mending of probability maps in memory: `scantling mend` for arrays and images of other packages."""

from __future__ import annotations

from typing import Any

import numpy as np

from scantling.api.calls import public
from scantling.api.layers import layers_of
from scantling.core.errors import ArrayError
from scantling.inference.mending import mending_settings
from scantling.mending.mend import Rule
from scantling.mending.mend import mend as mend_maps


@public
def mend(
    probability: Any,
    *,
    spatial_dims: int | None = None,
    rule: Rule = "anisotropic",
    iterations: int = 100,
    high: float = 0.5,
    low: float = 0.3,
    smallest: int = 0,
    carry: float = 0.0,
    coherence: float = 0.0,
    parallel: float = 1.0,
    perpendicular: float = 0.0,
    rectified: bool = True,
    radius: float = 3.0,
) -> Any:
    """The mended mask of the probability maps of one image, as `scantling mend` makes it of files.

    Broken tubes grow together along their direction by anisotropic diffusion (Sano, 2025), or by two thresholds (Liu
    et al., 2022, FR-UNet); small pieces are dropped. All lengths are in pixels; a spacing plays no part.

    Args:
        probability: of the foreground in [0, 1], (*S) of one class or (K, *S) of K classes without the background, each
            of which is mended by itself: a NumPy array, a torch tensor, a MONAI MetaTensor (K, *S), or an image of
            nibabel, SimpleITK or TorchIO; a file of maps, as `scantling mend` reads it; or the `Answer` of a model.
        spatial_dims: 2 or 3. It follows from two axes and from the images of other packages; an array of three axes
            may be a volume or a 2-D image of several classes, so it has to be said.
        rule: "anisotropic" diffuses along the tubes, "hysteresis" uses two thresholds, "both" does both; "closing"
            grows the mask by a radius and shrinks it by as much; "threshold" does nothing and is the control.
        iterations: steps of the diffusion, at least 0.
        high: in [0, 1]; a pixel above it is foreground.
        low: in [0, `high`]; with two thresholds, a pixel above it is foreground where it touches foreground.
        smallest: pieces of fewer pixels are dropped.
        carry: directions are carried into gaps over this many pixels; 0 does not.
        coherence: the power of the coherence that the diffusion is slowed with; 0 does not.
        parallel: λ∥, the conductivity along the direction.
        perpendicular: λ⊥, the conductivity across it.
        rectified: whether the map may only rise.
        radius: of the closing, in pixels; gaps of thick vessels of up to twice as much close.

    Returns:
        The mask, 0 and 1 in uint8, in the type, the shape and the geometry of `probability`. The mended map beside it
        gives `scantling.mending.mend`, and `scantling.mending.choose` finds settings on validation maps.

    Raises:
        ArrayError: the values are no probabilities (logits, 0 and 255, a mask, NaN), the background is among the
            classes, or the shape has two readings.
        SettingsError: a setting is unknown or out of its range.

    Example:
        >>> import numpy as np, scantling
        >>> vessel = np.zeros((9, 24), np.float32)
        >>> vessel[4] = 0.9
        >>> vessel[4, 11:13] = 0.3  # a gap
        >>> mask = scantling.mend(vessel, rule="hysteresis", low=0.25)
        >>> mask.dtype, mask[4].all()
        (dtype('uint8'), np.True_)
    """
    given = layers_of(probability, "probability", spatial_dims=spatial_dims, maps=True)
    settings = mending_settings(
        {
            "rule": rule,
            "iterations": iterations,
            "high": high,
            "low": low,
            "smallest": smallest,
            "carry": carry,
            "coherence": coherence,
            "parallel": parallel,
            "perpendicular": perpendicular,
            "rectified": rectified,
            "radius": radius,
        }
    )
    maps = given.array
    if len(maps) > 1 and np.abs(maps.sum(0, dtype=np.float64) - 1).max() < 1e-3:
        raise ArrayError(
            f"probability: the {len(maps)} channels add up to 1 at every pixel, so that the first is the background; "
            "leave it out: probability[1:]"
        )
    mended = mend_maps(maps, settings, spatial_dims=maps.ndim - 1)
    return given.back(mended.mask.astype(np.uint8))
