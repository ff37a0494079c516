"""The optimisers of players, and their learning rates over the steps of a stage."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from scantling.contract.schedules import SCHEDULES
from scantling.contract.stage import Player


def rate_at(player: Player, step: int, steps: int) -> float:
    """The learning rate of a step, 0 to `steps` - 1."""
    if step < player.warmup:
        return player.rate * (step + 1) / (player.warmup + 1)
    done = (step - player.warmup) / max(steps - player.warmup, 1)
    if callable(player.schedule):
        return player.rate * player.schedule(done)
    return SCHEDULES[player.schedule](done, player.rate)


def optimiser_of(player: Player, parameters: list[nn.Parameter], factors: Mapping[int, float]) -> torch.optim.Optimizer:
    """The optimiser of a player.

    Args:
        parameters: the player's.
        factors: on the learning rate, by `id` of a parameter; 1 for others. Each makes a group of parameters, in which
            it stands as "factor".
    """
    by_factor: dict[float, list[nn.Parameter]] = {}
    for parameter in parameters:
        by_factor.setdefault(factors.get(id(parameter), 1.0), []).append(parameter)
    groups = [{"params": own, "factor": factor} for factor, own in by_factor.items()]
    if player.optimiser == "sgd":
        return torch.optim.SGD(
            groups,
            player.rate,
            momentum=player.betas[0],
            weight_decay=player.weight_decay,
            nesterov=player.betas[0] > 0,
        )
    kind = torch.optim.AdamW if player.optimiser == "adamw" else torch.optim.Adam
    return kind(groups, player.rate, betas=player.betas, weight_decay=player.weight_decay)
