"""Segmenters that read no mask of a real image."""
