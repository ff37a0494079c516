"""Randomness is a function, not a state: of a seed, a purpose and the global index of a sample.

No generator is ever saved. Whoever needs random numbers names what they are for, so that resuming, several
processes and accumulation all draw the same numbers.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch


def seed_of(*parts: int | str) -> int:
    """A 63-bit seed from any parts, the same on every machine."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    data = text.encode(errors="surrogatepass")  # a path need not be valid UTF-8
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big") >> 1


def seed_layers(device: torch.device, *parts: int | str) -> None:
    """Seed the generators that torch's own layers draw from, such as dropout, on the processor and on this device.

    For the processor alone this leaves `torch.manual_seed` aside: it formats the stack of the caller for every kind
    of GPU that is not in use, which takes longer than a step of a small network.
    """
    import torch

    seed = seed_of(*parts)
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def torch_generator(*parts: int | str) -> torch.Generator:
    """A processor generator for these parts."""
    import torch

    return torch.Generator().manual_seed(seed_of(*parts))


def numpy_generator(*parts: int | str) -> np.random.Generator:
    """A numpy generator for these parts."""
    import numpy as np

    return np.random.Generator(np.random.PCG64(seed_of(*parts)))
