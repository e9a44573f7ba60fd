"""Rotations, cameras, meshes and alignment."""
