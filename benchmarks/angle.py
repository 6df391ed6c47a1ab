"""RKD-A forward and backward: ours against the authors' form (N x N x D and N x N x N tensors), time and memory.

    python benchmarks/angle.py [--rows 256] [--width 8192] [--skip-reference]

Each form runs in a process of its own; memory is the peak beyond what was resident once the inputs existed.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from mrkd.losses import rkd_angle


def explicit_angle(student: Tensor, teacher: Tensor) -> Tensor:
    def cosines(rows: Tensor) -> Tensor:
        unit = F.normalize(rows[None] - rows[:, None], dim=2)
        return torch.bmm(unit, unit.transpose(1, 2))

    with torch.no_grad():
        target = cosines(teacher)
    return F.smooth_l1_loss(cosines(student), target)


def resident_mib(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no {field} in /proc/self/status")


def measure(form: str, rows: int, width: int, repeats: int) -> dict[str, float]:
    function = {"ours": rkd_angle, "authors": explicit_angle}[form]
    torch.manual_seed(0)
    warm = torch.randn(8, 8, requires_grad=True)
    function(warm, torch.randn(8, 8)).backward()
    student, teacher = torch.randn(rows, width, requires_grad=True), torch.randn(rows, width)
    student.grad = torch.zeros_like(student)
    Path("/proc/self/clear_refs").write_text("5")
    before = resident_mib("VmRSS")
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function(student, teacher).backward()
        seconds.append(time.perf_counter() - start)
    return {"milliseconds": 1000 * statistics.median(seconds), "mib": resident_mib("VmHWM") - before}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--width", type=int, default=8192)
    parser.add_argument("--skip-reference", action="store_true")
    parser.add_argument("--form", choices=["ours", "authors"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.form:
        repeats = 9 if options.form == "ours" else 1
        print(json.dumps(measure(options.form, options.rows, options.width, repeats)))
        return
    results = {}
    for form in ["ours"] if options.skip_reference else ["ours", "authors"]:
        command = [sys.executable, __file__, "--form", form, "--rows", str(options.rows), "--width", str(options.width)]
        results[form] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(
            f"{form:8s} N={options.rows} D={options.width}: {results[form]['milliseconds']:.1f} ms, "
            f"{results[form]['mib']:.0f} MiB beyond inputs",
            flush=True,
        )
    if "authors" in results:
        ratio = results["authors"]["milliseconds"] / results["ours"]["milliseconds"]
        memory = results["authors"]["mib"] / results["ours"]["mib"]
        print(f"ratio    {ratio:.0f} times faster, {memory:.0f} times less memory")


if __name__ == "__main__":
    main()
