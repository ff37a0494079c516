"""Words of a caption found in an image: how well each finds its mask, against other captions and other images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def caption_similarity(agreement: Tensor) -> Tensor:
    r"""How alike each of B images is to the words of a caption, (B,) (Ghiasi et al., 2022, OpenSeg; Xu et al., 2023).

    .. math:: \frac{1}{W} \sum_w \sum_q \mathrm{softmax}_q(s_{qw})\, s_{qw}

    Args:
        agreement: s (B, Q, W), of each mask of an image and each word.
    """
    return (agreement.softmax(1) * agreement).sum(1).mean(1)


def grounding_loss(agreements: Sequence[Tensor]) -> Tensor:
    """The symmetric InfoNCE of B images and their captions (van den Oord et al., 2018): 0 of a single one.

    Args:
        agreements: for each caption the agreement (B, Q, W) of all images with its words, times the inverse
            temperature; caption n is that of image n.
    """
    similar = torch.stack([caption_similarity(each) for each in agreements], 1)  # (B images, B captions)
    own = torch.arange(len(similar), device=similar.device)
    return (F.cross_entropy(similar, own) + F.cross_entropy(similar.T, own)) / 2
