"""The report: one self-contained HTML page made from run directories, as a file or live. Imports no torch."""

from mrkd.reporting.html import report
from mrkd.reporting.watch import watch

__all__ = ["report", "watch"]
