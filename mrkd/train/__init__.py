"""Pre-training: the loop, one step, and what is watched meanwhile."""
