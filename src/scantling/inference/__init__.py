"""Drives any method over cases: tiles, views, folders, shards; mends what any tool has answered; makes new cases."""

from scantling.inference.mending import mend_folder
from scantling.inference.prediction import predict
from scantling.inference.registration import register
from scantling.inference.synthesis import synthesize

__all__ = ["mend_folder", "predict", "register", "synthesize"]
