"""Several processes as one: gathering, sharding, and how they are launched."""

from mrkd.distributed.gather import all_gather_with_grad

__all__ = ["all_gather_with_grad"]
