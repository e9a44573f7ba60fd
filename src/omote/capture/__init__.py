"""Pixels to a performance: detect faces, fit the rig to them, smooth over time."""
