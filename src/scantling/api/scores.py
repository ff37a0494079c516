"""Scores of a mask in memory: `scantling evaluate` for arrays and images of other packages."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np

from scantling.api.answers import Answer
from scantling.api.calls import public
from scantling.api.layers import layers_of, layers_of_case
from scantling.api.packages import package_of
from scantling.core.case import IGNORE, Geometry
from scantling.core.checks import check_choice
from scantling.core.errors import ArrayError, DataError, SettingsError
from scantling.data.grids import place
from scantling.data.open_case import OpenCase
from scantling.evaluation.scores import scores_of_arrays
from scantling.metrics.arrays import foreground
from scantling.metrics.catalogue import METRICS

MOST = 254
"""Classes that can be told apart."""


@public
def score(
    prediction: Any,
    truth: Any,
    *,
    spatial_dims: int | None = None,
    spacing: Sequence[float] | None = None,
    probability: Any = None,
    samples: Sequence[Any] | None = None,
    annotators: Sequence[Any] | None = None,
    uncertainty: Any = None,
    region: Any = None,
    metrics: Collection[str] | None = None,
    classes: Sequence[int] | None = None,
    ignore_index: int | None = None,
) -> dict[str, float]:
    """The scores of one predicted mask, with the names and the values that `scantling evaluate` gives it.

    Every mask is a NumPy array, a torch tensor, a MONAI MetaTensor, an image of nibabel, SimpleITK or TorchIO, or a
    file. It is (*S) of bool, of 0 and 1, or of class numbers with 0 for the background, or (K, *S) of 0 and 1, one
    channel for each class that is not the background; a file of nothing but 0 and 255 is a mask of one class. Images
    with an affine are brought onto the grid of the truth by the nearest value.

    Args:
        prediction: the mask to score; or the `Answer` of a model, which brings its probabilities and samples along.
        truth: the mask that it should be, of several annotators the first; or a case of a data set, which brings the
            masks of all its annotators and leaves out what is unknown.
        spatial_dims: 2 or 3. It follows from two axes and from the images of other packages; an array of three axes
            may be a volume or a 2-D image of several classes, so it has to be said.
        spacing: the distance between neighbours along each spatial axis of the truth, in mm; None: what the truth or
            the prediction says, else 1, and lengths are in pixels.
        probability: (*S) or (K, *S) in [0, 1], for the metrics of ranking and calibration.
        samples: masks in the form of `prediction` that stand for its spread.
        annotators: masks of further annotators, in the form of `truth`, for the metrics of several.
        uncertainty: (*S), any finite range.
        region: (*S) of bool or 0 and 1, the pixels that count; all if None.
        metrics: names, some of `scantling.metrics.METRICS`; None: all that can be computed.
        classes: the class numbers that are scored; None: all that truth or prediction hold.
        ignore_index: the value of `truth` where nothing is known, often 255; such pixels do not count. None: there are
            none.

    Returns:
        A number for each metric, the mean over the classes in which it is defined; NaN where it is in none. Scores of
        one class are those of `prediction == 2` against `truth == 2`.

    Raises:
        ArrayError: a mask holds 255 that nobody declares, probabilities or other values that are no class; a shape has
            two readings.
        SettingsError: a metric is unknown.
        DataError: the arrays do not fit each other, no pixel counts, or a metric needs what is not given.

    Example:
        >>> import numpy as np, scantling
        >>> truth, found = np.zeros((64, 64), bool), np.zeros((64, 64), bool)
        >>> truth[20:40], found[20:42] = True, True
        >>> scores = scantling.score(found, truth, spacing=(0.5, 0.5))
        >>> round(scores["dice"], 3), scores["hd95"]
        (0.952, 1.0)
    """
    answer = prediction if isinstance(prediction, Answer) else None
    if isinstance(truth, OpenCase):
        true, *others = layers_of_case(truth, "truth", spacing=spacing)
        ignore_index = IGNORE if ignore_index is None else ignore_index
    else:
        if spatial_dims is None and answer is not None and package_of(truth) in ("numpy", "torch"):
            spatial_dims = len(answer._form.geometry.shape)
        binary = ignore_index != IGNORE
        true, others = layers_of(truth, "truth", spatial_dims=spatial_dims, spacing=spacing, binary=binary), []
    if answer is not None:
        probability = answer if probability is None and answer.probabilities is not None else probability
        classes = range(1, len(answer.classes) + 1) if classes is None else classes
    grid, axes = true.form.geometry, true.array.ndim - 1
    dims = axes if true.form.received is None else len(true.form.received.spatial)
    for name in metrics or ():
        check_choice(name, METRICS, argument="metrics")

    def given(x: Any, name: str, *, maps: bool = False) -> tuple[np.ndarray, Geometry]:
        said = (
            dims if package_of(x) in ("numpy", "torch", "") and not isinstance(x, Answer | str | os.PathLike) else None
        )
        layers = layers_of(x, name, spatial_dims=said, maps=maps)
        return place(layers.array, layers.form.geometry, grid, where=name, reference="truth")[0], layers.form.geometry

    def single(x: Any, name: str) -> np.ndarray | None:
        array = None if x is None else given(x, name)[0]
        if array is not None and len(array) > 1:
            raise ArrayError(f"{name}: found {len(array)} channels; expected one map (*S)")
        return None if array is None else array[0]

    found, geometry = given(prediction, "prediction")
    known = next((each for each in (grid, geometry) if each.unit == "mm"), grid)
    marked = {"prediction": found}
    for number, each in enumerate(_listed(samples, "samples")):
        marked[f"samples[{number}]"] = given(each, f"samples[{number}]")[0]
    if answer is not None and samples is None:
        for number, each in enumerate(answer._decided.samples if answer._decided else ()):
            layer = each if each.ndim > len(answer._form.geometry.shape) else each[None]
            marked[f"samples[{number}]"] = place(layer, geometry, grid, where="prediction", reference="truth")[0]
    drawn = {"truth": true.array} | {f"annotators[{number}]": each.array for number, each in enumerate(others)}
    for number, each in enumerate(_listed(annotators, "annotators"), start=len(others)):
        drawn[f"annotators[{number}]"] = given(each, f"annotators[{number}]")[0]
    held = {name: _classes_of(mask, name) for name, mask in marked.items()}
    held |= {name: _classes_of(mask, name, ignore_index) for name, mask in drawn.items()}
    wanted = _wanted(held, max(map(len, (marked | drawn).values())), classes)
    masks = [_layers(mask, name, wanted, held[name]) for name, mask in marked.items()]
    true_masks = [_layers(mask, name, wanted, held[name], ignore_index) for name, mask in drawn.items()]
    inside = single(region, "region")
    try:
        scores = scores_of_arrays(
            masks[0],
            true_masks[0],
            classes=[str(number) for number in wanted],
            others=true_masks[1:],
            samples=masks[1:],
            probability=None
            if probability is None
            else given(probability, "probability", maps=True)[0].astype(np.float32),
            uncertainty=single(uncertainty, "uncertainty"),
            region=None if inside is None else foreground(inside),
            spacing=known.spacing,
            unit=known.unit,
            metrics=metrics,
        )
    except ArrayError:
        raise
    except ValueError as error:
        raise DataError(str(error)) from None
    return dict(scores.mean)


def _listed(given: Any, name: str) -> list[Any]:
    """The masks of an argument that is a list of them, or an array (N, ...).

    Raises:
        ArrayError: it is one mask.
        SettingsError: it is neither.
    """
    if given is None:
        return []
    if package_of(given) in ("numpy", "torch") and given.ndim < 3:
        raise ArrayError(f"{name}: found one mask of shape {tuple(given.shape)}; expected a list of masks: [mask]")
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise SettingsError(f"{name}: found a {type(given).__name__}; expected a list of masks")
    return list(given)


def _classes_of(mask: np.ndarray, name: str, ignore_index: int | None = None) -> set[int]:
    """The class numbers that a mask holds.

    Raises:
        ArrayError: a value is none.
    """
    values = np.unique(mask)
    values = values if ignore_index is None else values[values != ignore_index]
    if not (np.array_equal(values, np.round(values)) and all(0 <= value <= MOST for value in values)):
        listed = ", ".join(f"{value:g}" for value in values[:5])
        raise ArrayError(
            f"{name}: found the values {listed}; expected bool, 0 and 1, or class numbers up to {MOST}: where 255 is "
            f"the foreground, give {name} == 255; where it marks pixels of the truth that do not count, say "
            "ignore_index=255; probabilities are the argument probability"
        )
    return {int(value) for value in values} - {0}


def _wanted(held: dict[str, set[int]], channels: int, classes: Sequence[int] | None) -> list[int]:
    """The class numbers to score.

    Raises:
        ArrayError: they are none.
    """
    if classes is not None:
        wanted = [*classes] if isinstance(classes, Iterable) else [classes]
        if not all(isinstance(number, int | np.integer) and not isinstance(number, bool) for number in wanted):
            raise ArrayError(f"classes: found {classes!r}; expected a list of class numbers, whole ones from 1")
    else:
        wanted = [*range(1, channels + 1)] if channels > 1 else sorted(set().union(*held.values())) or [1]
    if not wanted or len(set(wanted)) < len(wanted) or not all(1 <= number <= MOST for number in wanted):
        raise ArrayError(f"classes: found {wanted[:5]}; expected different numbers from 1 to {MOST}")
    return wanted


def _layers(
    mask: np.ndarray, name: str, wanted: Sequence[int], held: set[int], ignore_index: int | None = None
) -> np.ndarray:
    """(K, *S) uint8 of 0, 1 and `IGNORE`, a channel for each class to score.

    Raises:
        ArrayError: the mask has several channels of other values than 0 and 1, or not one for each class.
    """
    if len(mask) > 1 and (held - {1} or max(wanted) > len(mask)):
        raise ArrayError(
            f"{name}: found {len(mask)} channels with the values {sorted(held)}; expected 0 and 1 in each, and a "
            f"channel for each of the classes {list(wanted)}"
        )
    planes = [(mask[0], number) if len(mask) == 1 else (mask[number - 1], 1) for number in wanted]
    layers = np.stack([plane == value for plane, value in planes]).astype(np.uint8)
    if ignore_index is not None:
        layers[np.stack([plane == ignore_index for plane, _ in planes])] = IGNORE
    return layers
