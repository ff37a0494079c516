"""Objects, each by itself: what networks learn of instance maps, and instance maps from what they answer."""

from scantling.objects.hover import hover_instances, hover_maps, signed_turn

__all__ = ["hover_instances", "hover_maps", "signed_turn"]
