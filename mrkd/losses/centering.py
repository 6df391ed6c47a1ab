"""Turn teacher logits into balanced targets, by Sinkhorn-Knopp or by a moving centre.

Axes: R rows (tokens), K prototypes.
"""

import torch
from torch import Tensor, nn

from mrkd.losses.kernels.precision import widened

_NOWHERE = -1e9


@torch.no_grad()
def sinkhorn_knopp(logits: Tensor, *, temperature: float, iterations: int = 3, valid: Tensor | None = None) -> Tensor:
    """Softmax targets, balanced so that every column receives equal mass; rows sum to 1.

    Args:
        logits: (R, K) or (G, R, K); each of the G groups is balanced by itself.
        temperature: divides the logits.
        iterations: number of normalisations of columns and rows.
        valid: same shape, bool; True for entries that take part. None: all do.
    Returns:
        Same shape, at least float32; rows sum to 1, except rows without a valid entry.
    Source:
        Caron et al., SwAV, NeurIPS 2020 (arXiv:2006.09882), section 3.1.
    """
    log_probs = widened(logits) / temperature
    for _ in range(iterations):
        # In log space, a low temperature neither overflows nor leaves an empty column.
        for dim in (-2, -1):
            if valid is not None:  # in each pass, because normalising refills columns without a valid entry
                log_probs = log_probs.masked_fill(~valid, _NOWHERE)
            log_probs = log_probs - torch.logsumexp(log_probs, dim=dim, keepdim=True)
    if valid is not None:
        log_probs = log_probs.masked_fill(~valid, _NOWHERE)
    return log_probs.softmax(dim=-1)


class MovingCenter(nn.Module):
    """DINO's centring: subtract an exponential moving mean of the teacher's logits before the softmax.

    Source:
        Caron et al., DINO, ICCV 2021 (arXiv:2104.14294), eq. 4.
    """

    center: Tensor

    def __init__(self, prototypes: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("center", torch.zeros(prototypes))

    @torch.no_grad()
    def forward(self, logits: Tensor, temperature: float, *, averaged: Tensor | None = None) -> Tensor:
        """Targets (R, K) for logits (R, K). Updates the centre afterwards, as in the authors' code.

        The centre moves towards the mean of `averaged`, logits of any number of rows; None: towards that of `logits`.
        """
        probs = ((logits.float() - self.center) / temperature).softmax(dim=-1)
        averaged = logits if averaged is None else averaged
        if averaged.shape[0] > 0:
            self.center.lerp_(averaged.float().mean(dim=0), 1.0 - self.momentum)
        return probs
