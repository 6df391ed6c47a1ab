"""`mrkd data` and `mrkd doctor`: what a source of images contains, the views for training, and the installation."""

from mrkd.surveying.survey import survey

__all__ = ["survey"]
