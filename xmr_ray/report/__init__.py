"""Curves, tables and galleries from run directories."""
