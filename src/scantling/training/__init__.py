"""Drives any method's stages: devices, processes, checkpoints, resume, logs."""

from scantling.training.train import Options, train

__all__ = ["Options", "train"]
