"""Continuity of tubular masks: arrays in, arrays out; no files, no devices, no methods.

`mend.mend` turns probability maps into unbroken masks by diffusion along the tubes, two thresholds and dropping small
pieces; `choose.choose` finds how, on validation maps. `anisotropic.diffuse_tensors` is the diffusion in torch, for
learning and for the GPU; both are the equation of Sano (2025). `scantling.mend` takes images of other
packages and gives them back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from scantling.core.rooms import load_on_demand

if TYPE_CHECKING:
    from scantling.mending.anisotropic import Diffusion, diffuse, diffuse_tensors, diffusion_tensor
    from scantling.mending.choose import Choice, Example, Tried, candidates, choose
    from scantling.mending.dark_border import inside_dark_border
    from scantling.mending.hysteresis import drop_small, hysteresis
    from scantling.mending.mend import Mended, Mending, mend
    from scantling.mending.orientation import Orientation, carried, structure_orientation
    from scantling.mending.ridges import connected, otsu, strongest, vesselness

__all__ = [
    "Choice",
    "Diffusion",
    "Example",
    "Mended",
    "Mending",
    "Orientation",
    "Tried",
    "candidates",
    "carried",
    "choose",
    "connected",
    "diffuse",
    "diffuse_tensors",
    "diffusion_tensor",
    "drop_small",
    "hysteresis",
    "inside_dark_border",
    "mend",
    "otsu",
    "strongest",
    "structure_orientation",
    "vesselness",
]

load_on_demand(
    __name__,
    {
        "anisotropic": ("Diffusion", "diffuse", "diffuse_tensors", "diffusion_tensor"),
        "choose": ("Choice", "Example", "Tried", "candidates", "choose"),
        "dark_border": ("inside_dark_border",),
        "hysteresis": ("drop_small", "hysteresis"),
        "mend": ("Mended", "Mending", "mend"),
        "orientation": ("Orientation", "carried", "structure_orientation"),
        "ridges": ("connected", "otsu", "strongest", "vesselness"),
    },
)
