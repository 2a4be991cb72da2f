"""Label predictor (stage 1) and common space (stage 2); tensors only."""
