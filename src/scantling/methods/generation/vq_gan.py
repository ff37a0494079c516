"""The first stage of Medical Diffusion: an autoencoder of volumes with a codebook, sharpened by two discriminators."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.metrics.regression import compute_ssim_and_cs
from torch import Tensor, nn
from torch.nn import functional as F

from scantling.contract.capabilities import Encoder
from scantling.contract.method import Method
from scantling.contract.results import Encoding
from scantling.contract.stage import Criterion, Game, Player, Stage, Visit, frozen
from scantling.contract.step import Inference, Step, Total
from scantling.core.errors import ArrayError, SettingsError
from scantling.core.samples import Batch, Traits
from scantling.core.streams import Augmentation, Stream
from scantling.diffusion.chain import exact
from scantling.losses.adversarial import feature_matching_loss, fooling_loss, telling_loss
from scantling.methods.catalogue import CARDS
from scantling.methods.features.factories import made_by
from scantling.methods.features.reader import network_read
from scantling.methods.generation.volumes import RANGE, OnVolumes, beyond, shown
from scantling.methods.generation.vq_settings import VQGanSettings
from scantling.networks.discriminators import patch_discriminator, slices_at
from scantling.networks.slice_features import SliceFeatures, perceptual_distance
from scantling.networks.vq_autoencoder import VQAutoencoder

FIRST = 4
"""The codebook begins with some of this many times as many vectors, or of all; ours."""


class VQGan(Encoder, OnVolumes):
    r"""The 3-D VQ-GAN of Medical Diffusion (Khader et al., 2023).

    .. math:: L = 4 |x - \hat x|_1 + 4\, d(x_s, \hat x_s) + ¼ |z - e|^2 - D_2(\hat x_s) - D_3(\hat x)
              + 4 \sum_D \frac{4}{n + 1} \sum_l |D^l(x) - D^l(\hat x)|_1

    with z of the encoder, e its nearest codes, s a random slice, d a perceptual distance, and l the n + 1 maps of a
    discriminator of n layers before its scores. The codes are moving averages and have no loss; they begin as vectors
    of the first volumes. The discriminators are trained by hinge.

    Departures: the discriminators' norms see one volume alone; d compares a small network's maps of the slices, which
    it has learned to restore, since weights learned from photographs are not shipped; moving averages of codes that
    begin anew begin anew too (in the authors' code they pull the code back).
    """

    card = CARDS["vq-gan"]
    Settings = VQGanSettings
    settings: VQGanSettings
    answering = ("network",)

    def __init__(self, settings: VQGanSettings, traits: Traits, *, uses: Mapping[str, Method] | None = None) -> None:
        super().__init__(settings, traits, uses=uses)
        of, channels = settings, self.width
        self.network = VQAutoencoder(
            channels, width=of.width, down=of.down, code=of.code, codes=of.codes, decay=of.decay, restart=of.restart
        )
        self.judges = nn.ModuleDict(
            {
                name: patch_discriminator(
                    axes, channels, width=of.judge, layers=of.judge_layers, norm="group", padding=2
                )
                for name, axes in (("slices", 2), ("volumes", 3))
            }
        )
        self.features = SliceFeatures(channels) if of.learns_features else None
        self._yours: list[nn.Module] = []  # no part of the model: it is needed for training alone

    def stages(self) -> Sequence[Stage]:
        """The network that compares slices, where it is an own one; then the autoencoder against its judges."""
        of, stages = self.settings, list[Stage]()
        augment = Augmentation(turns=False) if of.flips else None
        stream = Stream(name="volumes", reads=self.reads, batch=of.batch, augment=augment)
        if self.features is not None:
            player = Player(name="features", modules=(self.features,), rate=1e-3, schedule="cosine")
            stages.append(
                Stage(
                    name="slice features", players=(player,), streams=(stream,), steps=of.feature_steps,
                    objectives=self.restore,
                )
            )  # fmt: skip
        common: dict[str, Any] = {
            "rate": of.rate, "betas": (0.5, 0.9), "clip": 1.0, "schedule": of.schedule_of_rate,
        }  # fmt: skip
        stages.append(
            Stage(
                name="autoencoder",
                players=(
                    Player(name="autoencoder", modules=(self.network,), **common),
                    Player(name="judges", modules=(self.judges,), **common),
                ),
                streams=(stream,),
                steps=of.steps - of.feature_steps,
                objectives=self.reconstruct,
                prepare=self.first_codes,
                stepped=self.move_codes,
                criterion=Criterion(name="psnr", direction="max", value=self.measures, visits=("volumes",)),
            )
        )
        return stages

    def restore(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The network of the perceptual term restores slices that were spoilt."""
        volume, _ = self.volume(batch["volumes"])
        slices = slices_at(volume, step.randint("slice", 0, volume.shape[2], count=len(volume)))
        restored = self._features().restored(slices, step.randn("noise", like=slices))
        yield "features", {"restoring": F.l1_loss(exact(restored), slices)}

    def first_codes(self, visit: Visit, step: Step) -> Mapping[str, Tensor]:
        """The codes begin as vectors of the first volumes, in the order of their ids."""
        found, wanted = list[Tensor](), FIRST * self.settings.codes
        for batch in visit("volumes"):
            found.append(rows_of(self.network.encode(self.volume(batch)[0])))
            if sum(map(len, found)) >= wanted:
                break
        try:
            self.network.codebook.begin(torch.cat(found), step.generator("first codes"))
        except ArrayError as error:
            raise SettingsError(f"--settings.codes {self.settings.codes}: {error}; take fewer codes") from None
        return {}

    def reconstruct(self, batch: Mapping[str, Batch], step: Step) -> Game:
        """The autoencoder's move, and then, once they judge, the discriminators'."""
        of = self.settings
        volume, known = self.volume(batch["volumes"])
        made, z, codes, numbers = self.network(volume)
        made, z = exact(made), exact(z)
        statistics = yield Total(self.network.codebook.statistics(z, numbers))
        places = step.randint("slice", 0, volume.shape[2], count=len(volume))
        seen = {"slices": (slices_at(volume, places), slices_at(made, places)), "volumes": (volume, made)}
        terms = {
            "reconstruction": of.reconstruction * ((made - volume).abs() * known).mean(),
            "commitment": of.commitment * F.mse_loss(z, codes.to(z.dtype)),
        }
        if of.perceptual:
            real, fake = (self.maps(each) for each in seen["slices"])
            terms["perceptual"] = of.perceptual * perceptual_distance(real, fake)
        judged = step.progress >= of.judged_from
        if judged:
            matching = []
            with frozen(self.judges):
                for name, (real_ones, fakes) in seen.items():
                    maps = self._judged(name, fakes)
                    with torch.no_grad():
                        wanted = self._judged(name, real_ones)
                    terms[f"fooling {name}"] = getattr(of, name) * fooling_loss(maps[-1])
                    matching.append(feature_matching_loss(wanted[:-1], maps[:-1]))
            terms["matching"] = of.matching * 4 * torch.stack(matching).sum()
        yield "autoencoder", terms
        if judged:
            yield (
                "judges",
                {
                    name: telling_loss(self._judged(name, real_ones)[-1], self._judged(name, fakes.detach())[-1])
                    for name, (real_ones, fakes) in seen.items()
                },
            )
        return statistics, step.gather(z.detach())

    def move_codes(self, step: Step, returned: Sequence[Any]) -> None:
        """The codes follow what fell to them in the whole step."""
        vectors = torch.cat([rows_of(z) for _, z in returned])
        self.network.codebook.move(returned[0][0], vectors, step.generator("dead codes"))

    def measures(self, visit: Visit, step: Step) -> Mapping[str, float]:
        """How well validation volumes are restored: PSNR in dB and SSIM, of images alone, means over volumes; the share
        of the codes that all of them use; the share of voxels beyond the range of the data ("white dots")."""
        del step
        found, used = list[tuple[float, float, float]](), set[int]()
        for batch in visit("volumes"):
            volume, _ = self.volume(batch)
            made, _, _, numbers = self.network(volume)
            used |= set(numbers.unique().tolist())
            found.append(fidelity(*(each[:, : len(self.traits.channels)] for each in (volume, made))))
        if not found:
            return {"psnr": math.nan}
        psnr, ssim, dots = torch.tensor(found, dtype=torch.float64).mean(0).tolist()
        return {"psnr": psnr, "ssim": ssim, "codes used": len(used) / self.settings.codes, "white dots": dots}

    def encode(self, batch: Batch, inference: Inference) -> Encoding:
        """Latents (B, code, D, H, W), the slice axis first, in the range of the codes; before they are quantised."""
        del inference
        latent = self.latent(batch)
        return Encoding(features={"latent": latent}, latent=latent)

    def decode(self, latent: Tensor, inference: Inference) -> Tensor:
        """The images (B, C, *S) of latents."""
        del inference
        images = self.generation(self.volume_of(latent)).images
        if images is None:
            raise SettingsError("a volume has no images")
        return images

    def latent(self, batch: Batch) -> Tensor:
        """z of the encoder, so that the codes reach from -1 to 1: about the range of z, which is kept near to them."""
        low, high = self.network.codebook.range
        z: Tensor = exact(self.network.encode(self.volume(batch)[0]))
        return 2 * (z - low) / (high - low) - 1

    def volume_of(self, latent: Tensor) -> Tensor:
        """The volume (B, channels, D, H, W) of a latent, quantised first; nothing is clipped."""
        low, high = self.network.codebook.range
        codes, _ = self.network.codebook((exact(latent) + 1) / 2 * (high - low) + low)
        return exact(self.network.decode(codes.to(self.dtype)))

    def pictures(self, batch: Batch, inference: Inference) -> Mapping[str, Tensor]:
        """The middle slice of a volume, and what is left of it."""
        volume, _ = self.volume(batch)
        made = self.volume_of(self.latent(batch)).clamp(*RANGE)
        return {"The middle slice of a volume, and of what the codes keep of it": shown(torch.cat([volume, made]))}

    def maps(self, slices: Tensor) -> list[Tensor]:
        """What the perceptual term compares of slices (B, C, H, W)."""
        of = self.settings
        if of.learns_features:
            return [exact(one) for one in self._features()(slices)]
        if not self._yours:
            self._yours.append(made_by(of.perceptual_network).eval().requires_grad_(False).to(slices.device))
        read = network_read(self._yours[0], of.perceptual_layers, name=of.perceptual_network)
        none = torch.zeros(len(slices), dtype=torch.int64, device=slices.device)
        image = slices[:, : len(self.traits.channels)]
        return [exact(one) for one in read(Batch(none, none, {"image": image})).values()]

    def _features(self) -> SliceFeatures:
        if self.features is None:
            raise SettingsError("the perceptual term has no network of its own")
        return self.features

    def _judged(self, name: str, images: Tensor) -> list[Tensor]:
        return [exact(one) for one in self.judges[name](images)]


def rows_of(z: Tensor) -> Tensor:
    """(N, C) of (B, C, *s)."""
    return exact(z).movedim(1, -1).flatten(0, -2)


def fidelity(volume: Tensor, made: Tensor) -> tuple[float, float, float]:
    """PSNR in dB and SSIM of a volume (1, C, D, H, W) in [-1, 1] that was restored, and the share of voxels beyond.

    SSIM (Wang et al., 2004) with a Gaussian window of 7 voxels, or of the shortest side.
    """
    made, volume = made.float(), volume.float()
    error = float((made - volume).square().mean())
    window = min(7, *(n - (n + 1) % 2 for n in volume.shape[2:]))
    ssim, _ = compute_ssim_and_cs(
        made, volume, spatial_dims=3, data_range=2.0, kernel_size=(window,) * 3, kernel_sigma=(1.5,) * 3
    )
    return 10 * math.log10(4 / max(error, 1e-12)), float(ssim.mean()), beyond(made)
