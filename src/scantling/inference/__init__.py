"""Drives any method over cases: tiles, views, folders, shards; and mends what any tool has answered."""

from scantling.inference.mending import mend_folder
from scantling.inference.verb import predict

__all__ = ["mend_folder", "predict"]
