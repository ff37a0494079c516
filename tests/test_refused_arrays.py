"""What the rooms say of arrays and numbers that they cannot mean: a sentence, and neither a traceback nor a number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import scantling
from scantling import diffusion, fusion, losses, mending, metrics, mixing, networks, phantoms, warping
from scantling.core.errors import ScantlingError
from scantling.diffusion import Guess

MASK = np.zeros((8, 9), bool)
MASK[2:4] = True
LIKELY = np.linspace(0.0, 1.0, 72, dtype=np.float32).reshape(8, 9)
NAN, LOGITS, BYTES = LIKELY * np.nan, 8 * LIKELY - 4, 255 * MASK.astype(np.uint8)
VECTORS = np.stack([np.ones((8, 9)), np.zeros((8, 9))]).astype(np.float32)
TENSOR = torch.from_numpy(LIKELY)[None, None]
SAMPLES = TENSOR.expand(3, 2, 1, 8, 9)
GAUSS = diffusion.GaussianProcess(diffusion.betas("linear", 10))
CHANCE = np.random.default_rng(0)
FIELDS = {"image": TENSOR, "mask": (TENSOR > 0.5).long()}
CLASSES = [[0.3, 0.7], [0.9, 0.1]]


class Half:
    """Random numbers that are one half."""

    def rand(self, purpose: str, *, like: torch.Tensor) -> torch.Tensor:
        return torch.full_like(like, 0.5)


def sampled(**changes: Any) -> Any:
    given: dict[str, Any] = {
        "model": lambda x, t: Guess(torch.zeros_like(x)), "start": torch.zeros_like(TENSOR), "process": GAUSS,
        "timesteps": (9, 4), "draw": lambda purpose, like: torch.zeros_like(like), "clip": (-1, 1),
    }  # fmt: skip
    given |= changes
    return diffusion.ddim(given.pop("model"), given.pop("start"), **given)


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    # class numbers
    "brier, class 0.7": (lambda: metrics.brier(CLASSES, [0.7, 1]), r"truth holds 0\.7; expected whole numbers"),
    "brier, class -1": (lambda: metrics.brier(CLASSES, [-1, 1]), "truth holds -1"),
    "brier, class 2 of 2": (lambda: metrics.brier(CLASSES, [2, 1]), "truth holds 2; .* from 0 to 1"),
    "brier, one truth for two cases": (lambda: metrics.brier(CLASSES, [1]), "1 cases, probabilities 2"),
    "confusion matrix, 1.7": (lambda: metrics.confusion_matrix([1.7, 0], [1, 0], classes=2), r"predicted holds 1\.7"),
    "confusion matrix, NaN": (lambda: metrics.confusion_matrix([1, 0], [np.nan, 0], classes=2), "truth holds nan"),
    "confusion matrix, text": (lambda: metrics.confusion_matrix(["a"], [0], classes=2), "expected an array of numbers"),
    "class calibration, -1": (lambda: metrics.class_calibration(CLASSES, [-1, 1], [1, 1]), "predicted holds -1"),
    "class calibration, 5": (lambda: metrics.class_calibration(CLASSES, [5, 1], [1, 1]), "predicted holds 5"),
    "auc, class 0.7": (lambda: metrics.auc(CLASSES, [0.7, 1]), r"truth holds 0\.7"),
    "auc, one axis": (lambda: metrics.auc([0.1, 0.9], [0, 1]), r"expected \(n, K\)"),
    "accuracy, not square": (lambda: metrics.accuracy(np.ones((2, 3), int)), r"expected a confusion matrix \(K, K\)"),
    "score, classes 1.7": (lambda: scantling.score(MASK, MASK, classes=[1.7]), "whole ones from 1"),  # type: ignore[list-item]
    "decision, 255": (lambda: metrics.confidence_sums(LIKELY[None], BYTES), "expected 0 to 1"),
    "cross-entropy, -1 of int8": (
        lambda: losses.cross_entropy(torch.zeros(1, 2, 8, 9), -torch.ones(1, 1, 8, 9).char(), ignore_index=255),
        "found the values -1 in the target",
    ),
    "copy-paste, 1.7": (
        lambda: mixing.copy_paste(FIELDS, FIELDS | {"mask": FIELDS["mask"] * 1.7}, Half()), r"found the value 1\.7",
    ),
    # probabilities
    "brier, logits": (lambda: metrics.brier([[3.0, -2.0], [-1.0, 2.0]], [0, 1]), "logits need a sigmoid"),
    "brier, NaN": (lambda: metrics.brier([[np.nan, 0.5], [0.1, 0.9]], [0, 1]), "holds NaN"),
    "mean of samples, logits": (lambda: metrics.several(MASK[None], MASK[None], mean=LOGITS), "mean holds values"),
    "confidence, logits": (lambda: metrics.confidence_sums(LOGITS[None], MASK.astype(int)), "expected probabilities"),
    "hysteresis, logits": (lambda: mending.hysteresis(LOGITS), "logits need a sigmoid"),
    "hysteresis, NaN": (lambda: mending.hysteresis(NAN), "holds NaN"),
    "hysteresis, bytes": (lambda: mending.hysteresis(BYTES), "from 0 to 255"),
    "hysteresis, threshold 128": (lambda: mending.hysteresis(LIKELY, high=128, low=50), "high: found 128"),
    "diffusion in torch, logits": (
        lambda: mending.diffuse_tensors(8 * TENSOR - 4, torch.from_numpy(VECTORS)[None], settings=mending.Diffusion()),
        "found values from -4 to 4",
    ),
    "diffusion, a long direction": (
        lambda: mending.diffuse(LIKELY, 100 * VECTORS, settings=mending.Diffusion()), "up to 100 long",
    ),
    "diffusion, NaN in the direction": (
        lambda: mending.diffuse(LIKELY, np.nan * VECTORS, settings=mending.Diffusion()), "up to nan long",
    ),
    "a promise of 2": (lambda: metrics.residual_interval([[0.1]] * 9, coverage=2), "coverage: found 2"),
    "residuals, NaN": (lambda: metrics.residual_interval([[np.nan]] * 20), "one that is NaN"),
    # masks
    "drop small, probabilities": (lambda: mending.drop_small(LIKELY, 3), "expected the mask of one class"),
    "drop small, bytes": (lambda: mending.drop_small(BYTES, 1), "expected the mask of one class"),
    "confusion, text": (lambda: metrics.confusion("abc", MASK), "expected an array of numbers"),
    "confusion, nothing": (lambda: metrics.confusion(None, MASK), "expected an array of numbers"),
    "total, a region of one half": (lambda: fusion.total(TENSOR, torch.full_like(TENSOR, 0.5)), "other values than 0"),
    "choose, bytes": (
        lambda: mending.choose([], [mending.Example(LIKELY[None], BYTES[None])], score=lambda a, b: {}),  # type: ignore[arg-type]
        "expected the mask of one class",
    ),
    # shapes beside each other
    "error ranking, one row": (lambda: metrics.error_ranking(LIKELY, MASK, MASK[:1]), "expected one shape"),
    "coverage, another region": (lambda: metrics.coverage(MASK, region=MASK[:, 0]), r"region has shape \(8,\)"),
    "strongest, a smaller region": (lambda: mending.strongest(LIKELY, 0.1, region=np.ones((4, 4))), "region has shape"),
    "strongest, a transposed region": (lambda: mending.strongest(LIKELY, 0.1, region=np.ones((9, 8))), "region has"),
    "otsu, a row as region": (lambda: mending.otsu(LIKELY, region=np.ones((1, 9))), "region has shape"),
    "choose, known of one row": (
        lambda: mending.choose(
            [], [mending.Example(LIKELY[None], MASK[None], known=MASK[None, :1])], score=lambda a, b: {}
        ),
        "where it is known has shape",
    ),
    "carried, one row": (
        lambda: mending.carried(mending.structure_orientation(LIKELY), LIKELY[:1], scale=2), r"expected \(8, 9\)",
    ),
    "diffusion tensor of a map": (
        lambda: mending.diffusion_tensor(LIKELY, settings=mending.Diffusion()), r"expected \(D, \*S\)",
    ),
    "pasted, inside of one sample": (
        lambda: mixing.pasted(
            {"image": TENSOR.expand(2, 1, 8, 9)}, {"image": TENSOR.expand(2, 1, 8, 9)}, TENSOR.bool()
        ),
        "the samples and the grid",
    ),
    "noise of another shape": (lambda: GAUSS.noised(TENSOR, 1, TENSOR[..., :1]), "found noise of shape"),
    "three time steps for one": (lambda: GAUSS.noised(TENSOR, torch.tensor([1, 2, 3]), TENSOR), "3 time steps for 1"),
    "an affine of four rows": (lambda: warping.affine_map(torch.zeros(1, 3, 2, 2, 2), torch.eye(4)), r"matrix\[:3\]"),
    "whole displacements": (lambda: warping.warp(TENSOR, torch.zeros(1, 2, 8, 9).long()), "expected floats"),
    "score, a single sample": (lambda: scantling.score(MASK, MASK, samples=MASK), r"list of masks: \[mask\]"),  # type: ignore[arg-type]
    "score, uncertainty of two channels": (
        lambda: scantling.score(MASK, ~MASK, uncertainty=np.stack([LIKELY, LIKELY])), "found 2 channels",
    ),
    "score, one spacing": (lambda: scantling.score(MASK, MASK, spacing=2.0), "expected 2 lengths"),  # type: ignore[arg-type]
    "diversity of rows": (lambda: metrics.diversity(MASK), "a list of masks"),  # type: ignore[arg-type]
    # numbers
    "eta of 2": (lambda: sampled(eta=2.0), "eta: found 2.0; expected a number from 0 to 1"),
    "eta of -1": (lambda: sampled(eta=-1.0), "eta: found -1.0"),
    "time steps beyond the chain": (lambda: sampled(timesteps=(999, 5)), "999 on a chain that goes from -1 to 9"),
    "a number of time steps": (lambda: sampled(timesteps=4), "timesteps: found 4; expected a list"),
    "time steps of 8.5": (lambda: sampled(timesteps=(8.5, 2.0)), "expected a list of whole numbers"),
    "a clip the other way round": (lambda: sampled(clip=(1, -1)), "clip: found"),
    "a model that gives a tensor": (lambda: sampled(model=lambda x, t: x), r"expected diffusion\.Guess"),
    "a draw of one number": (
        lambda: sampled(eta=1.0, draw=lambda purpose, like: torch.zeros(1)), "draw gives numbers of shape",
    ),
    "a chain of 2.5 steps": (lambda: diffusion.betas("linear", 2.5), "steps: found 2.5"),  # type: ignore[arg-type]
    "2.5 time steps": (lambda: diffusion.timesteps(9, 2.5, spacing="leading"), "count: found 2.5"),  # type: ignore[arg-type]
    "a time step of 1.5": (lambda: GAUSS.alpha_bar(1.5), "expected whole numbers"),  # type: ignore[arg-type]
    "no bins": (lambda: metrics.calibration(LIKELY, MASK, bins=0), "bins: found 0"),
    "1.5 votes": (lambda: fusion.fuse("vote", SAMPLES, votes=1.5), "votes: found 1.5"),  # type: ignore[arg-type]
    "a scale of 0": (lambda: losses.smoothed(TENSOR, 0), "scale: found 0; expected a number above 0"),
    "sigma of -1": (lambda: mending.structure_orientation(LIKELY, sigma=-1), "sigma: found -1"),
    "-1 erosions": (lambda: losses.soft_skeleton(TENSOR, iterations=-1), "iterations: found -1"),
    "smooth of -1": (lambda: losses.dice_loss(TENSOR, TENSOR > 1, smooth=-1), "smooth: found -1"),
    "ignore_index of text": (
        lambda: losses.dice_loss(TENSOR, TENSOR > 1, ignore_index="x"), "ignore_index: found 'x'",  # type: ignore[arg-type]
    ),
    "a mixing probability of 2": (lambda: mixing.cutmix(FIELDS, FIELDS, Half(), probability=2), "probability: found 2"),
    "nothing to mix": (lambda: mixing.cutmix({}, {}, Half()), "found no field"),
    # phantoms and networks
    "a seed for a generator": (lambda: phantoms.retina((64, 64), generator=0), r"numpy\.random\.default_rng"),  # type: ignore[arg-type]
    "half a pixel": (lambda: phantoms.retina((64.5, 64), generator=CHANCE), "shape: found 64.5"),  # type: ignore[arg-type]
    "a scene without colours": (lambda: phantoms.photograph(LIKELY, generator=CHANCE), r"expected \(H, W, 3\)"),
    "a sketch of bytes": (
        lambda: phantoms.sketch_of(BYTES, generator=CHANCE, deleted=0.1, jitter=0.0), "expected the mask of one class",  # type: ignore[arg-type]
    ),
    "a sketch with 2 deleted": (
        lambda: phantoms.sketch_of(MASK, generator=CHANCE, deleted=2, jitter=0.0), "deleted: found 2",
    ),
    "no fractals": (lambda: phantoms.fractal_crossing((8, 8), side=9, count=0, generator=CHANCE), "count: found 0"),
    "trees on a line": (lambda: phantoms.tree_vessels((16,), generator=CHANCE), "expected two or three sides"),
    "a region of floats": (lambda: phantoms.evened(TENSOR, TENSOR, window=2), "the region bool"),
    "a rim of -1": (lambda: phantoms.without_rim(TENSOR > 0, width=-1), "width: found -1"),
    "two widths of FR-UNet": (lambda: networks.FRUNet(1, 1, widths=(4, 8)), "expected four, one for each resolution"),
    "a larger crop": (lambda: networks.cropped(TENSOR, (64, 64)), "expected the part of it that was there"),
    "a divisor of 0": (lambda: networks.padded(TENSOR, (0, 4)), "expected one for each axis"),
    # arrays of another package, and other numbers of axes
    "a loss of NumPy": (lambda: losses.dice_loss(LIKELY, MASK), r"expected a tensor: torch\.as_tensor"),  # type: ignore[arg-type]
    "samples of NumPy": (lambda: fusion.fuse("mean", SAMPLES.numpy()), r"expected tensors"),  # type: ignore[arg-type]
    "a skeleton of three axes": (lambda: losses.soft_skeleton(TENSOR[0], iterations=1), r"expected \(B, K, H, W\)"),
    "a mask of other channels": (lambda: losses.class_channels(torch.ones(1, 3, 8, 9), 2), "for 2 classes; expected"),
    "four axes": (lambda: mending.structure_orientation(LIKELY[None, None]), r"expected \(H, W\) or \(D, H, W\)"),
    "vesselness, NaN": (lambda: mending.vesselness(NAN), "NaN or infinite"),
    "otsu, NaN": (lambda: mending.otsu(NAN), "NaN or infinite"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_meant_is_refused_with_a_sentence(name: str) -> None:
    call, sentence = REFUSED[name]
    with pytest.raises(ScantlingError, match=sentence):
        call()


def test_whole_numbers_in_floats_lists_and_tensors_are_taken() -> None:
    exact = metrics.brier(np.array(CLASSES), np.array([1, 0]))
    assert metrics.brier(torch.tensor(CLASSES, requires_grad=True), [1.0, 0.0]) == pytest.approx(exact)
    assert np.array_equal(mending.hysteresis(LIKELY.tolist()), mending.hysteresis(LIKELY))  # type: ignore[arg-type]
    assert metrics.confusion(torch.ones(8, 9, requires_grad=True), np.ones((8, 9))).dice == 1
    many = scantling.score(MASK, MASK, samples=np.stack([MASK, ~MASK]), metrics=["ged"])
    assert many == scantling.score(MASK, MASK, samples=[MASK, ~MASK], metrics=["ged"])


@pytest.mark.parametrize("name", ["cross_entropy", "dice_loss", "binary_cross_entropy", "soft_cldice_loss"])
def test_losses_never_wait_for_a_device_where_255_is_declared(name: str) -> None:
    # A tensor on the device "meta" has no numbers: whoever asks for one, as waiting for a GPU does, is refused.
    p, target = torch.rand(2, 1, 16, 16, device="meta"), torch.ones(2, 1, 16, 16, dtype=torch.uint8, device="meta")
    calls: dict[str, Callable[[], Any]] = {
        "cross_entropy": lambda: losses.cross_entropy(p, target, ignore_index=255),
        "dice_loss": lambda: losses.dice_loss(p, target, ignore_index=255),
        "binary_cross_entropy": lambda: losses.binary_cross_entropy(p, target, ignore_index=255),
        "soft_cldice_loss": lambda: losses.soft_cldice_loss(p, target, iterations=2, ignore_index=255),
    }
    assert calls[name]().is_meta
