"""The cards of the methods that make masks by diffusion."""

from __future__ import annotations

from scantling.contract.card import Card

CARDS: tuple[Card, ...] = (
    Card(
        name="berdiff",
        title="BerDiff: conditional Bernoulli diffusion model for medical image segmentation",
        authors="Chen, Wang, Shan",
        year=2023,
        needs=(("image", "mask"),),
        gives=("segment",),
        dimensions=(2,),
        fits="cross_entropy",
        implementation="scantling.methods.mask_diffusion.berdiff:BerDiff",
    ),
    Card(
        name="medsegdiff",
        title="MedSegDiff: medical image segmentation with diffusion probabilistic model",
        authors="Wu et al.",
        year=2023,
        needs=(("image", "mask"),),
        gives=("segment",),
        dimensions=(2,),
        fits="denoising",
        implementation="scantling.methods.mask_diffusion.medsegdiff:MedSegDiff",
    ),
    Card(
        name="medsegdiff-v2",
        title="MedSegDiff-V2: diffusion-based medical image segmentation with transformer",
        authors="Wu et al.",
        year=2024,
        needs=(("image", "mask"),),
        gives=("segment",),
        dimensions=(2,),
        fits="denoising",
        implementation="scantling.methods.mask_diffusion.medsegdiff_v2:MedSegDiffV2",
    ),
    Card(
        name="dtu-net",
        title="Diffusion transformer U-Net for medical image segmentation",
        authors="Chowdary, Yin",
        year=2023,
        needs=(("image", "mask"),),
        gives=("segment",),
        dimensions=(2,),
        fits="denoising",
        implementation="scantling.methods.mask_diffusion.dtu_net:DTUNet",
    ),
    Card(
        name="mb-diff",
        title="Medical boundary diffusion model for skin lesion segmentation",
        authors="Wang, Yang, Zhou, Wang",
        year=2023,
        needs=(("image", "mask"),),
        gives=("segment",),
        dimensions=(2,),
        fits="denoising",
        implementation="scantling.methods.mask_diffusion.mb_diff:MBDiff",
    ),
    Card(
        name="ei-ddpm",
        title="Learning reliability of multi-modality medical images for tumor segmentation via evidence-identified "
        "denoising diffusion probabilistic models",
        authors="Zhao, Li",
        year=2023,
        needs=(("image", "mask"),),
        gives=("segment",),
        dimensions=(2,),
        channels=2,
        fits="denoising",
        implementation="scantling.methods.mask_diffusion.ei_ddpm:EIDDPM",
    ),
)
