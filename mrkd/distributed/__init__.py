"""Training in several processes: all-gather with gradients, sharding (FSDP), and launching (Fabric)."""

from mrkd.distributed.gather import all_gather_with_grad

__all__ = ["all_gather_with_grad"]
