"""One self-contained HTML file from run directories; imports no torch, so it opens at once."""

from mrkd.reporting.html import report

__all__ = ["report"]
