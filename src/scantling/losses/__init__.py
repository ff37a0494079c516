"""What training minimises: functions of logits (B, C, *S) or probabilities (B, K, *S), and of a target.

A target is one of two things, said by its channels: (B, 1, *S) of class numbers, 0 the background and 1..K, or
(B, K, *S) of 0 and 1, one channel for each class that is not the background (`monai.networks.one_hot` without its
first). Of one class both are the same. `cross_entropy` takes logits; the others take probabilities, which
`probabilities_of(logits, K)` makes of logits. 255 is refused unless `ignore_index=255` declares that it marks pixels
that do not count; in the masks of a `Batch` it does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scantling.core.rooms import load_on_demand

if TYPE_CHECKING:
    from scantling.losses.adversarial import (
        feature_matching_loss,
        fooling_loss,
        r1_penalty,
        slope_penalty,
        telling_loss,
    )
    from scantling.losses.continuity import soft_cldice_loss, soft_skeleton
    from scantling.losses.orientation import crossing, mask_structure, smoothed, trace
    from scantling.losses.overlap import (
        batch_dice_loss,
        binary_cross_entropy,
        class_channels,
        cross_entropy,
        dice_loss,
        overlap_sums,
        probabilities_of,
    )
    from scantling.losses.patch_contrast import PatchContrast
    from scantling.losses.registration import bending_energy, local_correlation_loss, soft_overlap_loss
    from scantling.losses.skeleton_recall import skeleton_recall_loss, tubed_skeleton

__all__ = [
    "PatchContrast",
    "batch_dice_loss",
    "bending_energy",
    "binary_cross_entropy",
    "class_channels",
    "cross_entropy",
    "crossing",
    "dice_loss",
    "feature_matching_loss",
    "fooling_loss",
    "local_correlation_loss",
    "mask_structure",
    "overlap_sums",
    "probabilities_of",
    "r1_penalty",
    "skeleton_recall_loss",
    "slope_penalty",
    "smoothed",
    "soft_cldice_loss",
    "soft_overlap_loss",
    "soft_skeleton",
    "telling_loss",
    "trace",
    "tubed_skeleton",
]

load_on_demand(
    __name__,
    {
        "adversarial": ("feature_matching_loss", "fooling_loss", "r1_penalty", "slope_penalty", "telling_loss"),
        "continuity": ("soft_cldice_loss", "soft_skeleton"),
        "orientation": ("crossing", "mask_structure", "smoothed", "trace"),
        "overlap": (
            "batch_dice_loss",
            "binary_cross_entropy",
            "class_channels",
            "cross_entropy",
            "dice_loss",
            "overlap_sums",
            "probabilities_of",
        ),
        "patch_contrast": ("PatchContrast",),
        "registration": ("bending_energy", "local_correlation_loss", "soft_overlap_loss"),
        "skeleton_recall": ("skeleton_recall_loss", "tubed_skeleton"),
    },
)
