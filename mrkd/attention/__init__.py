"""Look at what the class token attends to."""

from mrkd.attention.draw import attend

__all__ = ["attend"]
