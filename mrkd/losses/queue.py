"""A queue of the teacher's embeddings of earlier steps. Axes: Q length, B images, D embedding."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class EmbeddingQueue(nn.Module):
    """The teacher's embeddings of the last images, oldest first; it starts with random directions.

    `mrkd.objective` adds the teacher's class tokens after each step and uses the queue as anchors of a relational loss.

    Source:
        He et al., MoCo, CVPR 2020 (arXiv:1911.05722), section 3.2; for relations Zheng et al., ReSSL, NeurIPS 2021.
    """

    embeddings: Tensor
    """(Q, D), not normalised."""

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("embeddings", F.normalize(torch.randn(length, width, generator=generator), dim=1))

    @torch.no_grad()
    def push(self, embeddings: Tensor) -> None:
        """Append embeddings (B, D); the oldest ones leave. Of more than Q, the last Q stay."""
        kept = torch.cat([self.embeddings, embeddings.to(self.embeddings.dtype)])[-len(self.embeddings) :]
        self.embeddings.copy_(kept)
