"""The relational losses on a GPU: agreement with float64, repeats, then milliseconds and memory.

    python benchmarks/gpu_kernels.py --out kernels.json               on a CUDA device, about a minute
    python benchmarks/gpu_kernels.py --out /tmp/k.json --dry-run      tiny sizes, on the CPU

1. RKD-A by the automatic backend (Triton on CUDA) against the plain torch backend in float64, on the same rows in
   float32 and in float64: relative errors of value and gradient, and whether a second call gives the same bits.
2. RKD-A, its teacher's moments (standardize) and RKD-D, forward and backward: the median of single calls between
   device events, so that it includes what the host adds, and the memory beyond the inputs; beside the authors' form
   where that fits.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from record import write_record
from relational import authors_angle, authors_distance
from torch import Tensor

from mrkd.losses import rkd_angle, rkd_distance
from mrkd.losses.angle import available_backends

AGREEMENTS = ((3, 1), (33, 5), (256, 4), (1000, 1), (2050, 1))
"""Rows and groups."""
TIMINGS: tuple[tuple[str, tuple[int, ...], bool], ...] = (
    ("angle", (64, 384), True),
    ("angle", (256, 384), True),
    ("angle", (256, 8192), False),
    ("angle", (32, 512, 384), False),
    ("angle", (1024, 384), False),
    ("angle", (2048, 384), False),
    ("angle", (4096, 384), False),
    ("angle standardized", (512, 384), False),
    ("angle standardized", (4096, 384), False),
    ("distance", (512, 384), True),
    ("distance", (32, 512, 384), False),
    ("distance", (4096, 384), True),
)
"""Loss, shape of the embeddings, and whether the authors' form is timed beside it."""
DRY_AGREEMENTS = ((17, 3), (64, 2))
DRY_TIMINGS: tuple[tuple[str, tuple[int, ...], bool], ...] = (("angle", (32, 16), True), ("distance", (32, 16), True))
SECONDS = 1.5
"""For each timing."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes, on whatever device there is")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type != "cuda" and not options.dry_run:
        parser.error("no CUDA device: give --dry-run to try the script on the CPU")
    rows = [{"backends": available_backends(device), "dry_run": options.dry_run}]
    for count, groups in DRY_AGREEMENTS if options.dry_run else AGREEMENTS:
        for dtype in (torch.float32, torch.float64):
            for standardize in (False, True):
                rows.append(agreement(count, groups, dtype, standardize, device))
                print(rows[-1], flush=True)
    write_record(options.out, "kernels", rows)
    for loss, shape, compared in DRY_TIMINGS if options.dry_run else TIMINGS:
        rows.append(timing(loss, shape, compared, device))
        print(rows[-1], flush=True)
        write_record(options.out, "kernels", rows)


def agreement(rows: int, groups: int, dtype: torch.dtype, standardize: bool, device: torch.device) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(rows)
    student, teacher = (torch.randn(groups, rows, 48, generator=generator).to(device, dtype) for _ in range(2))
    weights = torch.rand(groups, rows, generator=generator).to(device, dtype)
    settings: dict[str, Any] = {"row_weights": weights, "standardize": standardize, "huber_delta": 0.7}
    value, gradient = with_gradient(student, teacher, settings)
    again, gradient_again = with_gradient(student, teacher, settings)
    exact_settings = {**settings, "row_weights": weights.double(), "backend": "torch"}
    exact, exact_gradient = with_gradient(student.double(), teacher.double(), exact_settings)
    return {
        "agreement": str(dtype).removeprefix("torch."),
        "rows": rows,
        "groups": groups,
        "standardize": standardize,
        "relative_error_value": float((value - exact).abs() / exact.abs()),
        "relative_error_gradient": float((gradient - exact_gradient).norm() / exact_gradient.norm()),
        "repeats_bit_for_bit": bool(torch.equal(value, again) and torch.equal(gradient, gradient_again)),
    }


def with_gradient(student: Tensor, teacher: Tensor, settings: dict[str, Any]) -> tuple[Tensor, Tensor]:
    student = student.clone().requires_grad_(True)
    value = rkd_angle(student, teacher, **settings)
    (gradient,) = torch.autograd.grad(value, student)
    return value.detach(), gradient


def timing(loss: str, shape: tuple[int, ...], compared: bool, device: torch.device) -> dict[str, Any]:
    ours: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "angle": rkd_angle,
        "angle standardized": lambda student, teacher: rkd_angle(student, teacher, standardize=True),
        "distance": rkd_distance,
    }
    row: dict[str, Any] = {"loss": loss, "shape": shape, "ours": measured(ours[loss], shape, device)}
    if compared:
        authors = {"angle": authors_angle, "distance": authors_distance}[loss]
        row["authors"] = measured(authors, shape, device)
        row["times_faster"] = row["authors"]["milliseconds"] / row["ours"]["milliseconds"]
    return row


def measured(function: Callable[[Tensor, Tensor], Tensor], shape: tuple[int, ...], device: torch.device) -> Any:
    """Milliseconds of forward and backward, and MiB beyond the inputs and their gradient."""
    torch.manual_seed(0)
    student, teacher = torch.randn(shape, device=device, requires_grad=True), torch.randn(shape, device=device)
    student.grad = torch.zeros_like(student)

    def once() -> None:
        function(student, teacher).backward()

    for _ in range(3):
        once()
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated() if cuda else 0
    times: list[float] = []
    stop = time.monotonic() + SECONDS
    while len(times) < 50 and (len(times) < 3 or time.monotonic() < stop):
        times.append(milliseconds(once, cuda))
    memory = (torch.cuda.max_memory_allocated() - before) / 2**20 if cuda else None
    return {"milliseconds": statistics.median(times), "fastest": min(times), "calls": len(times), "mib": memory}


def milliseconds(call: Callable[[], None], cuda: bool) -> float:
    if not cuda:
        started = time.perf_counter()
        call()
        return 1000 * (time.perf_counter() - started)
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    call()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end)


if __name__ == "__main__":
    main()
