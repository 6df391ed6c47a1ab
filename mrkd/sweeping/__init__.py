"""Tuning: the same number of trials for every method, judged on training images only."""

from mrkd.sweeping.results import tuned_settings
from mrkd.sweeping.space import Choice, Range, parse_space, read_space
from mrkd.sweeping.sweep import sweep

__all__ = ["Choice", "Range", "parse_space", "read_space", "sweep", "tuned_settings"]
