"""Exact, blocked retrieval metrics in both directions."""
