"""Tiles, views, slices, and what becomes of probabilities."""

from __future__ import annotations

import math
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from commands import started
from scantling.contract.options import SegmentOptions
from scantling.contract.results import Segmentation
from scantling.contract.step import Inference
from scantling.core.case import Case, Geometry, Labels, Sample
from scantling.core.machine import steady
from scantling.core.samples import Batch, Preprocessing
from scantling.inference.answering import decide, segment
from scantling.inference.tiles import STEP, Tiler, affordable, bell, peak_bytes, places, tile_shape
from toys import TRAITS, Toy


def square(canvas: Tensor) -> Tensor:
    return canvas.square()


@pytest.mark.parametrize("shape", [(100, 75), (33, 200), (40, 50, 36)])
def test_tiles_of_a_network_without_context_equal_the_whole(shape: tuple[int, ...]) -> None:
    canvas = torch.randn(2, 3, *shape)
    tiler = Tiler(memory=int(peak_bytes(square, canvas[:1]) / 7))
    seen: list[tuple[int, ...]] = []

    def network(tile: Tensor) -> Tensor:
        seen.append(tuple(tile.shape))
        return square(tile)

    assert torch.allclose(tiler(network, canvas), canvas.square(), atol=1e-5)
    assert len(seen) > 4


def test_a_tiny_canvas_does_not_make_tiles_of_the_next() -> None:
    def padded(canvas: Tensor) -> Tensor:
        shape = canvas.shape[2:]
        return torch.zeros(1, 1, *(max(64, n) for n in shape))[..., : shape[0], : shape[1]] + 0 * canvas

    tiler, seen = Tiler(memory=1 << 20), []
    tiler(padded, torch.zeros(1, 1, 2, 2))
    tiler(lambda canvas: seen.append(tuple(canvas.shape[2:])) or padded(canvas), torch.zeros(1, 1, 96, 96))
    assert seen == [(64, 64), (96, 96)], "the trial, then the whole"


def attending(canvas: Tensor) -> Tensor:
    """Every pixel looks at every other, without which it would be a plain network."""
    tokens = canvas.flatten(2)[:, :, ::8]  # (1, 1, P / 8)
    seen = (tokens.transpose(1, 2) @ tokens).softmax(-1)
    return canvas * seen.mean()


def test_tiles_of_a_network_whose_memory_grows_with_the_square_stay_within_the_bound() -> None:
    bound, used = 150 << 20, []

    def network(tile: Tensor) -> Tensor:
        used.append((tuple(tile.shape[2:]), peak_bytes(attending, tile)))
        return tile

    canvas = torch.rand(1, 1, 400, 400)
    tiler = Tiler(memory=bound)
    measured = [peak_bytes(attending, canvas[..., :side, :side]) for side in (64, 128)]
    assert measured[0] * 400**2 / 64**2 < measured[1] * 400**2 / 128**2, "or there is nothing to tell"
    tiler(attending, canvas)
    tiler(network, canvas)
    assert max(bytes_ for shape, bytes_ in used) <= bound
    assert max(math.prod(shape) for shape, _ in used) > 128**2


def test_what_two_trials_say_of_pixels_that_fit() -> None:
    assert affordable([(100, 500)], 1000) == 200
    assert affordable([(100, 500), (400, 2000)], 10_000) == pytest.approx(2000)
    two = [(p, 3 * p + 2 * p * p) for p in (10, 40)]
    assert affordable(two, 3 * 100 + 2 * 100 * 100) == pytest.approx(100)


def test_all_steps_of_a_chain_are_tiled_alike_whatever_becomes_free(monkeypatch: pytest.MonkeyPatch) -> None:
    free, seen = iter([1 << 30, 2]), []
    monkeypatch.setattr("scantling.inference.tiles._free", lambda device: next(free))
    tiler = Tiler()
    for _ in range(2):
        tiler(lambda x: seen.append(tuple(x.shape)) or x, torch.zeros(1, 1, 100, 100))
    assert seen[-2:] == [(1, 1, 100, 100)] * 2


def test_what_fits_goes_whole() -> None:
    calls: list[tuple[int, ...]] = []
    Tiler(memory=1 << 30)(lambda x: calls.append(tuple(x.shape)) or x, torch.zeros(2, 1, 90, 90))
    assert calls[-1] == (2, 1, 90, 90)


@pytest.mark.parametrize(("n", "t"), [(100, 32), (33, 32), (64, 64), (512, 48), (50, 16)])
def test_tiles_cover_everything_and_overlap_as_asked(n: int, t: int) -> None:
    starts = [start for (start,) in places((n,), (t,), 0.5)]
    assert starts[0] == 0
    assert starts[-1] == n - t
    assert all(b - a <= t / 2 + 1 for a, b in pairwise(starts))


def test_a_tile_is_as_large_as_it_may_be() -> None:
    assert tile_shape((100, 100), 20_000) == (100, 100)
    tile = tile_shape((1000, 300), 64 * 64)
    assert math.prod(tile) <= 64 * 64
    assert all(length % STEP == 0 for length in tile)
    assert math.prod(tile) > 64 * 64 / 2
    assert tile_shape((1000, 1000), 1) == (STEP, STEP)


def test_blending_weights_are_highest_in_the_middle_and_never_zero() -> None:
    weight = bell((16, 32))
    assert weight.shape == (16, 32)
    assert float(weight.min()) >= 1e-3
    assert weight.flatten().argmax() in (7 * 32 + 15, 7 * 32 + 16, 8 * 32 + 15, 8 * 32 + 16)


def test_the_memory_of_a_forward_pass_is_what_its_tensors_take() -> None:
    network = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 1, 3, padding=1))
    canvas = torch.zeros(1, 1, 64, 64)
    expected = 4 * 64 * 64 * (1 + 8 + 8)  # the canvas, and a layer's input and output
    assert expected <= peak_bytes(network, canvas) <= 1.3 * expected


class Sided(Toy):
    """Answers with the image; half of the answer where told to be uneven, so that views matter."""

    dimensions = 2

    @property
    def preprocessing(self) -> Preprocessing:
        return Preprocessing(dimensions=self.dimensions, normalise="none")

    def segment(self, batch: Batch, inference: Inference) -> Segmentation:
        self.seen = [*getattr(self, "seen", []), tuple(batch.image.shape)]
        ramp = torch.linspace(0, 1, batch.image.shape[-1])
        return Segmentation(probabilities=batch.image * ramp)


def sample(shape: tuple[int, ...]) -> Sample:
    image = np.random.default_rng(0).random((1, *shape), np.float32)
    return Sample(Case(id="a", subject="a"), image, Geometry(shape, (1.0,) * len(shape), slice_axis=0))


def answered(method: Toy, of: Sample, **how: bool) -> np.ndarray:
    return segment(method, of, device=torch.device("cpu"), tiler=Tiler(), **how).probabilities


def test_views_make_an_answer_that_turns_and_mirrors_with_the_image() -> None:
    method, of = Sided(), sample((20, 20))
    plain = answered(method, of, options=SegmentOptions(views=True))
    turned = Sample(of.case, np.ascontiguousarray(np.rot90(of.image, 1, (1, 2))[:, ::-1]), of.geometry)
    assert np.allclose(
        answered(method, turned, options=SegmentOptions(views=True)), np.rot90(plain, 1, (1, 2))[:, ::-1], atol=1e-6
    )
    assert not np.allclose(answered(method, turned), np.rot90(answered(method, of), 1, (1, 2))[:, ::-1], atol=1e-2)


def test_a_method_in_2d_answers_a_volume_slice_by_slice() -> None:
    method, of = Sided(), sample((19, 12, 10))
    method.traits = TRAITS.model_copy(update={"dimensions": 3, "slice_axis": 0})
    answer = answered(method, of)
    assert answer.shape == (1, 19, 12, 10)
    assert np.allclose(answer, of.image * np.linspace(0, 1, 10, dtype=np.float32), atol=1e-6)
    assert [shape[0] for shape in method.seen] == [8, 8, 3]


def test_deciding_takes_the_likeliest_class_the_background_among_them() -> None:
    probabilities = np.array([[0.2, 0.5, 0.45, 0.1], [0.1, 0.4, 0.2, 0.85]], np.float32)
    assert decide(probabilities, exclusive=True).tolist() == [0, 1, 1, 2]
    assert decide(probabilities, exclusive=False).tolist() == [[0, 0, 0, 0], [0, 0, 0, 1]]
    assert decide(np.array([[0.5, 0.51]], np.float32), exclusive=True).tolist() == [0, 1]
    assert Labels(names=("a", "b"), values=((1, 2), (2,))).exclusive is False


def answer_for_the_first_time() -> None:
    """What a command does before its first answer; ends with 1 where that has imported torch's compiler."""
    steady()
    peak_bytes(square, torch.zeros(1, 1, 8, 8))
    sys.exit("torch._dynamo" in sys.modules)


def test_a_command_answers_without_importing_the_compiler_of_torch() -> None:
    """It takes more than a second, in every command."""
    process = started(answer_for_the_first_time)
    process.join(timeout=120)
    assert process.exitcode == 0
