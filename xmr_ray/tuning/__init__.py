"""Searching for settings: dimensions, how trials are drawn and judged, and what their records say; nothing here runs one."""
