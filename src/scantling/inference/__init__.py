"""Drives any method over cases: tiles, views, folders, shards."""

from scantling.inference.verb import predict

__all__ = ["predict"]
