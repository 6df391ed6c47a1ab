"""Distances, and the angle kernels for each kind of device."""
