"""Which of several training processes speaks."""

import os


def is_first_process() -> bool:
    """Whether this is the one of several training processes that speaks and goes on; their launchers set these."""
    return os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0"
