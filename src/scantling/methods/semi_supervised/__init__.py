"""Segmenters that learn from images with masks and from images without."""
