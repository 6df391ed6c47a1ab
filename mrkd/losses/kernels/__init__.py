"""Distances and their gradient, and the angle kernels: for CPUs (numba), for CUDA (Triton), and in plain torch."""
