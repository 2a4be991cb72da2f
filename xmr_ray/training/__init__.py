"""Plain torch epoch loops of stage 1 and stage 2; the same code under Ray Train."""
