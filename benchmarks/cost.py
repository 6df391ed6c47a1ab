"""What a training step costs by batch, tokens and width, and what relations add to it.

    python benchmarks/cost.py --json docs/results/performance.json --plot docs/results/performance.png

1. iBOT with K = 8192 on ViTs of 12 blocks: images a second as batch, image size (so tokens) and width grow.
2. A step of iBOT at batch 512 on ViT-S/8, and RKD-D and RKD-A, forward and backward, on as many class tokens of as many
   views: timed by themselves, because 3 % of a step is less than what two steps differ by.
"""

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from record import stopwatch, write_record
from step import our_config, our_step

from mrkd.losses import rkd_angle, rkd_distance

SHAPES = {
    "batch": [(384, 32, batch) for batch in (16, 32, 64, 128)],
    "tokens": [(384, size, 16) for size in (32, 64, 96)],
    "width": [(width, 32, 64) for width in (64, 192, 384)],
}
"""What varies -> (width, pixels, batch)."""


def seconds(step: Callable[[], Any], rounds: int) -> float:
    clock, times = stopwatch(), []
    for number in range(rounds + 1):
        started = clock()
        step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        if number:
            times.append(clock() - started)
    return statistics.median(times)


def curves(rounds: int, bfloat16: bool) -> list[dict[str, Any]]:
    rows = []
    for varied, shapes in SHAPES.items():
        for width, size, batch in shapes:
            config = our_config(width, width // 64, batch=batch, bfloat16=bfloat16, method="ibot", data__size=size)
            spent = seconds(our_step(config, None), rounds)
            row = {"varied": varied, "width": width, "pixels": size, "tokens": 1 + (size // 8) ** 2, "batch": batch}
            rows.append({**row, "milliseconds": 1000 * spent, "images_per_second": batch / spent})
            print(
                f"{varied:7s} width {width}, {row['tokens']} tokens, batch {batch}: {batch / spent:.1f} images/s",
                flush=True,
            )
    return rows


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(9, 3), layout="constrained")
    for axis, varied in zip(axes, SHAPES, strict=True):
        points = [(row[varied], row["images_per_second"]) for row in rows if row["varied"] == varied]
        axis.plot(*zip(*points, strict=True), "o-", markersize=4)
        for place, speed in points:
            axis.annotate(f"{speed:.3g}", (place, speed), xytext=(0, 5), textcoords="offset points", ha="center")
        axis.set(xlabel=varied, ylabel="images/s", xscale="log", ylim=(0, 1.15 * max(speed for _, speed in points)))
        axis.set_xticks([place for place, _ in points], [str(place) for place, _ in points])
        axis.minorticks_off()
        axis.margins(x=0.1)
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=150)


def relations(rounds: int, bfloat16: bool, batch: int) -> dict[str, Any]:
    step = seconds(our_step(our_config(384, 6, batch=batch, bfloat16=bfloat16, method="ibot"), None), rounds)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # As a step asks for them: two pairs of views, class tokens of the backbone.
    student = torch.randn(2, batch, 384, device=device, requires_grad=True)
    teacher = torch.randn(2, batch, 384, device=device)

    def both() -> None:
        (rkd_distance(student, teacher) + rkd_angle(student, teacher)).backward()

    added = seconds(both, 3 * rounds)
    print(f"batch {batch}: step {1000 * step:.0f} ms, RKD-D + RKD-A {1000 * added:.1f} ms: {100 * added / step:.2f} %")
    return {
        "batch": batch,
        "step_milliseconds": 1000 * step,
        "relations_milliseconds": 1000 * added,
        "percent": 100 * added / step,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=512, help="of the part about relations")
    parser.add_argument("--bfloat16", action="store_true")
    parser.add_argument("--only", choices=("curves", "relations"))
    parser.add_argument("--threads", type=int, help="of the CPU; all of them when left out")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path, help="draw the curves here")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.only != "relations":
        rows = curves(options.rounds, options.bfloat16)
        if options.json:
            write_record(options.json, "cost", rows)
        if options.plot:
            draw(rows, options.plot)
    if options.only != "curves":
        row = relations(options.rounds, options.bfloat16, options.batch)
        if options.json:
            write_record(options.json, "relations_in_a_step", [row])


if __name__ == "__main__":
    main()
