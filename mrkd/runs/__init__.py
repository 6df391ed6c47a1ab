"""Run directories: settings, metrics, checkpoints and weights on the disk."""
