"""Drives any method's stages: devices, processes, checkpoints, resume, logs."""

from scantling.training.options import Options
from scantling.training.training import preview, train

__all__ = ["Options", "preview", "train"]
