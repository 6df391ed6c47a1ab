"""The plateau at initialisation: class-token cosine, gradient norm and loss over the first 500 steps on digits.

    python experiments/why_relations.py --out runs/why [--seeds 0,1,2] [--workers 2]

Relations, and losses image by image, the latter with and without BatchNorm in the head. Finished runs are kept, so it
can be interrupted. Writes docs/results/why-relations.json and why-relations.png; about 15 minutes on 2 CPU cores.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from mrkd.reporting.palette import method_styles
from mrkd.system.cpu import usable_cores

RESULTS = Path(__file__).parent.parent / "docs" / "results"
RELATIONAL = ("rkd-d", "rkd-a", "structural")
BY_IMAGE = ("ibot", "simclr", "vicreg")
CONDITIONS = [(method, "batch") for method in RELATIONAL] + [
    (method, norm) for norm in ("batch", "none") for method in BY_IMAGE
]
SETTINGS = {
    "train.epochs": 30,  # 17 steps each: 510
    "train.log_steps": 2,
    "train.monitor_times": 4,
    "objective.koleo": 0,  # KoLeo pushes class tokens apart by itself and would hide the plateau
    "data.holdout": "validation",
}


def run(method: str, norm: str, seed: int, out: Path, threads: int) -> Path:
    path = out / f"{method}-{norm}-{seed}"
    if (path / "summary.json").is_file():
        return path
    settings = {**SETTINGS, "head.norm": norm}
    options = [part for key, value in settings.items() for part in (f"--{key}", str(value))]
    command = [sys.executable, "-m", "mrkd", "pretrain", "--recipe", "quick", "--method", method, "--seed", str(seed)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "NUMBA_NUM_THREADS": str(threads)}
    subprocess.run([*command, "--out", str(path), *options], check=True, env=environment, stdout=subprocess.DEVNULL)
    print(path.name, flush=True)
    return path


def curves(path: Path) -> dict[str, list[float]]:
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    logged = [row for row in rows if "loss" in row]
    return {key: [row[key] for row in logged] for key in ("step", "loss", "cls_cosine", "gradient_norm")} | {
        "knn": [row["knn"] for row in rows if "knn" in row]
    }


def summary(runs: list[dict[str, list[float]]]) -> dict[str, Any]:
    def over_seeds(pick: Any) -> dict[str, float]:
        values = [pick(one) for one in runs]
        return {"mean": statistics.mean(values), "std": statistics.stdev(values) if len(values) > 1 else 0.0}

    def left_plateau(one: dict[str, list[float]]) -> float:
        # The first logged step at which images differ clearly; the last step when they never do.
        return next(
            (step for step, cosine in zip(one["step"], one["cls_cosine"], strict=True) if cosine < 0.9), one["step"][-1]
        )

    return {
        "first_cosine": over_seeds(lambda one: one["cls_cosine"][0]),
        "last_cosine": over_seeds(lambda one: one["cls_cosine"][-1]),
        "steps_until_cosine_below_0.9": over_seeds(left_plateau),
        "first_gradient_norm": over_seeds(lambda one: one["gradient_norm"][0]),
        "loss_last_over_first": over_seeds(lambda one: one["loss"][-1] / one["loss"][0]),
        "first_knn": over_seeds(lambda one: one["knn"][0]),
        "last_knn": over_seeds(lambda one: one["knn"][-1]),
        "steps": runs[0]["step"][-1],
        "seeds": len(runs),
    }


def draw(results: dict[str, list[dict[str, list[float]]]], path: Path) -> None:
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    panels = figure.subplots(3, 3, sharex=True)
    methods = (*RELATIONAL, *BY_IMAGE)
    colours = {method: style["colour"] for method, style in zip(methods, method_styles(methods), strict=True)}
    columns = {
        "relations": [f"{method}, batch" for method in RELATIONAL],
        "image by image, BatchNorm in the head": [f"{method}, batch" for method in BY_IMAGE],
        "image by image, no BatchNorm": [f"{method}, none" for method in BY_IMAGE],
    }
    rows = {"cls_cosine": "mean cosine of class tokens", "gradient_norm": "gradient norm", "loss": "loss / first loss"}
    for column, (title, names) in enumerate(columns.items()):
        panels[0][column].set_title(title)
        for row, (key, heading) in enumerate(rows.items()):
            axis = panels[row][column]
            for name in names:
                colour = colours[name.split(",")[0]]
                for seed, one in enumerate(results[name]):
                    scale = one["loss"][0] if key == "loss" else 1.0
                    values = [value / scale for value in one[key]]
                    label = name.split(",")[0] if seed == 0 else None
                    axis.plot(one["step"], values, color=colour, linewidth=1.0, alpha=0.8, label=label)
            if key == "gradient_norm":
                axis.set_yscale("log")
                axis.set_ylim(1e-3, 30)
            if key == "cls_cosine":
                axis.set_ylim(-0.1, 1.05)
            if key == "loss":
                axis.set_ylim(0, 1.2)
                axis.set_xlabel("step")
            if column == 0:
                axis.set_ylabel(heading)
            axis.spines[["top", "right"]].set_visible(False)
        panels[0][column].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    threads = max(1, usable_cores() // options.workers)
    seeds = [int(seed) for seed in options.seeds.split(",")]
    jobs = [(method, norm, seed) for method, norm in CONDITIONS for seed in seeds]
    with ThreadPoolExecutor(options.workers) as pool:
        paths = list(pool.map(lambda job: run(job[0], job[1], job[2], options.out, threads), jobs))
    results: dict[str, list[dict[str, list[float]]]] = {}
    for (method, norm, _), path in zip(jobs, paths, strict=True):
        results.setdefault(f"{method}, {norm}", []).append(curves(path))
    table = {name: summary(runs) for name, runs in results.items()}
    (RESULTS / "why-relations.json").write_text(json.dumps({"settings": SETTINGS, "rows": table}, indent=2) + "\n")
    draw(results, RESULTS / "why-relations.png")
    headings = "first cosine | last cosine | steps to cosine < 0.9 | first gradient norm | loss, last / first | k-NN"
    print(f"| loss, head norm | {headings} |")
    print("|---|---|---|---|---|---|---|")
    for name, row in table.items():
        cells = [
            f"{row[key]['mean']:.{digits}f} ± {row[key]['std']:.{digits}f}"
            for key, digits in (
                ("first_cosine", 4),
                ("last_cosine", 2),
                ("steps_until_cosine_below_0.9", 0),
                ("first_gradient_norm", 3),
                ("loss_last_over_first", 2),
            )
        ]
        knn = f"{row['first_knn']['mean']:.1f} → {row['last_knn']['mean']:.1f} ± {row['last_knn']['std']:.1f}"
        print(f"| {name} | {' | '.join(cells)} | {knn} |")


if __name__ == "__main__":
    main()
