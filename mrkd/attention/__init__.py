"""Attention maps of the last block: computed, drawn, and compared with object masks."""

from mrkd.attention.draw import attend

__all__ = ["attend"]
