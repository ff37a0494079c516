"""Registration of two arrays by optimisation, with SimpleITK: an affine map, then splines or demons. Nothing is learnt.

The extra `itk` brings SimpleITK; it is imported when two images are registered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from scantling.contract.settings import Settings
from scantling.core.errors import SettingsError

Array = NDArray[np.float32]
Positive = Annotated[int, Field(gt=0)]
LEAST = 16
"""Pixels that an axis keeps on the coarsest level of the pyramid; ours."""
DISTANT = 1e-6
"""The least change of the metric, and of a gradient, for which the optimisers go on."""


class RuleSettings(Settings):
    """How two images are registered by rule. The parts are SimpleITK's; their numbers are ours, as its examples use.

    Attributes:
        rule: "affine" alone; after it "b-spline", a free-form deformation (Rueckert et al., 1999), or "demons", the
            symmetric forces of SimpleITK with a smoothed displacement (Thirion, 1998), for images of one modality.
        metric: of the affine map and the splines: the correlation of the images, or their mutual information (Mattes
            et al., 2003), which also suits images of two modalities.
        levels: of the pyramid, each half as fine as the next; fewer where an axis would keep under 16 pixels.
        iterations: at most so many on each level, of each of the two parts.
        mesh: pieces of the spline along the longest axis, the others in proportion.
        smoothing: deviation of the Gaussian over the displacement of the demons, in pixels.
        sampled: the share of pixels that the metric looks at, on a regular grid that is jittered by a fixed seed.
    """

    rule: Literal["affine", "b-spline", "demons"] = "b-spline"
    metric: Literal["correlation", "mutual information"] = "correlation"
    levels: Positive = 3
    iterations: Positive = 50
    mesh: Positive = 5
    smoothing: Annotated[float, Field(gt=0)] = 1.5
    sampled: Annotated[float, Field(gt=0, le=1)] = 0.3


def register_by_rule(fixed: Array, moving: Array, *, spacing: Sequence[float], settings: RuleSettings) -> Array:
    """The displacement (D, *S) in pixels that warps `moving` onto `fixed`, both (*S) on one grid.

    On one thread, so that it repeats bit for bit. Images of which one is constant, or an axis too short to be smoothed
    (under 5 pixels), are left where they are.

    Args:
        spacing: of each axis, in any unit.

    Raises:
        SettingsError: SimpleITK is not installed.
    """
    try:
        import SimpleITK as sitk  # noqa: N813
    except ImportError:
        raise SettingsError(
            "registration by rule needs SimpleITK, which is not installed; install it: pip install 'scantling[itk]'"
        ) from None
    still = np.zeros((fixed.ndim, *fixed.shape), np.float32)
    if fixed.std() == 0 or moving.std() == 0 or min(fixed.shape) < 5:
        return still
    reference, source = (sitk.GetImageFromArray(np.ascontiguousarray(one, np.float32)) for one in (fixed, moving))
    for image in (reference, source):
        image.SetSpacing([float(mm) for mm in reversed(spacing)])
    levels = settings.levels
    while levels > 1 and min(fixed.shape) / 2 ** (levels - 1) < LEAST:
        levels -= 1
    try:
        transform = _affine(sitk, reference, source, settings, levels)
        if settings.rule == "b-spline":
            transform = _splines(sitk, reference, source, transform, settings, levels)
        if settings.rule == "demons":
            transform = _demons(sitk, reference, source, transform, settings)
    except RuntimeError:  # the images do not overlap any more, or a metric has no pixel left to look at
        return still
    field = sitk.TransformToDisplacementField(
        transform, sitk.sitkVectorFloat64, reference.GetSize(), reference.GetOrigin(), reference.GetSpacing(),
        reference.GetDirection(),
    )  # fmt: skip
    vectors = np.moveaxis(sitk.GetArrayFromImage(field), -1, 0)[::-1]  # x, y, z to the order of the array
    found = vectors / np.asarray(spacing).reshape(-1, *[1] * fixed.ndim)
    return np.ascontiguousarray(found, np.float32)


def _method(sitk: Any, settings: RuleSettings, levels: int) -> Any:
    """A registration with the metric, the sampling and the pyramid of the settings."""
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    if settings.metric == "correlation":
        method.SetMetricAsCorrelation()
    else:
        method.SetMetricAsMattesMutualInformation(numberOfHistogramBins=32)
    if settings.sampled < 1:
        method.SetMetricSamplingStrategy(method.REGULAR)
        method.SetMetricSamplingPercentage(settings.sampled, 1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel([2**level for level in reversed(range(levels))])
    method.SetSmoothingSigmasPerLevel([float(level) for level in reversed(range(levels))])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOff()
    return method


def _affine(sitk: Any, fixed: Any, moving: Any, settings: RuleSettings, levels: int) -> Any:
    method = _method(sitk, settings, levels)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0, minStep=1e-3, numberOfIterations=settings.iterations, gradientMagnitudeTolerance=DISTANT
    )
    method.SetOptimizerScalesFromPhysicalShift()
    start = sitk.CenteredTransformInitializer(
        fixed, moving, sitk.AffineTransform(fixed.GetDimension()), sitk.CenteredTransformInitializerFilter.GEOMETRY
    )
    method.SetInitialTransform(start, inPlace=False)
    return method.Execute(fixed, moving)


def _splines(sitk: Any, fixed: Any, moving: Any, affine: Any, settings: RuleSettings, levels: int) -> Any:
    method = _method(sitk, settings, levels)
    longest = max(fixed.GetSize())
    mesh = [max(1, round(settings.mesh * n / longest)) for n in fixed.GetSize()]
    method.SetMovingInitialTransform(affine)
    method.SetInitialTransform(sitk.BSplineTransformInitializer(fixed, mesh, 3), inPlace=True)
    method.SetOptimizerAsLBFGSB(
        gradientConvergenceTolerance=1e-5, numberOfIterations=settings.iterations, maximumNumberOfCorrections=5
    )
    spline = method.Execute(fixed, moving)
    return sitk.CompositeTransform([affine, spline])


def _demons(sitk: Any, fixed: Any, moving: Any, affine: Any, settings: RuleSettings) -> Any:
    demons = sitk.FastSymmetricForcesDemonsRegistrationFilter()
    demons.SetNumberOfThreads(1)
    demons.SetNumberOfIterations(settings.iterations)
    demons.SetStandardDeviations(settings.smoothing)
    brought = sitk.Resample(moving, fixed, affine, sitk.sitkLinear, 0.0)
    field = demons.Execute(fixed, sitk.HistogramMatching(brought, fixed))
    return sitk.CompositeTransform([affine, sitk.DisplacementFieldTransform(sitk.Cast(field, sitk.sitkVectorFloat64))])
