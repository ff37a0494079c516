"""What `export.json` says: the rules by which any program repeats the answer of a model with its ONNX file.

They are those of `data.preprocessing`, `data.interpolation`, `inference.answering` and `inference.postprocessing`. A
test follows them with NumPy and SciPy alone and gets the same masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scantling.contract.capabilities import Segmenter
from scantling.contract.options import SEGMENT_DEFAULTS
from scantling.core.samples import Preprocessing
from scantling.data.channels import LUMA
from scantling.data.interpolation import SHRINKS
from scantling.data.preprocessing import CONSTANT, intensities_of
from scantling.inference.writing import written_values

AXES = {2: ("height", "width"), 3: ("axis 0", "axis 1", "axis 2")}
FORMULAS = {
    "image": "(x - mean) / deviation of each channel of each image; the deviation is that of the population",
    "dataset": "(clip(x, low, high) - mean) / std of each channel, by `statistics`",
    "foreground": "(clip(x, low, high) - mean) / std of each channel, by `statistics`",
    "unit": "2 (x - least) / (greatest - least) - 1 of each channel of each image",
    "none": "x",
}
CHANNELS = (
    f"one grey channel is repeated where three are wanted; red, green and blue become {LUMA[0]:g} R + {LUMA[1]:g} G + "
    f"{LUMA[2]:g} B where one is wanted; any other number of channels is refused"
)
RESAMPLING = (
    "Pixels are squares around their centres: new index i lies at (i + 0.5) n / m - 0.5, n before and m after. Axes "
    "that `averaged` names are done first, one after the other, the last one first: new value i is the mean of the old "
    "ones j weighted by max(0, 1 - |(j + 0.5) m / n - (i + 0.5)|), over the sum of these weights. All other axes are "
    "interpolated linearly between neighbours, the outermost values repeated beyond their centres. An axis of equal "
    "length is left."
)
OUTSIDE = (
    "Pixels that are NaN or infinite in any channel lie outside: each channel has its least finite value there, they "
    "count in no mean, deviation or extreme, and their probabilities are 0. In a picture they have to reach its border."
)


def surroundings(method: Any, check: dict[str, Any]) -> dict[str, Any]:
    """What a program has to do before and after the network, step by step, as `export.json` says it.

    Args:
        method: a `Segmenter`.
        check: what `exporting.checked` found; its "shape" becomes that of the input.
    """
    labels = method.labels_of(SEGMENT_DEFAULTS)
    if labels is None:
        raise ValueError("a model that segments has classes")
    axes = AXES[method.preprocessing.dimensions]
    return {
        "input": {
            "name": "image", "dtype": "float32", "axes": ["batch", "channel", *axes],
            "shape": check.pop("shape"), "channels": list(method.channels), "other_channels": CHANNELS,
        },
        "output": {
            "name": "probabilities", "axes": ["batch", "class", *axes], "classes": list(labels.names),
            "values": written_values(labels), "exclusive": labels.exclusive,
            "activation": "none is left to apply" + ("; the background has what remains to 1" * labels.exclusive),
        },
        "steps": [
            "preprocessing: orientation, values outside, units, grid, slices",
            "network: `input` to `output` for each view and each slice; the mean over `views`, each brought back",
            "postprocessing: grid of the image, 0 outside, temperature, decision, components, values",
        ],
        "preprocessing": _before(method),
        "views": _views(method),
        "postprocessing": _after(method),
        "limits": (
            "Images that do not fit into memory are answered by `predict` in overlapping tiles and bands, so that "
            "values near their seams differ; on a GPU that has bfloat16 it computes in that unless float32 is asked "
            "for. Where `input`.`shape` names sides the file takes images of that grid alone."
        ),
        "check": check,
    }  # fmt: skip


def _before(method: Segmenter) -> dict[str, Any]:
    recipe, traits = method.preprocessing, method.traits
    slicing = recipe.dimensions < traits.dimensions
    fixed = recipe.normalise in ("dataset", "foreground")
    return {
        "dimensions": recipe.dimensions,
        "slices": f"of volumes along axis {traits.slice_axis}" if slicing else None,
        "slice_axis": traits.slice_axis if slicing else None,
        "orientation": "right, anterior, superior where there is an affine" if traits.dimensions == 3 else None,
        "outside": OUTSIDE,
        "normalise": recipe.normalise, "formula": FORMULAS[recipe.normalise],
        "measured": "on the grid of the image, before it is resampled, in its region of interest where it has one",
        "constant": (
            f"a channel whose deviation, std or (greatest - least) / 2 is at most {CONSTANT:g} of its greatest "
            "absolute value becomes 0"
        ) if recipe.normalise != "none" else None,
        "statistics": [
            {"channel": name, "low": one.low, "high": one.high, "mean": one.mean, "std": one.std,
             "greatest": max(abs(one.minimum), abs(one.maximum))}
            for name, one in zip(method.channels, intensities_of(recipe, traits.only(method.channels)), strict=True)
        ] if fixed else None,
        "spacing": recipe.spacing, "unit": traits.unit, "size": recipe.size, "longest": recipe.longest,
        "grid": _grid(recipe), "training_spacing": list(traits.spacing),
        "interpolation": "linear, averaged where the grid shrinks", "resampling": RESAMPLING,
        "averaged": _averaged(traits.dimensions, slicing=slicing),
        "divisor": [1] * recipe.dimensions,
        "padding": "none: the network pads by itself what it halves",
    }  # fmt: skip


def _grid(recipe: Preprocessing) -> str:
    """How long an axis of the image becomes, in words."""
    if recipe.size is not None:
        return "`size`, whatever the image is"
    if recipe.longest is not None:
        return "max(1, round(n longest / the longest side)), halves to the even number"
    if recipe.spacing is None:
        return "that of the image"
    return (
        "max(1, round(n s / spacing)) of an axis of n pixels that lie s apart, halves to the even number; an image "
        "whose spacing is not known in `unit` is taken to have `training_spacing`"
    )


def _averaged(dimensions: int, *, slicing: bool) -> str:
    if dimensions == 2 or slicing:
        return "every axis that becomes shorter"
    return f"every axis that becomes at least {SHRINKS:g} times shorter; the others are interpolated"


def _views(method: Segmenter) -> dict[str, Any]:
    used = method.uses_views(SEGMENT_DEFAULTS)
    each: Sequence[Sequence[int]] = (
        method.resolved_views().each if used else [(0,) * (1 + method.preprocessing.dimensions)]
    )
    return {
        "rule": (
            "Of each view the canvas (B, C, *S) is first turned, numpy.rot90(x, quarter_turns, (2, 3)), then its "
            "spatial axes `reversed`, counted from 0, are reversed. The probabilities go back: the same axes reversed, "
            "then numpy.rot90(p, -quarter_turns, (2, 3)). The answer is the mean over all views."
        ),
        "each": [
            {"quarter_turns": int(quarter), "reversed": [axis for axis, wanted in enumerate(mirrored) if wanted]}
            for quarter, *mirrored in each
        ],
    }  # fmt: skip


def _after(method: Segmenter) -> dict[str, Any]:
    traits, made, labels = method.traits, method.postprocessing, method.labels_of(SEGMENT_DEFAULTS)
    exclusive = labels is None or labels.exclusive
    several = exclusive and len(traits.classes) > 1
    tempered = (
        "p^(1/T) / (the sum of p^(1/T) over all classes and the background, which has 1 - the sum of p)"
        if exclusive
        else "p^(1/T) / (p^(1/T) + (1 - p)^(1/T))"
    )
    return {
        "grid": "probabilities are resampled to the grid of the image as `resampling` and `averaged` say",
        "temperature": made.temperature,
        "tempering": f"p is clipped to [0, 1] and becomes {tempered}; nothing where T = 1",
        "thresholds": list(made.thresholds),
        "decision": (
            "the most likely class, of equals the first, where it is likelier than the background, 1 - the sum of p"
            if several
            else "each class where p is above its threshold; 0.5 where there are no thresholds"
        ),
        "components": list(made.components),
        "dropping": (
            "Of each class with a rule, pieces that touch at a side or a corner are one. 'largest' keeps the largest, "
            "all of them where several are; a number keeps pieces of at least this size: the number of pixels times "
            "the size of one, in `unit` to the power of the axes (`training_spacing` where the image does not say its "
            "own in `unit`)."
        ),
        "mask": (
            "class k has the first number of `values`[k - 1], the background 0"
            if exclusive
            else "(K, *S), a mask for each class, 255 where it is and 0 elsewhere"
        ),
    }  # fmt: skip
