"""What a text-to-image model is told of an image that nobody has described: an implicit caption."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ImplicitCaptioner(nn.Module):
    r"""A prompt made of an embedding e of the image (Xu et al., 2023, ODISE).

    .. math:: c = T(\text{""}) + \tanh(\alpha) \odot (W e + P), \quad
              \Delta = \tanh(\alpha') \odot W' e

    α and α' start at zero, so that c begins as the empty prompt and the offset Δ of the time embedding as 0.

    Args:
        width: of e.
        tokens, features: of the prompt.
        time: the width of the time embedding.
    """

    def __init__(self, width: int, *, tokens: int, features: int, time: int) -> None:
        super().__init__()
        self.words, self.time = nn.Linear(width, features), nn.Linear(width, time)
        self.places = nn.Parameter(0.02 * torch.randn(tokens, features))
        self.gate = nn.Parameter(torch.zeros(tokens, features))
        self.time_gate = nn.Parameter(torch.zeros(time))

    def forward(self, embedding: Tensor, prompt: Tensor) -> tuple[Tensor, Tensor]:
        """The prompt (B, tokens, features) and the offset (B, time) for embeddings (B, width).

        Args:
            prompt: (1, tokens, features), the empty one.
        """
        words = self.words(embedding)[:, None] + self.places
        return prompt + self.gate.tanh() * words, self.time_gate.tanh() * self.time(embedding)
