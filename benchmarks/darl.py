"""A training step of DARL against a plain one that runs the generator again for the discriminators.

Both train the same networks with the same losses and optimisers on one patch; they take turns. Exit code 1 if the
loop, which also draws its masks, backgrounds and noise, takes more than 0.95 times as long.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from scantling.contract.method import build
from scantling.core.machine import autocast_type, steady
from scantling.core.samples import Batch, Intensity, Traits
from scantling.diffusion.chain import exact
from scantling.methods.without_labels.darl import DARL
from scantling.methods.without_labels.darl_settings import DARLSettings
from scantling.training.stage_runner import StageRunner

ROUNDS, STEPS, TARGET = 7, 4, 0.95


def main() -> int:
    """Print the ratio of the loop's step to the plain one."""
    steady(threads=torch.get_num_threads())
    device = torch.device("cpu")
    autocast = autocast_type("auto", device, training=True)
    traits = Traits(
        dimensions=2, channels=("grey",), spacing=(1.0, 1.0), shape=(512, 512), smallest=(512, 512),
        intensity=(Intensity(mean=0, std=1, low=-3, high=3, minimum=-5, maximum=5),),
    )  # fmt: skip
    settings = DARLSettings.preset("quick", {"average": 0.0}).resolve(traits)
    image = torch.rand(settings.batch, 1, settings.patch, settings.patch) * 2 - 1
    rows = torch.arange(settings.batch)
    batch = Batch(rows, rows, {"image": image})

    ours = build(DARL, settings, traits)
    play = StageRunner(ours, ours.stages()[0], seed=0, device=device, autocast=autocast)
    step = 0

    def our_step() -> None:
        nonlocal step
        play.step(step, [{"angiograms": batch, "backgrounds": batch}])
        step += 1

    plain = cast(DARL, build(DARL, settings, traits)).train()
    moving = [*plain.denoiser.parameters(), *plain.generator.parameters()]
    generator, discriminators = (
        torch.optim.Adam(owned, settings.rate, betas=(0.5, 0.999)) for owned in (moving, [*plain.judges.parameters()])
    )
    vessels = image > 0.8
    masks = 2 * vessels.float() - 1
    reals = {"masks": masks, "images": image}

    def paths(t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found, _ = plain.generate_from(plain.process.noised(image, t, noise), t)
        painted, guess = plain.generate_from(plain.process.noised(image, t, noise), t, vessels)
        return exact(found), exact(painted), exact(guess)

    def plain_step() -> None:
        noise, t = torch.randn_like(image), torch.randint(0, settings.small, (settings.batch,))
        generator.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=autocast, enabled=autocast is not None):
            found, painted, guess = paths(t, noise)
            again, _ = plain.generate_from(plain.process.noised(painted, t, noise), t)
            fakes = {"masks": found, "images": painted}
            fooled = torch.stack([(exact(plain.judges[n](fakes[n])[-1]) - 1).square().mean() for n in fakes]).sum()
            cycle = F.l1_loss(exact(again), masks)
        (F.mse_loss(guess, noise) + settings.adversarial * fooled + settings.cycle * cycle).backward()
        generator.step()
        discriminators.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=autocast, enabled=autocast is not None):
            with torch.no_grad():
                found, painted, _ = paths(t, noise)
            loss = torch.zeros(())
            for name, fake in {"masks": found, "images": painted}.items():
                real, made = (exact(plain.judges[name](seen)[-1]) for seen in (reals[name], fake))
                loss = loss + ((real - 1).square().mean() + made.square().mean()) / 2
        loss.backward()
        discriminators.step()

    for warm in (plain_step, our_step):
        timed(warm)
    pairs = [(timed(our_step), timed(plain_step)) for _ in range(ROUNDS)]
    ratio = statistics.median(a / b for a, b in pairs)
    loop, recomputed = (statistics.median(side) for side in zip(*pairs, strict=True))
    sys.stdout.write(
        f"training step, DARL quick, {settings.patch} x {settings.patch}, {torch.get_num_threads()} threads, "
        f"{'bf16' if autocast else 'float32'}\n"
        f"  one forward pass for both players {loop * 1e3:7.1f} ms   one for each {recomputed * 1e3:7.1f} ms   "
        f"ratio {ratio:.3f} (target at most {TARGET})\n"
    )
    return int(ratio > TARGET)


def timed(step: Callable[[], None]) -> float:
    """Seconds of one step, the mean of a few."""
    begun = time.perf_counter()
    for _ in range(STEPS):
        step()
    return (time.perf_counter() - begun) / STEPS


if __name__ == "__main__":
    sys.exit(main())
