"""A training step of the loop, its feeding included, against a bare loop on tensors that are already there.

Both train the same U-Net with the same loss, optimiser and gradient clipping; they take turns. Exit code 1 if
the loop takes more than 1.05 times as long.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from scantling.contract.method import build
from scantling.core.case import Address, Case, Labels
from scantling.core.machine import autocast_type, steady
from scantling.core.samples import Intensity, Traits
from scantling.data.case_cache import CaseCache
from scantling.data.prefetcher import Prefetcher
from scantling.data.preprocessing import Preprocessed
from scantling.data.reader import Reader
from scantling.losses.overlap import cross_entropy, dice_loss
from scantling.methods.supervised.unet import UNetSegmenter, UNetSettings
from scantling.phantoms import vessel_images
from scantling.training.stage_runner import StageRunner

ROUNDS, STEPS, TARGET = 9, 6, 1.05


def main() -> int:
    """Print the ratio of the loop's step to the bare one."""
    steady(threads=torch.get_num_threads())
    device = torch.device("cpu")
    autocast = autocast_type("auto", device, training=True)
    channel = Intensity(mean=0, std=1, low=-3, high=3, minimum=-5, maximum=5)
    traits = Traits(
        dimensions=2, channels=("red", "green", "blue"), labels=Labels(names=("vessel",), values=((255,),)),
        spacing=(1.0, 1.0), shape=(512, 512), smallest=(512, 512), intensity=(channel,) * 3,
    )  # fmt: skip
    settings = UNetSettings.preset("quick", {"average": 0.0}).resolve(traits)
    images = {f"{n}": taken(image, mask) for n, (image, mask) in enumerate(vessel_images(8, 512, seed=0))}
    cases = [
        Case(id=name, subject=name, images={"i": Address(Path(name))}, masks=(Address(Path(name)),)) for name in images
    ]

    ours = build(UNetSegmenter, settings, traits)
    (stage,) = ours.stages()
    play = StageRunner(ours, stage, seed=0, device=device, autocast=autocast)
    cache = CaseCache(lambda case: images[case.id], budget=1 << 30)
    readers = {s.name: Reader(s, cases, cache, seed=0, stage=stage.name) for s in stage.streams}
    prefetcher = Prefetcher(readers, None, [0], 1)

    bare = build(UNetSegmenter, settings, traits).train()
    optimiser = torch.optim.AdamW(bare.parameters(), settings.rate, weight_decay=settings.weight_decay)
    batch = readers["labelled"].batch(0)

    def plain_step() -> None:
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=autocast, enabled=autocast is not None):
            logits = bare.network(batch.image)
            loss = cross_entropy(logits, batch.mask, ignore_index=255)
            loss = loss + settings.dice * dice_loss(bare.probabilities(logits), batch.mask, ignore_index=255)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(bare.parameters(), 1.0)
        optimiser.step()

    step = 0

    def our_step() -> None:
        nonlocal step
        play.step(step, prefetcher.batches(step))
        step += 1

    def feeding() -> None:
        """Wait for the batch that is made ahead, so that it costs the loop its time and not the bare loop."""
        ahead = prefetcher._ahead
        if ahead is not None:
            ahead[1].result()

    for warm in (plain_step, our_step):
        timed(warm)
    pairs = [(timed(our_step, last=feeding), timed(plain_step)) for _ in range(ROUNDS)]
    prefetcher.close()
    ratio = statistics.median(a / b for a, b in pairs)
    loop, plain = (statistics.median(side) for side in zip(*pairs, strict=True))
    sys.stdout.write(
        f"training step, U-Net quick, 8 patches of 128 x 128, {torch.get_num_threads()} threads, "
        f"{'bf16' if autocast else 'float32'}\n"
        f"  loop with feeding {loop * 1e3:7.1f} ms   bare loop {plain * 1e3:7.1f} ms   "
        f"ratio {ratio:.3f} (target at most {TARGET})\n"
    )
    return int(ratio > TARGET)


def timed(step: Callable[[], None], *, last: Callable[[], None] | None = None) -> float:
    """Seconds of one step, the mean of a few; what comes `last` is counted in."""
    begun = time.perf_counter()
    for _ in range(STEPS):
        step()
    if last is not None:
        last()
    return (time.perf_counter() - begun) / STEPS


def taken(image: np.ndarray, mask: np.ndarray) -> Preprocessed:
    """A made image as the preprocessing would give it."""
    planes = np.moveaxis(image, -1, 0).astype(np.float32)
    planes = (planes - planes.mean((1, 2), keepdims=True)) / planes.std((1, 2), keepdims=True)
    return Preprocessed(torch.from_numpy(planes), {}, (torch.from_numpy(mask.astype(np.uint8))[None],))


if __name__ == "__main__":
    sys.exit(main())
