"""The run directory: what lies where, reading and writing it."""
