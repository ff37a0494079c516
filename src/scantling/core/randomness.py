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


def torch_generator(*parts: int | str) -> torch.Generator:
    """A processor generator for these parts."""
    import torch

    return torch.Generator().manual_seed(seed_of(*parts))


def numpy_generator(*parts: int | str) -> np.random.Generator:
    """A numpy generator for these parts."""
    import numpy as np

    return np.random.Generator(np.random.PCG64(seed_of(*parts)))
