"""Images and masks made by rule: arrays from a generator, no files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scantling.core.rooms import load_on_demand

if TYPE_CHECKING:
    from scantling.phantoms.angiogram import angiogram
    from scantling.phantoms.backgrounds import evened, without_rim, without_tubes
    from scantling.phantoms.forest import Forest, Vessels, grow_in, tree_vessels
    from scantling.phantoms.fractal import Fractal, fractal_crossing, fractal_rectangles, fractal_vessels
    from scantling.phantoms.phantom import Phantom
    from scantling.phantoms.raster import Raster, draw
    from scantling.phantoms.retina import retina
    from scantling.phantoms.sketch import sketch_of
    from scantling.phantoms.structure import (
        StructureRule,
        organ_background,
        plane_of,
        rule_named,
        structure_map,
        without_outline,
    )
    from scantling.phantoms.trees import Growth, Tree, grow_tree
    from scantling.phantoms.tubes import tubes
    from scantling.phantoms.vessels import Scene, photograph, vessel_image, vessel_images, vessel_scene

__all__ = [
    "Forest",
    "Fractal",
    "Growth",
    "Phantom",
    "Raster",
    "Scene",
    "StructureRule",
    "Tree",
    "Vessels",
    "angiogram",
    "draw",
    "evened",
    "fractal_crossing",
    "fractal_rectangles",
    "fractal_vessels",
    "grow_in",
    "grow_tree",
    "organ_background",
    "photograph",
    "plane_of",
    "retina",
    "rule_named",
    "sketch_of",
    "structure_map",
    "tree_vessels",
    "tubes",
    "vessel_image",
    "vessel_images",
    "vessel_scene",
    "without_outline",
    "without_rim",
    "without_tubes",
]

load_on_demand(
    __name__,
    {
        "angiogram": ("angiogram",),
        "backgrounds": ("evened", "without_rim", "without_tubes"),
        "forest": ("Forest", "Vessels", "grow_in", "tree_vessels"),
        "fractal": ("Fractal", "fractal_crossing", "fractal_rectangles", "fractal_vessels"),
        "phantom": ("Phantom",),
        "raster": ("Raster", "draw"),
        "retina": ("retina",),
        "sketch": ("sketch_of",),
        "structure": (
            "StructureRule",
            "organ_background",
            "plane_of",
            "rule_named",
            "structure_map",
            "without_outline",
        ),
        "trees": ("Growth", "Tree", "grow_tree"),
        "tubes": ("tubes",),
        "vessels": ("Scene", "photograph", "vessel_image", "vessel_images", "vessel_scene"),
    },
)
