"""Optimizers, and the schedules of their settings."""
