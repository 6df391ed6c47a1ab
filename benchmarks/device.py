"""What only a GPU can show, in one call of a few minutes: kernels checked and timed, training throughput.

    python benchmarks/device.py --data PATH/cifar10 --out results.json      on a CUDA device
    python benchmarks/device.py --out /tmp/x.json --rehearse  the same script on the CPU with tiny sizes

1. RKD-A by the automatic backend (Triton on CUDA) against the plain torch backend in float64: value, gradient, repeats.
2. RKD-A and RKD-D forward and backward: milliseconds and memory beyond the inputs, beside the authors' form where it
   fits. Times are medians of single calls between device events, so they include what the host adds.
3. Training ViT-S/8 at 32 pixels, two views, whole pipeline: images a second and memory, iBOT alone and with relations,
   with and without compiled blocks; then a profile: where a step's time goes, and the part of the measured matrix rate.
   On digits (1,438 images) unless --data names a larger set, which large batches need.
4. A backbone's forward and backward pass with the last block's MLP for all tokens, and for chosen ones.
Every part writes its numbers at once, so a run that is cut off keeps what it has.
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from last_block import NETWORKS, against_all_tokens
from relational import authors_angle, authors_distance
from torch import Tensor

import mrkd
from mrkd.config import Config
from mrkd.config.overrides import laid_over
from mrkd.errors import UserError
from mrkd.losses import rkd_angle, rkd_distance
from mrkd.losses.angle import available_backends
from mrkd.runs.run import SUMMARY, Run
from mrkd.system.files import read_json


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes, on whatever device there is")
    parser.add_argument("--data", default="digits", help="what to train on")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type != "cuda" and not options.rehearse:
        parser.error("no CUDA device: give --rehearse to try the script on the CPU")
    record: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or "CPU",
        "backends": available_backends(device),
        "torch": torch.__version__,
        "rehearsal": options.rehearse,
    }
    parts: dict[str, Callable[[torch.device, bool], Any]] = {
        "agreement": agreement,
        "timings": timings,
        "training": lambda _, rehearse: training(options.data, rehearse),
        "profile": lambda _, rehearse: profile(options.data, rehearse),
        "last_block": last_block,
    }
    for name, part in parts.items():
        started = time.monotonic()
        try:
            record[name] = part(device, options.rehearse)
        except Exception as error:  # the other parts are still worth having
            record[name] = {"failed": f"{type(error).__name__}: {error}"}
        record[f"{name}_seconds"] = round(time.monotonic() - started, 1)
        options.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        print(name, json.dumps(record[name], indent=1), flush=True)


def agreement(device: torch.device, rehearse: bool) -> list[dict[str, Any]]:
    rows = []
    for count, groups in ((17, 3), (64, 2)) if rehearse else ((3, 1), (33, 5), (256, 4), (1000, 1), (2050, 1)):
        for standardize in (False, True):
            generator = torch.Generator().manual_seed(count)
            student, teacher = (torch.randn(groups, count, 48, generator=generator).to(device) for _ in range(2))
            weights = torch.rand(groups, count, generator=generator).to(device)
            settings: dict[str, Any] = {"row_weights": weights, "standardize": standardize, "huber_delta": 0.7}
            value, gradient = with_gradient(student, teacher, settings)
            again, gradient_again = with_gradient(student, teacher, settings)
            exact_settings = {**settings, "row_weights": weights.double(), "backend": "torch"}
            exact, exact_gradient = with_gradient(student.double(), teacher.double(), exact_settings)
            rows.append(
                {
                    "rows": count,
                    "groups": groups,
                    "standardize": standardize,
                    "relative_error_value": float((value - exact).abs() / exact.abs()),
                    "relative_error_gradient": float((gradient - exact_gradient).norm() / exact_gradient.norm()),
                    "repeats_bit_for_bit": bool(torch.equal(value, again) and torch.equal(gradient, gradient_again)),
                }
            )
    return rows


def with_gradient(student: Tensor, teacher: Tensor, settings: dict[str, Any]) -> tuple[Tensor, Tensor]:
    student = student.clone().requires_grad_(True)
    value = rkd_angle(student, teacher, **settings)
    (gradient,) = torch.autograd.grad(value, student)
    return value.detach(), gradient


def timings(device: torch.device, rehearse: bool) -> list[dict[str, Any]]:
    cases: list[tuple[str, tuple[int, ...], bool]] = (
        [("angle", (32, 16), True), ("distance", (32, 16), True)]
        if rehearse
        else [
            ("angle", (256, 384), True),
            ("angle", (256, 8192), True),
            ("angle", (16, 256, 384), False),
            ("angle", (1024, 384), True),
            ("angle", (2048, 384), False),
            ("angle", (4096, 384), False),
            ("distance", (512, 384), True),
            ("distance", (4096, 384), True),
            ("distance", (16384, 384), False),
        ]
    )
    ours = {"angle": rkd_angle, "distance": rkd_distance}
    authors = {"angle": authors_angle, "distance": authors_distance}
    rows = []
    for loss, shape, compared in cases:
        row: dict[str, Any] = {"loss": loss, "shape": shape, "ours": measured(ours[loss], shape, device)}
        if compared:
            row["authors"] = measured(authors[loss], shape, device)
            row["times_faster"] = row["authors"]["milliseconds"] / row["ours"]["milliseconds"]
        rows.append(row)
    return rows


def measured(function: Callable[[Tensor, Tensor], Tensor], shape: tuple[int, ...], device: torch.device) -> Any:
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
    stop = time.monotonic() + 4.0
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


TRAININGS = [
    ("ibot", 512, False),
    ("ibot", 512, True),
    ("ibot", 2048, True),
    ("ibot+rkd-d", 512, True),
    ("ibot+rkd-a", 512, True),
    ("rkd-a", 512, True),
    ("structural", 512, True),
]
"""Method, batch and whether the blocks are compiled."""


def training_config(source: str, method: str, batch: int, compiled: bool, steps: int, rehearse: bool) -> Config:
    settings = {
        "data.source": source,
        "objective.method": method,
        "views.local_views": 0,
        "train.batch": batch,
        "train.compile": compiled,
        "train.steps": steps,
        "train.monitor_times": 1,
        "train.monitor_images": 500,
        "train.relation_images": 0,
        "train.log_steps": 10,
    }
    tiny = {"data.train_images": 128, "model.name": None, "model.width": 16, "model.depth": 1, "model.heads": 2}
    changes = {**settings, **(tiny | {"train.batch": 32, "train.steps": 6, "train.log_steps": 1} if rehearse else {})}
    return laid_over(mrkd.load_config("cifar10"), changes)


def training(source: str, rehearse: bool) -> list[dict[str, Any]]:
    rows = []
    for method, batch, compiled in TRAININGS[:2] if rehearse else TRAININGS:
        steps = max(60, 60_000 // batch)
        row: dict[str, Any] = {"method": method, "batch": batch, "compiled": compiled}
        try:
            with tempfile.TemporaryDirectory() as folder:
                config = training_config(source, method, batch, compiled, steps, rehearse)
                run = Run(mrkd.pretrain(config, Path(folder) / "run"))
                logged, summary = run.metrics(), read_json(run.path / SUMMARY)
        except UserError as error:  # such as a batch larger than the set
            rows.append({**row, "refused": str(error)})
            continue
        # Compilation and the first steps are over after a third; the last row is that of the final measurement.
        steady = [line for line in logged if line["step"] > logged[-1]["step"] // 3 and "knn" not in line]
        first, last = steady[0], steady[-1]
        spent = max(last["seconds"] - first["seconds"], 1e-9)
        row["images_per_second"] = (last["step"] - first["step"]) * config.train.batch / spent
        row |= {"batch": config.train.batch, "steps": summary["steps"], "peak_memory_mib": summary["peak_memory_mib"]}
        rows.append(row)
    return rows


def profile(source: str, rehearse: bool) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        config = training_config(source, "ibot", 512, False, 60, rehearse)
        path = mrkd.pretrain(config, Path(folder) / "run", profile=True)
        return read_json(path / "profile.json")


def last_block(device: torch.device, rehearse: bool) -> list[dict[str, Any]]:
    name = "width 96, 3 blocks" if rehearse else "ViT-S/8"
    model, _ = NETWORKS[name]
    return against_all_tokens(name, model, images=16 if rehearse else 1024, bfloat16=True, rounds=2 if rehearse else 30)


if __name__ == "__main__":
    main()
