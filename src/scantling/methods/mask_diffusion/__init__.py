"""Segmenters that draw masks by diffusion."""
