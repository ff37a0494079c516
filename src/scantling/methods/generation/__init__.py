"""Makers of masks and of labelled images."""
