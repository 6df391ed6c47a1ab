"""Attention over few tokens on a GPU: torch's kernels, and two matrix products with a softmax.

    python benchmarks/gpu_attention.py --out attention.json        on a CUDA device, some ten seconds

17 tokens, 6 heads of 64 channels, as ViT-S/8 has them at 32 pixels; forward and backward in bfloat16.
"""

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from record import write_record
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

SEQUENCES = (1024, 4096)
"""Images times views."""
SHAPE = (6, 17, 64)
"""Heads, tokens, channels of a head."""


def plain(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    weights = (query * query.shape[-1] ** -0.5) @ key.mT
    return weights.softmax(dim=-1) @ value


def by(backend: SDPBackend) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        with sdpa_kernel(backend):
            return F.scaled_dot_product_attention(query, key, value)

    return attention


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("no CUDA device")
    forms: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
        "torch's choice": F.scaled_dot_product_attention,
        "flash": by(SDPBackend.FLASH_ATTENTION),
        "cudnn": by(SDPBackend.CUDNN_ATTENTION),
        "efficient": by(SDPBackend.EFFICIENT_ATTENTION),
        "plain": plain,
        "plain, compiled": torch.compile(plain),
    }
    rows = []
    for sequences in SEQUENCES:
        for name, form in forms.items():
            row: dict[str, Any] = {"sequences": sequences, "form": name}
            try:
                row |= {"forward_ms": timed(form, sequences, False), "both_ms": timed(form, sequences, True)}
            except RuntimeError as error:
                row["failed"] = str(error)[:200]
            rows.append(row)
            print(row, flush=True)
            write_record(options.out, "attention", rows)


def timed(form: Callable[[Tensor, Tensor, Tensor], Tensor], sequences: int, backward: bool) -> float:
    """Milliseconds, the median of 20, each the mean of ten calls between events."""
    # Laid out as a linear layer's output is: heads and tokens are swapped views.
    packed = torch.randn(3, sequences, SHAPE[1], SHAPE[0], SHAPE[2], device="cuda", dtype=torch.bfloat16)
    query, key, value = (part.transpose(1, 2).requires_grad_(backward) for part in packed.unbind())
    gradient = torch.randn(sequences, *SHAPE, device="cuda", dtype=torch.bfloat16)
    times = []
    for number in range(23):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(10):
            result = form(query, key, value)
            if backward:
                torch.autograd.grad(result, (query, key, value), gradient)
        end.record()
        end.synchronize()
        if number >= 3:
            times.append(begin.elapsed_time(end) / 10)
    return statistics.median(times)


if __name__ == "__main__":
    main()
