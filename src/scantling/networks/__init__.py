"""Architectures: tensors in, tensors out.

`UNet` and `FRUNet` are made from a number of channels that come in and go out and segment in `forward`;
`RegistrationNetwork` takes two images. `Denoiser` and
`DiffusionTransformerUNet` also take timesteps, and are steered by what stands in `conditioning`, `spectral`, `pyramid`
and `control`; examples are in their docstrings. All take images of any size, those of one channel beside another
number are refused in a sentence, and all run in `monai.inferers.sliding_window_inference`. The discriminators
of our methods are MONAI's, as `patch_discriminator` builds them; `VQAutoencoder` and `FactorisedUNet` see volumes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scantling.core.rooms import load_on_demand

if TYPE_CHECKING:
    from scantling.networks.box_decoder import BoxDecoder, DynamicConvolution
    from scantling.networks.box_pyramid import BoxPyramid
    from scantling.networks.codebook import Codebook, nearest_codes
    from scantling.networks.conditioning import Anchor, ConditionUNet, DynamicEncoding, ImageEncoder, Seen, level_sizes
    from scantling.networks.control import ControlNet
    from scantling.networks.denoiser import Denoiser, SelfAttention, sinusoid
    from scantling.networks.diff_augment import diff_augment
    from scantling.networks.discriminators import patch_discriminator
    from scantling.networks.dtu_net import CrossAttention, DiffusionTransformerUNet, MultiSizeBlock
    from scantling.networks.encoded_unet import EncodedUNet
    from scantling.networks.factorised_unet import FactorisedUNet
    from scantling.networks.fr_unet import FRUNet
    from scantling.networks.hover_net import HoVerNet
    from scantling.networks.instance_masks import MaskBranch, aligned_bilinear, instance_logits
    from scantling.networks.kinetic_unet import KineticUNet
    from scantling.networks.modality_unet import ModalityUNet
    from scantling.networks.noisy_classifier import NoisyClassifier
    from scantling.networks.padding import cropped, padded
    from scantling.networks.pyramid import ConvolutionalPyramid, Guidance, TransformerPyramid
    from scantling.networks.registration import RegistrationNetwork
    from scantling.networks.replay import ReplayPool
    from scantling.networks.residual_blocks import ResidualBlock
    from scantling.networks.roi_align import RoIAlign
    from scantling.networks.spade import SwitchableBlock, SwitchableGenerator, SwitchableNorm
    from scantling.networks.spectral import BandPass, FFParser, SpectralAttention, SSFormer
    from scantling.networks.spectral_norm import SpectralNorm, power_iteration, spectral_norm
    from scantling.networks.ssd import SSD
    from scantling.networks.unet import UNet
    from scantling.networks.vgg import VGGJudge, VGGTrunk
    from scantling.networks.vq_autoencoder import VQAutoencoder
    from scantling.networks.windows import PatchExpanding, PatchMerging, WindowAttention

__all__ = [
    "SSD",
    "Anchor",
    "BandPass",
    "BoxDecoder",
    "BoxPyramid",
    "Codebook",
    "ConditionUNet",
    "ControlNet",
    "ConvolutionalPyramid",
    "CrossAttention",
    "Denoiser",
    "DiffusionTransformerUNet",
    "DynamicConvolution",
    "DynamicEncoding",
    "EncodedUNet",
    "FFParser",
    "FRUNet",
    "FactorisedUNet",
    "Guidance",
    "HoVerNet",
    "ImageEncoder",
    "KineticUNet",
    "MaskBranch",
    "ModalityUNet",
    "MultiSizeBlock",
    "NoisyClassifier",
    "PatchExpanding",
    "PatchMerging",
    "RegistrationNetwork",
    "ReplayPool",
    "ResidualBlock",
    "RoIAlign",
    "SSFormer",
    "Seen",
    "SelfAttention",
    "SpectralAttention",
    "SpectralNorm",
    "SwitchableBlock",
    "SwitchableGenerator",
    "SwitchableNorm",
    "TransformerPyramid",
    "UNet",
    "VGGJudge",
    "VGGTrunk",
    "VQAutoencoder",
    "WindowAttention",
    "aligned_bilinear",
    "cropped",
    "diff_augment",
    "instance_logits",
    "level_sizes",
    "nearest_codes",
    "padded",
    "patch_discriminator",
    "power_iteration",
    "sinusoid",
    "spectral_norm",
]

load_on_demand(
    __name__,
    {
        "vq_autoencoder": ("VQAutoencoder",),
        "factorised_unet": ("FactorisedUNet",),
        "diff_augment": ("diff_augment",),
        "discriminators": ("patch_discriminator",),
        "box_decoder": ("BoxDecoder", "DynamicConvolution"),
        "box_pyramid": ("BoxPyramid",),
        "codebook": (
            "Codebook",
            "nearest_codes",
        ),
        "conditioning": ("Anchor", "ConditionUNet", "DynamicEncoding", "ImageEncoder", "Seen", "level_sizes"),
        "control": ("ControlNet",),
        "denoiser": ("Denoiser", "SelfAttention", "sinusoid"),
        "residual_blocks": ("ResidualBlock",),
        "dtu_net": ("CrossAttention", "DiffusionTransformerUNet", "MultiSizeBlock"),
        "encoded_unet": ("EncodedUNet",),
        "fr_unet": ("FRUNet",),
        "hover_net": ("HoVerNet",),
        "instance_masks": ("MaskBranch", "aligned_bilinear", "instance_logits"),
        "kinetic_unet": ("KineticUNet",),
        "modality_unet": ("ModalityUNet",),
        "noisy_classifier": ("NoisyClassifier",),
        "padding": ("cropped", "padded"),
        "pyramid": ("ConvolutionalPyramid", "Guidance", "TransformerPyramid"),
        "registration": ("RegistrationNetwork",),
        "replay": ("ReplayPool",),
        "roi_align": ("RoIAlign",),
        "ssd": ("SSD",),
        "spade": ("SwitchableBlock", "SwitchableGenerator", "SwitchableNorm"),
        "spectral": ("BandPass", "FFParser", "SSFormer", "SpectralAttention"),
        "spectral_norm": ("SpectralNorm", "power_iteration", "spectral_norm"),
        "unet": ("UNet",),
        "vgg": ("VGGJudge", "VGGTrunk"),
        "windows": ("PatchExpanding", "PatchMerging", "WindowAttention"),
    },
)
