"""Drives any method over cases: tiles, views, folders, shards."""

from scantling.inference.predict import predict

__all__ = ["predict"]
