"""How many processor cores there are to use."""

import os


def usable_cores() -> int:
    """Those this process may run on: fewer than the machine has under SLURM, taskset or a container's set of cores."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
