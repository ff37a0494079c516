"""MB-Diff: a boundary evolves out of noise, steered by the image at every scale; many evolutions say how sure it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor

from scantling.contract.method import Method
from scantling.contract.options import SegmentOptions
from scantling.core.errors import SettingsError
from scantling.core.samples import Traits
from scantling.diffusion.samplers import Draw, Final, Model
from scantling.methods.catalogue import CARDS
from scantling.methods.mask_diffusion.chain_settings import Positive
from scantling.methods.mask_diffusion.chains import Condition
from scantling.methods.mask_diffusion.gaussian_masks import GaussianMasks, GaussianMaskSettings
from scantling.networks.padding import padded
from scantling.networks.pyramid import ConvolutionalPyramid, Guidance, TransformerPyramid

Several = Annotated[tuple[Positive, ...], Field(min_length=1)]


class MBDiffSettings(GaussianMaskSettings):
    """Settings of `mb-diff`. No code was released; learned variance and the vote are the paper's, the numbers ours.

    Attributes:
        samples: n, evolutions of an image.
        votes: τ, how many of them must agree; None: half of them, rounded up.
        counts: what is counted: each evolution as a "mask", at its ½, or "raw", the sum of what they say of a pixel
            in [0, 1], as the formula is printed (the rule "sum" of `fusion`).
        pyramid: what sees the image: a pyramid "transformer", as we recollect of the authors, or a small network of
            "convolutions" (ours).
        pyramid_widths: channels of its stages; these are PVT v2-B2's.
        pyramid_depths: blocks of its stages.
        pyramid_heads: of the attention of its stages.
    """

    batch: Positive = 8
    flips: bool = True
    turns: bool = True
    learned_variance: bool = True
    samples: Positive = 5
    sampling_steps: Positive = 250
    fuse: Literal["mean", "vote", "staple", "uncertainty"] = "vote"
    votes: Positive | None = None
    counts: Literal["masks", "raw"] = "masks"
    pyramid: Literal["transformer", "convolutions"] = "transformer"
    pyramid_widths: Several = (64, 128, 320, 512)
    pyramid_depths: Several = (3, 4, 6, 3)
    pyramid_heads: Several = (1, 2, 5, 8)

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            "steps": 1200,
            "batch": 8,
            "rate": 1e-3,
            "schedule_of_rate": "one-cycle",
            "average": 0.99,
            "size": None,
            "longest": 64,
            "foreground": 0.33,
            "rotation": 30.0,
            "zoom": 0.2,
            "jitter": 0.2,
            "predicts": "x0",
            "sampler": "ddim",
            "sampling_steps": 10,
            "widths": (16, 16, 32, 64),
            "blocks": 1,
            "attention": (),
            "pyramid": "convolutions",
            "pyramid_widths": (32, 48, 96, 128),
            "pyramid_depths": (3, 3, 2, 2),
        },
        "tiny": {
            "steps": 4,
            "batch": 2,
            "rate": 5e-3,
            "average": 0.9,
            "size": None,
            "patch": 32,
            "chain": 20,
            "predicts": "x0",
            "samples": 2,
            "sampling_steps": 3,
            "widths": (8, 8, 16),
            "blocks": 1,
            "attention": (),
            "pyramid_widths": (8,),
            "pyramid_depths": (1,),
            "pyramid_heads": (2,),
        },
    }

    def resolve(self, traits: Traits) -> Self:
        """Refuse votes that cannot be had and a pyramid that does not fit the denoiser, too."""
        _check_votes(self.votes, self.samples, "--settings.votes")
        stages, first = len(self.pyramid_widths), 2 if self.pyramid == "transformer" else 0
        heads = self.pyramid_heads if self.pyramid == "transformer" else (1,) * stages
        if not len(self.pyramid_depths) == len(heads) == stages:
            raise SettingsError(
                f"--settings.pyramid_widths names {stages} stages, pyramid_depths {len(self.pyramid_depths)} and "
                f"pyramid_heads {len(heads)}; name one number each for every stage"
            )
        if any(width % head for width, head in zip(self.pyramid_widths, heads, strict=True)):
            raise SettingsError(
                f"--settings.pyramid_heads {heads} do not divide the channels {self.pyramid_widths}; take others"
            )
        if first + stages > len(self.widths):
            raise SettingsError(
                f"--settings.pyramid_widths: {stages} stages of {self.pyramid} end at 1/{2 ** (first + stages - 1)} of "
                f"the image, the {len(self.widths)} levels of the denoiser at 1/{self.divisor}; take fewer stages"
            )
        return super().resolve(traits)


class MBDiff(GaussianMasks):
    r"""Medical boundary diffusion (Wang, Yang, Zhou and Wang, 2023).

    .. math:: y^i = \mu^i + \exp(\tfrac12 \Sigma^i)\, \mathcal N(0, I), \quad
              \delta = \sqrt{\tfrac1n \sum_i \Big(\mu^i - \tfrac1n \sum_j \mu^j\Big)^2}, \quad
              y^* = \Big[\sum_i y^i \ge \tau\Big]

    μ and Σ are mean and log-variance of the last step of chain i. δ is the uncertainty "evolution": it holds what the
    chains disagree about and not what each leaves open, so "total" is √(δ² + mean exp Σ) (ours). Both are of
    masks in [0, 1]. Each y is a mask before it votes, unless `counts` says otherwise: the sum of reals that is
    printed is no count of votes.
    """

    card = CARDS["mb-diff"]
    Settings = MBDiffSettings
    settings: MBDiffSettings

    def __init__(self, settings: MBDiffSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None) -> None:
        super().__init__(settings, traits, uses=uses)
        channels, widths, depths = len(traits.channels), settings.pyramid_widths, settings.pyramid_depths
        pyramid: TransformerPyramid | ConvolutionalPyramid
        if settings.pyramid == "transformer":
            pyramid = TransformerPyramid(channels, widths=widths, depths=depths, heads=settings.pyramid_heads)
        else:
            pyramid = ConvolutionalPyramid(channels, widths=widths, depths=depths)
        self.guidance = Guidance(pyramid, settings.widths)
        self.network = self.denoiser(len(traits.classes), self.outputs)

    def segment_options(self, options: SegmentOptions) -> SegmentOptions:
        """The votes of the settings, too, where several samples vote, and how they are counted."""
        options = super().segment_options(options)
        if options.fuse != "vote":
            return options
        votes = options.votes
        if votes is None and (options.samples or 1) > 1:
            _check_votes(self.settings.votes, options.samples or 1, "--samples: too few for --settings.votes")
            votes = self.settings.votes
        return options.model_copy(update={"votes": votes, "fuse": "sum" if self.settings.counts == "raw" else "vote"})

    def condition(self, image: Tensor) -> Condition:
        """What the image says at each level of the denoiser: (B, widths[l], H' / 2^l, W' / 2^l), H' and W' padded."""
        guides: Condition = self.guidance(padded(image, self.network.divisor))
        return guides

    def denoise(self, noisy: Tensor, condition: Condition, timestep: Tensor) -> Tensor:
        """The prediction and its variance (B, 2K, H, W); each level of the encoder has the image added to it."""
        predicted: Tensor = self.network(noisy.to(self.dtype), timestep, guide=lambda level, h: h + condition[level])
        return predicted

    def walk(self, model: Model, *, like: Tensor, steps: Sequence[int], draw: Draw) -> Final:
        """From pure noise to y, drawn about the end of the chain with the variance of its last step."""
        end = super().walk(model, like=like, steps=steps, draw=draw)
        if not self.settings.chain:
            return end
        return end._replace(x=end.mean + (_log_variance(end) / 2).exp() * draw("evolution", end.mean))

    def doubt(self, ends: Sequence[Final]) -> Mapping[str, Tensor]:
        """ "evolution" and "total" (1, 1, *S), of masks in [0, 1]; the mean over the classes; none of one evolution."""
        if sum(len(end.mean) for end in ends) == 1:
            return {}
        means = torch.cat([self.probability(end.mean) for end in ends])  # (N, K, *S)
        variances = torch.cat([_log_variance(end) for end in ends]).exp() / 4  # of [0, 1], half as wide as [-1, 1]
        between = means.var(0, correction=0, keepdim=True)  # (1, K, *S)
        total = between + variances.mean(0, keepdim=True)
        return {
            "evolution": between.sqrt().mean(1, keepdim=True),
            "total": total.sqrt().mean(1, keepdim=True),
        }


def _log_variance(end: Final) -> Tensor:
    """Σ (N, K, *S)."""
    if end.log_variance is None:
        raise ValueError("a Gaussian sampler ends with the log-variance of its last step")
    return end.log_variance.expand_as(end.mean)


def _check_votes(votes: int | None, samples: int, flag: str) -> None:
    if votes is not None and votes > samples:
        raise SettingsError(f"{flag}: {votes} votes are asked of {samples} samples; take 1 to {samples}")
