"""Objects, each by itself: what networks learn of instance maps, and instance maps from what they answer."""

from scantling.objects.hover import hover_instances, hover_maps, signed_turn
from scantling.objects.seeded import between_map, distance_map, rim_map, seeded_instances

__all__ = ["between_map", "distance_map", "hover_instances", "hover_maps", "rim_map", "seeded_instances", "signed_turn"]
