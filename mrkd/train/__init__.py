"""Pre-training: the loop, one step, and monitoring."""
