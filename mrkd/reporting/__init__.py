"""One self-contained HTML page from run directories, as a file or live; imports no torch, so it opens at once."""

from mrkd.reporting.html import report
from mrkd.reporting.watch import watch

__all__ = ["report", "watch"]
