"""Uncertainty measures and the scoring of one descriptor."""
