"""Optimizers by name, and schedules of learning rate, weight decay and temperature."""
