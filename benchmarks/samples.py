"""Many samples of one image: what depends on the image alone computed once and samples in batches, or a plain loop.

    python benchmarks/samples.py [--repeats 5] [METHOD ...]

16 samples of 10 steps of one 64 x 64 image by the `quick` preset of every system that draws samples. The plain loop
draws one sample after another and lets the image through its branch at every step. Both draw the same numbers and
must give the same samples; they take turns, and the ratio is the median over the turns. Exits with 1 if samples
differ, or if a system whose image branch can be computed once is less than 3 times as fast.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from scantling.contract.method import Method, build
from scantling.contract.options import SegmentOptions
from scantling.contract.step import Inference
from scantling.core.case import Labels
from scantling.core.machine import steady
from scantling.core.samples import Batch, Intensity, Traits
from scantling.diffusion.chain import pairs
from scantling.diffusion.samplers import Guess
from scantling.diffusion.schedules import timesteps
from scantling.methods.catalogue import CARDS, implementation_of
from scantling.methods.mask_diffusion.chains import MaskDiffusion

SIZE, SAMPLES, STEPS, TARGET = 64, 16, 10, 3.0
ONCE = ("medsegdiff-v2", "dtu-net", "mb-diff")
"""Systems with a branch that sees the image alone."""
SYSTEMS = [name for name in ("berdiff", "medsegdiff", *ONCE) if name in CARDS]


def main() -> int:
    """Print the table; 1 if samples differ or a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", metavar="METHOD", help=f"of {', '.join(SYSTEMS)} (default all)")
    parser.add_argument("--repeats", type=int, default=5, help="turns (default 5)")
    arguments = parser.parse_args()
    steady(threads=torch.get_num_threads())
    torch.set_grad_enabled(False)
    channel = Intensity(mean=0, std=1, low=-3, high=3, minimum=-5, maximum=5)
    traits = Traits(
        dimensions=2, channels=("red", "green", "blue"), labels=Labels(names=("lesion",), values=((255,),)),
        spacing=(1.0, 1.0), shape=(SIZE, SIZE), smallest=(SIZE, SIZE), intensity=(channel,) * 3,
    )  # fmt: skip
    image = torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    batch = Batch(torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64), {"image": image})
    print(f"{SAMPLES} samples x {STEPS} steps of an image of {SIZE} x {SIZE}, quick, {torch.get_num_threads()} threads")
    print(f"{'':<16}{'plain s':>10}{'ours s':>10}{'ratio':>8}{'target':>8}  equal")
    reached = True
    for name in arguments.methods or SYSTEMS:
        kind = implementation_of(CARDS[name])
        method = build(kind, kind.Settings.preset("quick").resolve(traits), traits).eval()
        if not isinstance(method, MaskDiffusion):
            raise TypeError(f"{name} draws no masks by diffusion")
        filled(method)
        options = method.segment_options(SegmentOptions(samples=SAMPLES, steps=STEPS, fuse="mean"))
        now = Inference(seed=0, stage="answer", options=options)
        times: list[tuple[float, float]] = []
        difference = 0.0
        for _ in range(arguments.repeats + 1):  # the first turn warms up
            ours, seconds = timed(partial(together, method, batch, now))
            others, slow = timed(partial(one_by_one, method, image, now))
            times.append((slow, seconds))
            difference = max(difference, float((ours - others).abs().max()))
        ratio = statistics.median(slow / fast for slow, fast in times[1:])
        slow, fast = (statistics.median(side) for side in zip(*times[1:], strict=True))
        equal, target = difference < 1e-3, TARGET if name in ONCE else 0
        reached &= equal and ratio >= target
        print(
            f"{name:<16}{slow:>10.2f}{fast:>10.2f}{ratio:>8.1f}{target or '':>8}  {'yes' if equal else 'NO'}",
            flush=True,
        )
    return 0 if reached else 1


def together(method: MaskDiffusion, batch: Batch, inference: Inference) -> Tensor:
    """Samples (N, 1, K, H, W) as inference asks for them."""
    samples = method.segment(batch, inference).samples
    if samples is None:
        raise ValueError("a method that draws samples answers with them")
    return samples


def one_by_one(method: MaskDiffusion, image: Tensor, inference: Inference) -> Tensor:
    """The same samples by the plain loop."""
    options = inference.options
    steps = timesteps(method.settings.chain, options.steps or 1, spacing=method.settings.spacing)
    before = dict(pairs(steps))

    def model(noisy: Tensor, timestep: int) -> Guess:
        said = method.denoise(noisy, method.condition(image), torch.full((1,), timestep))
        return method.guess(said, noisy, timestep, before[timestep])

    like = image.new_empty((1, len(method.traits.classes), *image.shape[2:]))
    drawn = []
    for number in range(options.samples or 1):
        draw = partial(method.noise, [replace(inference, slot=number)])
        drawn.append(method.probability(method.walk(model, like=like, steps=steps, draw=draw).x))
    return torch.stack(drawn)


def filled(method: Method) -> None:
    """Small weights where a network that is not trained has none, so that its answers differ."""
    generator = torch.Generator().manual_seed(0)
    for parameter in method.parameters():
        if not parameter.any():
            parameter.copy_(0.05 * torch.randn(parameter.shape, generator=generator))


def timed(work: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """What it gives, and its seconds."""
    begun = time.perf_counter()
    return work(), time.perf_counter() - begun


if __name__ == "__main__":
    sys.exit(main())
