"""Segmenters that learn from scribbles, boxes or points."""
