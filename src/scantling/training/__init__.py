"""Drives any method's stages: devices, processes, checkpoints, resume, logs."""

from scantling.training.training import Options, train

__all__ = ["Options", "train"]
