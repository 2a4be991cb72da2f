"""The algorithm: acquire, learn, run; imports neither torch nor ray."""
