"""Weights of the guided-diffusion code (Dhariwal and Nichol, 2021) in a `Denoiser`: the same network by other names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from scantling.core.errors import FileError
from scantling.networks.denoiser import Denoiser, SelfAttention, Step
from scantling.networks.residual_blocks import ResidualBlock

EXPECTED = "the state dict of a U-Net of guided-diffusion, as .pt or .safetensors"


def load_guided(network: Denoiser, path: Path) -> None:
    """Give a network the weights of a file; one without attention there has none here.

    Raises:
        FileError: the file cannot be read, holds more than tensors, or is of another network.
    """
    found = dict(read_weights(path))
    own = network.state_dict()
    new: dict[str, Tensor] = {}
    for layer, theirs, kind in pairs(network):
        for part in ("weight", "bias"):
            name, wanted = f"{theirs}.{part}", own[f"{layer}.{part}"]
            if name not in found:
                raise FileError(path, f"has no {name}, the {layer} of this network", expected=_described(network))
            tensor = found.pop(name)
            if tensor.numel() != wanted.numel() or len(tensor) != len(wanted):
                shapes = f"{tuple(tensor.shape)}, where this network has {tuple(wanted.shape)}"
                raise FileError(path, f"has {name} of the shape {shapes}", expected=_described(network))
            if isinstance(kind, SelfAttention):
                tensor = _by_kind(tensor, kind.heads)
            new[f"{layer}.{part}"] = tensor.reshape(wanted.shape).to(wanted.dtype)
    if found:
        raise FileError(path, f"has {next(iter(found))}, which this network has not", expected=_described(network))
    network.load_state_dict(new)


def read_weights(path: Path) -> Mapping[str, Tensor]:
    """The tensors of a file by name; nothing in it is run.

    Raises:
        FileError: it cannot be read, or holds more than tensors.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch passes on what zipfile, its unpickler and the system raise
        if type(error).__name__ == "UnpicklingError":
            found = "holds more than tensors, and nothing in it is run"
        else:
            found = f"cannot be read ({(str(error).splitlines() or [type(error).__name__])[0]})"
        raise FileError(path, found, expected=EXPECTED) from None
    if not isinstance(found, Mapping) or not all(isinstance(tensor, Tensor) for tensor in found.values()):
        raise FileError(path, f"holds a {type(found).__name__} of other things than tensors", expected=EXPECTED)
    return found


def pairs(network: Denoiser) -> Iterator[tuple[str, str, nn.Module | None]]:
    """The name of each layer with weights here and there; of what an attention asks with, also the attention."""
    yield "time.0", "time_embed.0", None
    yield "time.2", "time_embed.2", None
    yield "stem", "input_blocks.0.0", None
    place = 1
    for level in range(len(network.widths)):
        if level:
            yield from _resampling(network.coarser[level - 1], f"coarser.{level - 1}", f"input_blocks.{place}.0", "op")
            place += 1
        for number in range(level * network.blocks, (level + 1) * network.blocks):
            yield from _step(network.down[number], f"down.{number}", f"input_blocks.{place}.{{}}")
            place += 1
    yield from _step(network.middle[0], "middle.0", "middle_block.{}")
    yield from _block(network.middle[1].block, "middle.1.block", "middle_block.2")  # type: ignore[arg-type]
    for number, step in enumerate(network.up):
        yield from _step(step, f"up.{number}", f"output_blocks.{number}.{{}}")
        level, last = divmod(number + 1, network.blocks + 1)
        if not last and level <= len(network.finer):
            there = f"output_blocks.{number}.{1 + isinstance(step.attention, SelfAttention)}"
            yield from _resampling(network.finer[level - 1], f"finer.{level - 1}", there, "conv")
    yield "head.0", "out.0", None
    yield "head.2", "out.2", None


def _step(step: nn.Module, here: str, there: str) -> Iterator[tuple[str, str, nn.Module | None]]:
    if not isinstance(step, Step):
        raise TypeError(type(step).__name__)
    yield from _block(step.block, f"{here}.block", there.format(0))
    if isinstance(step.attention, SelfAttention):
        yield f"{here}.attention.norm", f"{there.format(1)}.norm", None
        yield f"{here}.attention.tell", f"{there.format(1)}.qkv", step.attention
        yield f"{here}.attention.out", f"{there.format(1)}.proj_out", None


def _block(block: ResidualBlock, here: str, there: str) -> Iterator[tuple[str, str, nn.Module | None]]:
    names = {
        "first.0": "in_layers.0",
        "first.2": "in_layers.2",
        "code.1": "emb_layers.1",
        "norm": "out_layers.0",
        "second.2": "out_layers.3",
    }
    for own, theirs in names.items():
        yield f"{here}.{own}", f"{there}.{theirs}", None
    if not isinstance(block.skip, nn.Identity):
        yield f"{here}.skip", f"{there}.skip_connection", None


def _resampling(layer: nn.Module, here: str, there: str, name: str) -> Iterator[tuple[str, str, nn.Module | None]]:
    if isinstance(layer, ResidualBlock):
        yield from _block(layer, here, there)
    else:
        yield here, f"{there}.{name}", None


def _by_kind(tensor: Tensor, heads: int) -> Tensor:
    """The rows of queries, keys and values, which lie head by head there, kind by kind: (3 C, ...)."""
    return tensor.unflatten(0, (heads, 3, -1)).transpose(0, 1).flatten(0, 2)


def _described(network: Denoiser) -> str:
    of: dict[str, Any] = {"channels": network.in_channels, "widths": network.widths, "blocks": network.blocks}
    return "a network with " + ", ".join(f"{name} {value}" for name, value in of.items())
