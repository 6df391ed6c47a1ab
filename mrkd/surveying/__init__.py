"""What a source of images holds, and what training would see of it."""

from mrkd.surveying.survey import survey

__all__ = ["survey"]
