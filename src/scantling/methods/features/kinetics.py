"""The kinetic module of DKM: a diffusion model that leads from the frame before the contrast agent to a later one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from scantling.contract.card import Capability
from scantling.contract.method import Method
from scantling.contract.results import Generation
from scantling.contract.settings import Names
from scantling.contract.stage import Game
from scantling.contract.step import Inference, Step
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch, Traits
from scantling.diffusion.chain import exact
from scantling.diffusion.schedules import timesteps
from scantling.methods.catalogue import CARDS
from scantling.methods.features.image_diffusion import network_of, shown
from scantling.methods.features.pretrain import DiffusionPretrain
from scantling.methods.features.pretrain_settings import PretrainSettings

Variant = Literal["A", "B", "C"]


class KineticSettings(PretrainSettings):
    """Settings of `dkm-kinetics`; the paper gives none of them but the idea. Network and noise: `diffusion-pretrain`.

    Attributes:
        frames: the channels that are the frames of a sequence, in their order, the one before the contrast agent first;
            empty: all channels as they stand. What is no frame is not read.
        target: the later frame that is led to; None: the last one.
        variant: "A" learns what frames look like, whichever; "B" leads from the earlier frame under noise to the later
            one; "C" learns the later frame beside the earlier one.
        begin: the share of the chain that an earlier frame is noised by before "B" makes a later one of it. At 1 hardly
            anything is left of the image; ours.
    """

    frames: Names = ()
    target: str | None = None
    variant: Variant = "B"
    begin: Annotated[float, Field(gt=0, le=1)] = 0.25
    learned_variance: bool = False

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PretrainSettings.presets
    architecture: ClassVar[tuple[str, ...]] = (*PretrainSettings.architecture, "variant")

    @property
    def seen(self) -> tuple[str, ...]:
        """The frames that the training reads, of resolved settings: the earlier one first."""
        return self.frames if self.variant == "A" else (self.frames[0], self.target or self.frames[-1])

    def resolve(self, traits: Traits) -> Self:
        """Say which channel is which frame.

        Raises:
            SettingsError: there is no later frame, or no such frame.
        """
        frames = self.frames or traits.channels
        check_frames(frames, traits)
        if len(frames) < 2:
            raise SettingsError(
                f"dkm-kinetics leads from a frame to a later one; found only {frames[0]!r}, of the channels "
                f"{', '.join(traits.channels)}; name at least two with --settings.frames, or take data with a later "
                "frame as one more channel"
            )
        target = self.target or frames[-1]
        if target not in frames[1:]:
            raise SettingsError(
                f"--settings.target: found {target!r}; the later frames are {', '.join(frames[1:])}; name one of them"
            )
        if self.variant == "B" and self.learned_variance:
            raise SettingsError("--settings.learned_variance: variant B predicts a frame, without a variance; leave it")
        return super().resolve(traits).model_copy(update={"frames": frames, "target": target})

    def explain(self, traits: Traits) -> tuple[str, ...]:
        """Which frames are read, and which channels are not."""
        others = [name for name in traits.channels if name not in self.seen]
        unread = f"; {', '.join(others)} not read" if others else ""
        told = f"learns the frames {', '.join(self.seen)}" if self.variant == "A" else f"leads from {self.seen[0]} to "
        told += "" if self.variant == "A" else self.seen[1]
        return (f"{told}{unread}", *super().explain(traits))


def check_frames(frames: Sequence[str], traits: Traits) -> None:
    """Make sure that frames are channels, each named once.

    Raises:
        SettingsError: one is none.
    """
    for frame in frames:
        if frame not in traits.channels or frames.count(frame) > 1:
            found = f"{frame!r} twice" if frame in traits.channels else repr(frame)
            raise SettingsError(
                f"--settings.frames: found {found}; the channels of the data are {', '.join(traits.channels)}; name "
                "some of them, each once"
            )


class DkmKinetics(DiffusionPretrain):
    r"""The diffusion kinetic module of DKM (Lv et al., 2023): what a contrast agent does, seen as denoising.

    .. math:: x_t = \sqrt{\bar\alpha_t} x_0 + \sqrt{1 - \bar\alpha_t} \epsilon, \quad
              L = |x_k - \hat x_k(x_t, t)|^2

    for the frame x₀ before the agent and a later one x_k: variant B, which fits the paper's drawing best; its text says
    once that the chain leads to x_k and once that it leads back to x₀, and its code is not published. Variant A is a
    diffusion model of all frames, C one of x_k that sees x₀ beside it. As an encoder it reads the earlier frame alone.
    """

    card = CARDS["dkm-kinetics"]
    Settings = KineticSettings
    settings: KineticSettings

    def __init__(self, settings: KineticSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None) -> None:
        super().__init__(settings, traits, uses=uses)
        self.predicts = "x0" if settings.variant == "B" else "eps"
        if settings.variant == "C":
            self.network = network_of(settings, channels=1, beside=1)

    @classmethod
    def resolve_traits(cls, settings: KineticSettings, traits: Traits) -> Traits:
        """The frames that are read alone."""
        return traits.only(settings.seen)

    @property
    def made(self) -> int:
        """One frame."""
        return 1

    @property
    def channels(self) -> tuple[str, ...]:
        """The earlier frame."""
        return self.settings.seen[:1]

    @property
    def channels_out(self) -> tuple[str, ...]:
        """The later frame."""
        return self.settings.seen[-1:]

    @property
    def gives(self) -> tuple[Capability, ...]:
        """Variant A makes no later frame of an earlier one."""
        return ("encode",) if self.settings.variant == "A" else self.card.gives

    def objectives(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The squared error of the later frame, or of the noise."""
        frames = batch["images"].image
        if self.settings.variant == "A":
            which = step.randint("frame", 0, frames.shape[1], count=len(frames))
            yield "denoiser", self.denoising(frames[torch.arange(len(frames)), which][:, None], step)
            return
        before, after = frames[:, :1], frames[:, 1:]
        if self.settings.variant == "C":
            yield "denoiser", self.denoising(after, step, beside=before)
            return
        timestep = step.randint("timestep", 0, self.settings.chain, count=len(before))
        noisy = self.process.noised(before, timestep, step.randn("noise", like=before))
        yield "denoiser", {"denoising": F.mse_loss(exact(self.network(noisy.to(self.dtype), timestep)), after)}

    def entering(self, image: Tensor, time: int, noise: Tensor) -> Tensor:
        """The noised frame; in variant C also in the place of the later one, which is not known."""
        noisy = super().entering(image, time, noise)
        return torch.cat([noisy, image], 1) if self.settings.variant == "C" else noisy

    def generate(self, count: int, inference: Inference, given: Batch | None = None) -> Generation:
        """The later frames (B, 1, H, W) of the earlier ones that are `given`, by DDIM (Song et al., 2021)."""
        if given is None:
            raise SettingsError("dkm-kinetics makes a later frame of an earlier one; name images with --from DATA")
        steps = self.generate_options(inference.options).steps or 1
        frames = [
            self.later(given.image[n : n + 1], replace(inference, number=inference.number + n), steps)
            for n in range(count)
        ]
        return Generation(images=torch.cat(frames), normalised=True)

    def later(self, before: Tensor, inference: Inference, steps: int) -> Tensor:
        """The later frame (1, 1, H, W) in [-1, 1] of an earlier one."""
        noise = inference.randn("start", like=before)
        if self.settings.variant == "C":
            return self.walk(noise, timesteps(self.settings.chain, steps, spacing="trailing"), beside=before)
        first = max(1, round(self.settings.begin * self.settings.chain))
        walked = timesteps(first, min(steps, first), spacing="trailing")
        return self.walk(self.process.noised(before, walked[0], noise), walked)

    def pictures(self, batch: Batch, inference: Inference) -> Mapping[str, Tensor]:
        """The later frame that it makes of an earlier one."""
        if self.settings.variant == "A":
            return super().pictures(batch, inference)
        before = batch.image[:1]
        after = self.later(before, inference, self.settings.sampling_steps)
        caption = f"The frame {self.channels[0]}, and the frame {self.channels_out[0]} that the model makes of it"
        return {caption: shown(torch.cat([before, after.to(before.dtype)], 3))}
