"""Queries that become masks: masked attention, what lies under a mask, and how alike that is to a word."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scantling.networks.pixel_decoder import positions

HIGHEST = 100.0
"""The greatest factor of a cosine (Radford et al., 2021, CLIP)."""


class Masks(NamedTuple):
    """What queries say after a layer.

    Attributes:
        queries: (B, Q, C), normed.
        logits: (B, Q, h, w) of their masks, on the grid of the mask features.
    """

    queries: Tensor
    logits: Tensor


class QueryLayer(nn.Module):
    """Queries look at the image where their masks are, then at each other (Cheng et al., 2022)."""

    def __init__(self, width: int, *, heads: int, inner: int) -> None:
        super().__init__()
        self.cross = nn.MultiheadAttention(width, heads, batch_first=True)
        self.among = nn.MultiheadAttention(width, heads, batch_first=True)
        self.inner = nn.Sequential(nn.Linear(width, inner), nn.ReLU(), nn.Linear(inner, width))
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(3)])

    def forward(self, x: Tensor, code: Tensor, memory: Tensor, places: Tensor, hidden: Tensor) -> Tensor:
        """Queries (B, Q, C) as they came.

        Args:
            code: (Q, C), which query each is.
            memory, places: (B, N, C) and (1, N, C), the cells of a map and where they lie.
            hidden: (B, Q, N) bool, the cells that a query does not see.
        """
        blind = hidden.repeat_interleave(self.cross.num_heads, 0)
        seen, _ = self.cross(x + code, memory + places, memory, attn_mask=blind, need_weights=False)
        x = self.norms[0](x + seen)
        told, _ = self.among(x + code, x + code, x, need_weights=False)
        x = self.norms[1](x + told)
        out: Tensor = self.norms[2](x + self.inner(x))
        return out


class MaskDecoder(nn.Module):
    """The decoder of Mask2Former: N queries, each with a mask after every layer; the maps take turns, coarsest first.

    A query whose mask is empty on a map sees all of it.

    Args:
        width: of queries, maps and mask features.
        queries: how many.
        levels: maps that they attend to.
        layers, heads, inner: of the decoder.
    """

    def __init__(
        self, width: int = 256, *, queries: int = 100, levels: int = 3, layers: int = 9, heads: int = 8,
        inner: int = 2048,
    ) -> None:  # fmt: skip
        super().__init__()
        self.queries, self.codes = (nn.Parameter(torch.randn(queries, width)) for _ in range(2))
        self.level_code = nn.Parameter(torch.randn(levels, width))
        self.layers = nn.ModuleList(QueryLayer(width, heads=heads, inner=inner) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.masks = perceptron(width, width, width)

    def forward(self, maps: Sequence[Tensor], features: Tensor) -> list[Masks]:
        """What the queries say at first and after each layer.

        Args:
            maps: (B, C, h, w), the coarsest first.
            features: (B, C, H, W), of the masks.
        """
        memory = [one.flatten(2).transpose(1, 2) + self.level_code[level] for level, one in enumerate(maps)]
        places = [positions(one).flatten(2).transpose(1, 2) for one in maps]
        x = self.queries.expand(len(features), -1, -1)
        found = [self.said(x, features)]
        for number, layer in enumerate(self.layers):
            level = number % len(maps)
            hidden = unseen(found[-1].logits, (maps[level].shape[2], maps[level].shape[3]))
            x = layer(x, self.codes, memory[level], places[level], hidden)
            found.append(self.said(x, features))
        return found

    def said(self, x: Tensor, features: Tensor) -> Masks:
        """The masks of queries (B, Q, C)."""
        normed = self.norm(x)
        return Masks(normed, torch.einsum("bqc,bchw->bqhw", self.masks(normed), features))


@torch.no_grad()
def unseen(logits: Tensor, shape: tuple[int, int]) -> Tensor:
    """(B, Q, h w) bool, the cells that lie outside a mask, of mask logits (B, Q, H, W); none of an empty mask."""
    small = F.interpolate(logits, shape, mode="bilinear", align_corners=False).flatten(2)
    outside = small < 0
    return outside & ~outside.all(2, keepdim=True)


class MaskEmbedding(nn.Module):
    """z of each mask: what the mask features are under it and what its query says (Xu et al., 2023, ODISE).

    Args:
        width: of queries and mask features.
        outputs: of z, the width of the embeddings of words.
    """

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width))
        self.embed = nn.Sequential(nn.LayerNorm(width), perceptron(width, width, outputs))

    def forward(self, said: Masks, features: Tensor) -> Tensor:
        """(B, Q, outputs)."""
        under = pooled_under(features, said.logits)
        z: Tensor = self.embed(self.project(under) + said.queries)
        return z


def pooled_under(features: Tensor, logits: Tensor) -> Tensor:
    """The mean (B, Q, C) of maps (B, C, h, w) under masks of logits (B, Q, h, w); 0 under an empty mask.

    No gradient goes into the masks.
    """
    inside = (logits.detach() > 0).to(features.dtype)
    summed = torch.einsum("bqhw,bchw->bqc", inside, features)
    return summed / inside.flatten(2).sum(2, keepdim=True).clamp(min=1)


class Words(nn.Module):
    r"""How alike masks are to words: exp(s) cos(z, T(c)), with s learned (from 1 / 0.07, at most 100).

    A class may have several words, of which the likest counts; "nothing" is one more word, which is learned.

    Args:
        width: of z.
        classes: how many are learned; 0 where all words come from a text encoder.
        nothing: whether "nothing" is a word.
    """

    def __init__(self, width: int, classes: int = 0, *, nothing: bool = True) -> None:
        super().__init__()
        self.learned = nn.Parameter(torch.randn(classes, width) / math.sqrt(width)) if classes else None
        self.nothing = nn.Parameter(torch.randn(1, width) / math.sqrt(width)) if nothing else None
        self.scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, z: Tensor, words: Tensor | None = None, of: Tensor | None = None) -> Tensor:
        """Logits (..., K + 1) of z (..., D), that of "nothing" the last one; (..., K) where it is no word.

        Args:
            words: (S, D); None: those that are learned.
            of: (S,) int64, the class of each word, from 0; None: each is a class of its own.
        """
        chosen = self.learned if words is None else words
        if chosen is None:
            raise ValueError("no words were learned; expected their embeddings")
        logits = self.alike(z, chosen)
        logits = logits if of is None else likest(logits, of)
        return logits if self.nothing is None else torch.cat([logits, self.alike(z, self.nothing)], -1)

    def alike(self, z: Tensor, words: Tensor) -> Tensor:
        """exp(s) cos (..., S) of z (..., D) and words (S, D)."""
        cosine = F.normalize(z, dim=-1) @ F.normalize(words.to(z.dtype), dim=-1).T
        return self.scale.exp().clamp(max=HIGHEST) * cosine


def likest(logits: Tensor, of: Tensor) -> Tensor:
    """The greatest logit (..., K) among the words of each class, of logits (..., S) and their classes (S,)."""
    shape = (*logits.shape[:-1], int(of.max()) + 1)
    return logits.new_full(shape, -torch.inf).scatter_reduce(-1, of.expand(logits.shape), logits, "amax")


def fused(ours: Tensor, theirs: Tensor, weight: Tensor) -> Tensor:
    r"""p_1^{1-w} p_2^w over its sum: the weighted geometric mean of two distributions (..., K) (Xu et al., 2023).

    Args:
        weight: w in [0, 1], (K,): 0 leaves `ours`, 1 leaves `theirs`.
    """
    tiny = torch.finfo(ours.dtype).tiny
    mean = (1 - weight) * ours.clamp(min=tiny).log() + weight * theirs.clamp(min=tiny).log()
    return mean.softmax(-1)


def with_nothing(classes: Tensor, nothing: Tensor) -> Tensor:
    """Probabilities (..., K + 1) that sum to 1: of classes (..., K) if there is something, and of nothing (..., 1)."""
    return torch.cat([classes * (1 - nothing), nothing], -1)


def perceptron(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Three linear layers with ReLU between them."""
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, outputs)
    )
