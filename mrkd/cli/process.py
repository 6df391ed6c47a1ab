"""Find out whether this is the first of several training processes."""

import os


def is_first_process() -> bool:
    """Whether this is the first process, which prints and runs further verbs; launchers set these variables."""
    return os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0"
