"""Medical Diffusion: whole volumes by a diffusion model on the latents of a VQ-GAN."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from scantling.contract.capabilities import Encoder, Generator
from scantling.contract.method import Method
from scantling.contract.options import GenerateOptions
from scantling.contract.results import Encoding, Generation
from scantling.contract.stage import Calibration, Game, Player, Prepared, Stage
from scantling.contract.step import Inference, Step
from scantling.core.errors import SettingsError
from scantling.core.samples import Batch, Traits
from scantling.core.streams import Stream
from scantling.diffusion.chain import exact
from scantling.diffusion.gaussian import GaussianProcess
from scantling.diffusion.samplers import Guess, ancestral, ddim, dpm_solver_pp
from scantling.diffusion.schedules import betas, timesteps
from scantling.methods.catalogue import CARDS
from scantling.methods.generation.latent_gaussian import MOST, LatentGaussian
from scantling.methods.generation.volumes import RANGE, OnVolumes, Positive, shown
from scantling.methods.generation.vq_gan import VQGan
from scantling.methods.generation.vq_settings import VQGanSettings
from scantling.networks.factorised_unet import FactorisedUNet

LATENT = "latent"
SHOWN = 3
Sampler = Literal["ancestral", "ddim", "dpm-solver++"]
SAMPLERS = {"ancestral": ancestral, "ddim": ddim, "dpm-solver++": dpm_solver_pp}


class MedicalDiffusionSettings(VQGanSettings):
    """Settings of `medical-diffusion`: those of its autoencoder, and of the diffusion model.

    What the paper does not say, and all of `quick`, is ours.

    Attributes:
        steps: of training in all stages together; without those of the autoencoder where `--use autoencoder=RUN`
            brings one.
        denoising: the share of them that trains the diffusion model: 700,000 of 800,000.
        latents: of a step of the diffusion model.
        denoising_rate: its learning rate.
        average: decay of its averaged weights, which answer; the authors' .995 every ten steps.
        chain: T, steps of the noise process.
        unet: channels at full resolution of its U-Net; None: as many as a latent slice is high.
        multipliers, heads, head_channels: see `FactorisedUNet`.
        sampler, sampling_steps: how the chain is walked, and in how many steps.
        conditional: make volumes of the image classes of the data; only cases with one are read.
        components: of the Gaussian of the latents that is fitted as a control (ours).
    """

    steps: Positive = 800_000
    denoising: Annotated[float, Field(gt=0, lt=1)] = 0.875
    latents: Positive = 10
    denoising_rate: Annotated[float, Field(gt=0)] = 1e-4
    average: Annotated[float, Field(ge=0, lt=1)] = 0.9995
    chain: Annotated[int, Field(ge=2)] = 300
    unet: Positive | None = None
    multipliers: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1, 2, 4, 8)
    heads: Positive = 8
    head_channels: Annotated[int, Field(ge=2)] = 32
    sampler: Sampler = "ancestral"
    sampling_steps: Positive = 300
    conditional: bool = False
    components: Positive = 64

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "quick": {
            **VQGanSettings.presets["quick"],
            "steps": 2000,
            "denoising": 0.7,
            "latents": 4,
            "denoising_rate": 1e-3,
            "average": 0.995,
            "down": (4, 4, 4),
            "unet": 48,
            "multipliers": (1, 2),
            "heads": 2,
            "head_channels": 16,
            "sampler": "ddim",
            "sampling_steps": 50,
            "components": 32,
        },
        "tiny": {
            **VQGanSettings.presets["tiny"],
            "steps": 8,
            "denoising": 0.4,
            "perceptual": 0.0,
            "latents": 2,
            "denoising_rate": 3e-2,
            "average": 0.9,
            "chain": 10,
            "unet": 4,
            "multipliers": (1,),
            "heads": 2,
            "head_channels": 4,
            "sampling_steps": 3,
            "components": 2,
        },
    }
    architecture: ClassVar[tuple[str, ...]] = (
        *VQGanSettings.architecture, "unet", "multipliers", "heads", "head_channels", "conditional", "components",
    )  # fmt: skip

    @property
    def denoising_steps(self) -> int:
        """Of `steps` those of the diffusion model, where it has an autoencoder of its own."""
        return min(max(1, round(self.steps * self.denoising)), self.steps - 1)

    def resolve(self, traits: Traits) -> Self:
        """Decide the grid and the width of the U-Net.

        Raises:
            SettingsError: as the sentence says.
        """
        chosen = super().resolve(traits)
        if self.sampling_steps > self.chain:
            raise SettingsError(f"--settings.sampling_steps {self.sampling_steps}: the chain has {self.chain} steps")
        least = 3 if self.learns_features else 2
        if self.steps < least:
            raise SettingsError(f"--settings.steps {self.steps}: each stage takes one at least; take {least} or more")
        if self.conditional and len(traits.image_classes) < 2:
            raise SettingsError("--settings.conditional: found no two image classes (labels.csv); leave it out")
        return chosen.model_copy(update={"unet": self.unet or chosen.latent_shape[1]})


class VolumeOptions(GenerateOptions):
    """How volumes are made.

    Attributes:
        sampler: how the chain is walked; None: as the settings say.
        prior: "gaussian" draws latents from the Gaussian that was fitted to those of the training volumes, the control.
        image_class: of all volumes, where the model knows classes; empty: each in turn.
    """

    sampler: Sampler | None = None
    prior: Literal["diffusion", "gaussian"] = "diffusion"
    image_class: str = ""


class MedicalDiffusion(Generator, Encoder, OnVolumes):
    r"""Diffusion on the latents of a VQ-GAN (Khader et al., 2023), after "latent diffusion" (Rombach et al., 2022).

    .. math:: L = |\epsilon - \epsilon_\theta(\sqrt{\bar\alpha_t} z + \sqrt{1 - \bar\alpha_t} \epsilon, t)|_1

    for the latent z before it is quantised, scaled so that all codes reach from -1 to 1; T = 300, "cosine". What is
    drawn is quantised and decoded. The latents of the training volumes are computed once.

    It makes no masks, unless `with_masks` has it learn images and masks as channels of one volume (ours).

    Departures: see `FactorisedUNet`; averages are taken every step, and from the first one on.
    """

    card = CARDS["medical-diffusion"]
    Settings = MedicalDiffusionSettings
    settings: MedicalDiffusionSettings
    generate_with = VolumeOptions

    def __init__(
        self, settings: MedicalDiffusionSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None
    ) -> None:
        super().__init__(settings, traits, uses=uses)
        named = (uses or {}).get("autoencoder")
        of = settings
        self.own: VQGan | None = None
        if named is None:
            steps = of.steps - of.denoising_steps
            self.own = VQGan(of.model_copy(update={"steps": steps}), traits)
        elif not isinstance(named, VQGan):
            raise SettingsError(
                f"--use autoencoder: found {named.card.name}; expected a run of vq-gan, whose codes can be decoded"
            )
        else:
            _check_same(named, traits, of)
        kinds = len(traits.image_classes) if of.conditional else 0
        code, shape = self.autoencoder.settings.code, self.autoencoder.settings.latent_shape
        self.process = GaussianProcess(betas("cosine2", of.chain))
        self.denoiser = FactorisedUNet(
            code, width=of.unet or shape[1], multipliers=of.multipliers, heads=of.heads,
            head_channels=of.head_channels, classes=kinds,
        )  # fmt: skip
        self.gaussian = LatentGaussian((code, *shape), of.components)

    @property
    def autoencoder(self) -> VQGan:
        """Its own, or the one that it uses."""
        found = self.own if self.own is not None else self.uses["autoencoder"]
        if not isinstance(found, VQGan):
            raise SettingsError("--use autoencoder: expected a run of vq-gan")
        return found

    @property
    def preprocessing(self) -> Any:
        """That of the autoencoder."""
        return self.autoencoder.preprocessing

    def stages(self) -> Sequence[Stage]:
        """Those of the autoencoder, unless it is there; then the diffusion model on its latents."""
        of = self.settings
        known = ("image_class",) if of.conditional else ()
        player = Player(
            name="denoiser", modules=(self.denoiser,), rate=of.denoising_rate, schedule=of.schedule_of_rate,
            average=of.average, clip=1.0,
        )  # fmt: skip
        stage = Stage(
            name="denoiser",
            players=(player,),
            streams=(Stream(name="latents", reads=("image", LATENT, *known), batch=of.latents),),
            steps=of.steps if self.own is None else of.denoising_steps,
            objectives=self.denoise,
            prepares=(Prepared(name=LATENT, kind="image", make=self.prepare_latent, reads=(*self.reads, *known)),),
        )
        return (*(self.own.stages() if self.own is not None else ()), stage)

    def calibration(self) -> Calibration:
        """The Gaussian of the latents, a control for `synthesize --options.prior gaussian`."""
        return Calibration(stream=Stream(name="volumes", reads=self.reads), split="train", fit=self.fit_gaussian)

    def prepare_latent(self, batch: Batch, step: Step) -> Tensor:
        """The latent of one volume."""
        del step
        return self.autoencoder.latent(batch)

    def denoise(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The absolute error of the noise."""
        latents = batch["latents"]
        clean = latents.fields[LATENT].to(self.dtype)
        timestep = step.randint("timestep", 0, self.process.steps, count=len(clean))
        noise = step.randn("noise", like=clean)
        kind = latents.image_class if self.settings.conditional else None
        noisy = self.process.noised(clean, timestep, noise).to(self.dtype)
        yield "denoiser", {"denoising": F.l1_loss(exact(self.denoiser(noisy, timestep, kind)), noise)}

    def fit_gaussian(self, visit: Iterable[Batch], step: Step) -> None:
        """Fit the Gaussian to the latents of the training volumes, the first ones of many."""
        del step
        found = list[Tensor]()
        for batch in visit:
            if len(found) < MOST:
                found.append(self.autoencoder.latent(batch))
        self.gaussian.fit(torch.cat(found))

    def generate_options(self, options: GenerateOptions) -> GenerateOptions:
        """With the steps of the chain that are walked.

        Raises:
            SettingsError: more than it has, or a class that is not known.
        """
        chosen = VolumeOptions.of(dict(options))
        steps = chosen.steps or self.settings.sampling_steps
        if steps > self.settings.chain:
            raise SettingsError(f"--sampling-steps {steps}: the chain has {self.settings.chain} steps")
        if chosen.image_class:
            known = self.traits.image_classes if self.settings.conditional else ()
            if chosen.image_class not in known:
                raise SettingsError(
                    f"--options.image_class {chosen.image_class}: the model was trained on "
                    f"{', '.join(known) or 'no image classes; train with --settings.conditional True'}"
                )
            if chosen.prior == "gaussian":
                raise SettingsError("--options.prior gaussian: knows no image classes; leave out the class")
        return chosen.model_copy(update={"steps": steps})

    def generate(self, count: int, inference: Inference, given: Batch | None = None) -> Generation:
        """Volumes on the grid of the training, one by one."""
        del given
        made, kinds = list[Tensor](), list[int]()
        for number in range(inference.number, inference.number + count):
            volume, kind = self.drawn(replace(inference, number=number))
            made.append(volume.clamp(*RANGE))
            kinds.append(kind)
        known = self.settings.conditional and self._options(inference).prior == "diffusion"
        return self.generation(torch.cat(made), torch.tensor(kinds) if known else None)

    def drawn(self, inference: Inference) -> tuple[Tensor, int]:
        """One volume (1, channels, D, H, W), not clipped, and the number of its image class."""
        options, of = self._options(inference), self.settings
        like = self.gaussian.mean[None].to(self.dtype)
        start = inference.randn("start", like=like)
        names = self.traits.image_classes
        kind = inference.number % max(1, len(names))
        kind = names.index(options.image_class) if options.image_class else kind
        if options.prior == "gaussian":
            along = inference.randn("components", like=like.new_empty(1, len(self.gaussian.components)))
            return self.autoencoder.volume_of(self.gaussian.draw(along, start)), kind
        kinds = torch.tensor([kind], device=like.device) if of.conditional else None

        def model(noisy: Tensor, timestep: int) -> Guess:
            at = torch.full((1,), timestep, device=noisy.device)
            predicted = exact(self.denoiser(noisy.to(self.dtype), at, kinds))
            return Guess(self.process.x0_from(predicted, noisy, timestep, kind="eps"))

        walked = timesteps(of.chain, options.steps or of.sampling_steps, spacing="trailing")
        latent = SAMPLERS[options.sampler or of.sampler](
            model, start, process=self.process, timesteps=walked,
            draw=lambda purpose, like: inference.randn(purpose, like=like), clip=RANGE,
        ).x  # fmt: skip
        return self.autoencoder.volume_of(latent), kind

    def encode(self, batch: Batch, inference: Inference) -> Encoding:
        """What the autoencoder makes of images."""
        return self.autoencoder.encode(batch, inference)

    def decode(self, latent: Tensor, inference: Inference) -> Tensor:
        """The images (B, C, *S) of latents."""
        return self.autoencoder.decode(latent, inference)

    def pictures(self, batch: Batch, inference: Inference) -> Mapping[str, Tensor]:
        """A real volume beside what is made: by the diffusion model, and by the Gaussian of the latents."""
        volume, _ = self.volume(batch)
        found = dict(self.autoencoder.pictures(batch, inference))
        for prior, by in (
            ("diffusion", "the diffusion model"),
            ("gaussian", "the Gaussian of the latents, the control"),
        ):
            options = VolumeOptions.of({"prior": prior})
            one = replace(inference, options=options)
            made = [self.drawn(replace(one, number=number))[0] for number in range(SHOWN)]
            found[f"The middle slice of a real volume, and of {SHOWN} made by {by}"] = shown(torch.cat([volume, *made]))
        return found

    def _options(self, inference: Inference) -> VolumeOptions:
        options = inference.options
        return options if isinstance(options, VolumeOptions) else VolumeOptions()

    def _answers(self, name: str) -> bool:
        """The judges and what compares slices are no part of the model."""
        first, _, rest = name.partition(".")
        return rest.partition(".")[0] in VQGan.answering if first == "own" else True


def _check_same(named: VQGan, traits: Traits, settings: MedicalDiffusionSettings) -> None:
    """Make sure that an autoencoder is one for such volumes.

    Raises:
        SettingsError: it was trained on others.
    """
    found, wanted = named.traits, traits
    if found.channels != wanted.channels or found.slice_axis != wanted.slice_axis:
        raise SettingsError(
            f"--use autoencoder: it was trained on volumes with the channels {', '.join(found.channels)}, slices along "
            f"axis {found.slice_axis}; the data have {', '.join(wanted.channels)} and {wanted.slice_axis}; its latents "
            "would mean nothing; name a run on such data"
        )
    if named.settings.with_masks != settings.with_masks or (settings.with_masks and found.classes != wanted.classes):
        raise SettingsError(
            f"--use autoencoder: it was trained with_masks {named.settings.with_masks} on the classes "
            f"{', '.join(found.classes) or 'none'}; expected {settings.with_masks} and "
            f"{', '.join(wanted.classes) or 'none'}; give --settings.with_masks as that run has it"
        )
