"""Metrics and protocols: how good a capture is."""
