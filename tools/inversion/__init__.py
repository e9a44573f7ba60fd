"""Maintainers' scripts that train the shipped inversion network."""
