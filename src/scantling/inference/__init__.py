"""Drives any method over cases: tiles, views, folders, shards; mends what any tool has answered; makes new cases."""

from scantling.inference.mending import mend_folder
from scantling.inference.synthesis import synthesize
from scantling.inference.verb import predict

__all__ = ["mend_folder", "predict", "synthesize"]
