"""RKD-A and RKD-D, forward and backward in float32: ours against the authors' form, time and memory.

    python benchmarks/relational.py                          the table, the authors' form where it needs less than 4 GiB
    python benchmarks/relational.py --case angle:256:8192    one row: loss:rows:width[:groups]
    python benchmarks/relational.py --case angle-sampled:512:384:32     the same with a quarter of the rows drawn
    python benchmarks/relational.py --reference-gib 16 --json FILE --plot FILE

The authors' form (N x N x D and N x N x N tensors) runs where its tensors stay below `--reference-gib`. Each form runs
in a process of its own, its memory in another: the peak beyond what was resident once the inputs existed, where glibc
gives freed blocks back at once. (By default it keeps some for the next call, which the seconds here profit from.) The
floor is the method's arithmetic at the rates measured here: matrix products at that of a large float32 product, the
angle kernel's 47 operations a triangle at that of independent multiply-adds in cache.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
import torch.nn.functional as F
from record import machine
from torch import Tensor

from mrkd.losses import rkd_angle, rkd_distance

CASES = [
    "angle:256:8192",
    "angle:256:384",
    "angle:1024:384",
    "angle:2048:384",
    "angle:256:384:16",
    "distance:256:384",
    "distance:4096:384",
]
SWEEP = [64, 128, 256, 512, 1024, 2048]
_OPERATIONS_PER_TRIANGLE = 47
"""Vector instructions of the kernel's innermost loop for one triangle, its three angles and three edges."""


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    loss: str
    rows: int
    width: int
    groups: int = 1

    @classmethod
    def parse(cls, text: str) -> "Case":
        loss, *numbers = text.split(":")
        return cls(loss, *(int(number) for number in numbers))

    def spec(self) -> str:
        return f"{self.loss}:{self.rows}:{self.width}:{self.groups}"

    @property
    def counted_rows(self) -> int:
        """Among which angles or distances are taken."""
        return self.rows // 4 if self.loss == "angle-sampled" else self.rows

    def reference_gib(self) -> float:
        """The authors' largest tensors, of which about six are alive."""
        largest = max(self.rows**2 * self.width, self.rows**3) if self.loss == "angle" else 2 * self.rows**2
        return 6 * 4 * largest / 2**30


def authors_angle(student: Tensor, teacher: Tensor) -> Tensor:
    def cosines(rows: Tensor) -> Tensor:
        unit = F.normalize(rows[None] - rows[:, None], dim=2)
        return torch.bmm(unit, unit.transpose(1, 2))

    with torch.no_grad():
        target = cosines(teacher)
    return F.smooth_l1_loss(cosines(student), target)


def authors_distance(student: Tensor, teacher: Tensor) -> Tensor:
    def distances(rows: Tensor) -> Tensor:
        squared_norm = rows.pow(2).sum(dim=1)
        squared = squared_norm[:, None] + squared_norm[None] - 2 * rows @ rows.t()
        distance = squared.clamp(min=1e-12).sqrt().clone()
        distance[range(len(rows)), range(len(rows))] = 0
        return distance / distance[distance > 0].mean()

    with torch.no_grad():
        target = distances(teacher)
    return F.smooth_l1_loss(distances(student), target)


FORMS: dict[tuple[str, str], Any] = {
    ("ours", "angle"): rkd_angle,
    ("ours", "angle-sampled"): lambda student, teacher: rkd_angle(
        student, teacher, sampled_rows=student.shape[-2] // 4
    ),
    ("ours", "distance"): rkd_distance,
    ("authors", "angle"): authors_angle,
    ("authors", "distance"): authors_distance,
}


def resident_mib(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no {field} in /proc/self/status")


def measure(form: str, case: Case, repeats: int) -> dict[str, float]:
    function = FORMS[form, case.loss]
    torch.manual_seed(0)
    for _ in range(2):  # compiled loops and thread pools are there before memory is looked at
        function(torch.randn(96, 8, requires_grad=True), torch.randn(96, 8)).backward()
    shape = (case.groups, case.rows, case.width) if case.groups > 1 else (case.rows, case.width)
    student, teacher = torch.randn(shape, requires_grad=True), torch.randn(shape)
    student.grad = torch.zeros_like(student)
    Path("/proc/self/clear_refs").write_text("5")
    before = resident_mib("VmRSS")
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function(student, teacher).backward()
        seconds.append(time.perf_counter() - start)
    return {
        "milliseconds": 1000 * statistics.median(seconds),
        "fastest_milliseconds": 1000 * min(seconds),
        "mib": resident_mib("VmHWM") - before,
    }


def machine_rates() -> tuple[float, float]:
    """Float32 operations a second of a large matrix product, and vector lanes a second of multiply-adds in cache."""
    left = torch.randn(1536, 1536)
    seconds = min(_timed(lambda: left @ left) for _ in range(7))
    product_rate = 2 * 1536**3 / seconds

    @numba.njit(parallel=True, fastmath=True)
    def multiply_adds(count: int, out: np.ndarray) -> None:
        for lane in numba.prange(len(out)):
            sums = np.zeros(256, np.float32)
            scale = np.float32(0.5)
            for _ in range(count):
                for k in range(256):
                    sums[k] = sums[k] * scale + scale
            out[lane] = sums.sum()

    out = np.zeros(torch.get_num_threads(), np.float32)
    multiply_adds(1, out)
    count = 100_000
    seconds = min(_timed(lambda: multiply_adds(count, out)) for _ in range(5))
    return product_rate, count * 256 * len(out) / seconds


def _timed(function: Any) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def floor_milliseconds(case: Case, product_rate: float, lane_rate: float) -> float:
    # Two Gram matrices, of which distances need one half each, and the way back.
    rows, angles = case.counted_rows, case.loss != "distance"
    products = (3 if angles else 2) * 2 * rows**2 * case.width / product_rate
    triangles = rows**3 / 6 * _OPERATIONS_PER_TRIANGLE / lane_rate if angles else 0.0
    return 1000 * case.groups * (products + triangles)


def run(form: str, case: Case, repeats: int) -> dict[str, float]:
    def measured(repeats: int, **environment: str) -> dict[str, float]:
        command = [sys.executable, __file__, "--form", form, "--case", case.spec(), "--repeats", str(repeats)]
        ended = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
        )
        return json.loads(ended.stdout)

    timed = measured(repeats)
    memory = measured(min(repeats, 3), MALLOC_MMAP_THRESHOLD_="262144")
    return {**timed, "mib": memory["mib"], "mib_with_what_glibc_keeps": timed["mib"]}


def compare(case: Case, options: argparse.Namespace, rates: tuple[float, float]) -> dict[str, Any]:
    ours = run("ours", case, options.repeats)
    result: dict[str, Any] = {**asdict(case), "ours": ours, "floor_milliseconds": floor_milliseconds(case, *rates)}
    line = (
        f"{case.loss:8s} N={case.rows:<5d} D={case.width:<5d} G={case.groups:<3d} "
        f"ours {ours['milliseconds']:9.2f} ms (fastest {ours['fastest_milliseconds']:9.2f}, floor "
        f"{result['floor_milliseconds']:8.2f}) {ours['mib']:7.1f} MiB"
    )
    if ("authors", case.loss) in FORMS and case.groups == 1 and case.reference_gib() <= options.reference_gib:
        authors = run("authors", case, 1 if case.reference_gib() > 1 else 5)
        result["authors"] = authors
        result["times_faster"] = authors["milliseconds"] / ours["milliseconds"]
        line += (
            f" | authors {authors['milliseconds']:9.1f} ms {authors['mib']:8.1f} MiB "
            f"| {result['times_faster']:6.1f} times faster"
        )
    print(line, flush=True)
    return result


def draw(results: list[dict[str, Any]], path: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axis, key, label in zip(axes, ("milliseconds", "mib"), ("milliseconds", "MiB beyond the inputs"), strict=True):
        for loss in ("angle", "distance"):
            for form, style in (("ours", "o-"), ("authors", "s--")):
                points = [(r["rows"], r[form][key]) for r in results if r["loss"] == loss and form in r]
                if points:
                    axis.loglog(*zip(*points, strict=True), style, label=f"RKD-{loss[0].upper()}, {form}", markersize=4)
        axis.set(xlabel="rows N", ylabel=label)
        axis.grid(alpha=0.3)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="outside lower center", ncols=4)
    figure.suptitle(f"Forward and backward, D = {results[0]['width']}, {torch.get_num_threads()} CPU threads")
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", help="loss:rows:width[:groups]; may be given several times")
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--reference-gib", type=float, default=4.0, help="run the authors' form up to this size")
    parser.add_argument("--json", help="write every number to this file")
    parser.add_argument("--plot", help="also measure N = 64 to 2048 at D = 384 and draw cost against N here")
    parser.add_argument("--form", choices=["ours", "authors"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    cases = [Case.parse(text) for text in options.case or CASES]
    if options.form:
        print(json.dumps(measure(options.form, cases[0], options.repeats)))
        return
    rates = machine_rates()
    threads = torch.get_num_threads()
    print(f"{threads} threads, products {rates[0] / 1e9:.0f} GFLOP/s, vectors {rates[1] / 1e9:.0f} G operations/s")
    results = [compare(case, options, rates) for case in cases]
    sweep = []
    if options.plot:
        sweep = [compare(Case(loss, rows, 384), options, rates) for loss in ("angle", "distance") for rows in SWEEP]
        draw(sweep, options.plot)
    if options.json:
        record = {**machine(), "product_rate": rates[0], "lane_rate": rates[1], "cases": results, "sweep": sweep}
        Path(options.json).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
