"""The machine: files, signals, progress, processors."""
