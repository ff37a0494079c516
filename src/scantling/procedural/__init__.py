"""Images and masks made by rule: arrays from a generator, no files."""

from __future__ import annotations

from scantling.procedural.vessels import vessel_image, vessel_images

__all__ = ["vessel_image", "vessel_images"]
