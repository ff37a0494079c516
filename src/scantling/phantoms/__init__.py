"""Images and masks made by rule: arrays from a generator, no files."""

from __future__ import annotations

from scantling.phantoms.angiogram import angiogram
from scantling.phantoms.forest import Forest, tree_vessels
from scantling.phantoms.fractal import Fractal, fractal_vessels
from scantling.phantoms.phantom import Phantom
from scantling.phantoms.retina import retina
from scantling.phantoms.vessels import vessel_image, vessel_images

__all__ = [
    "Forest",
    "Fractal",
    "Phantom",
    "angiogram",
    "fractal_vessels",
    "retina",
    "tree_vessels",
    "vessel_image",
    "vessel_images",
]
