"""Images and masks made by rule: arrays from a generator, no files."""

from __future__ import annotations

from scantling.procedural.angiogram import angiogram
from scantling.procedural.forest import Forest, tree_vessels
from scantling.procedural.fractal import Fractal, fractal_vessels
from scantling.procedural.phantoms import Phantom
from scantling.procedural.retina import retina
from scantling.procedural.vessels import vessel_image, vessel_images

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
