"""Segmenters that learn from images with masks."""
