"""What was measured on a GPU, from gpu.json."""

from collections.abc import Callable
from statistics import fmean
from typing import Any

from tables.form import markdown, number, read


def _card(record: dict[str, Any]) -> str:
    rate = ""
    if "matrix_gflops" in record:
        rate = f", {record['matrix_gflops']['bfloat16'] / 1000:.0f} TFLOP/s in a large bfloat16 product"
    return f"{record['device']}{rate}, torch {record['torch']}, commit {record['commit']}."


def agreement() -> str:
    rows = [row for row in read("gpu.json")["kernels"]["rows"] if "agreement" in row]
    table = [
        [
            kind,
            str(len(own)),
            f"{max(row['relative_error_value'] for row in own):.0e}",
            f"{max(row['relative_error_gradient'] for row in own):.0e}",
            "yes" if all(row["repeats_bit_for_bit"] for row in own) else "no",
        ]
        for kind in ("float32", "float64")
        if (own := [row for row in rows if row["agreement"] == kind])
    ]
    return markdown(["type", "cases", "value, at most", "gradient, at most", "repeats bit for bit"], table)


def kernels() -> str:
    record = read("gpu.json")["kernels"]
    rows = []
    for row in record["rows"]:
        if "loss" not in row:
            continue
        *groups, count, width = row["shape"]
        theirs = row.get("authors")
        rows.append(
            [
                f"RKD {row['loss']}",
                f"{groups[0]} × {count}" if groups else str(count),
                str(width),
                number(row["ours"]["milliseconds"]),
                number(row["ours"]["mib"]),
                number(theirs["milliseconds"]) if theirs else "–",
                number(theirs["mib"]) if theirs else "–",
            ]
        )
    head = ["loss", "N", "D", "ms", "MiB", "authors' form, ms", "MiB"]
    return f"{markdown(head, rows)}\n\n{_card(record)}"


def steps() -> str:
    record = read("gpu.json")["steps"]
    rows = [
        [
            f"`{row['method']}`",
            str(row["batch"]),
            "compiled" if row["compiled"] else "eager",
            f"{row['images_per_second']:,.0f}",
            f"{row['milliseconds']:.1f}",
            f"{row['milliseconds_to_issue']:.1f}",
            f"{row['profile']['milliseconds_busy']:.1f}" if "profile" in row else "–",
            f"{row['profile']['kernels']:,.0f}" if "profile" in row else "–",
            f"{100 * row['utilisation']:.0f} %" if "utilisation" in row else "–",
            str(sum(row["waits"].values())),
            number(row["peak_memory_mib"]),
        ]
        for row in record["rows"]
    ]
    head = ["method", "batch", "", "images/s", "ms a step", "ms to issue it", "card busy, ms", "kernels"]
    head += ["utilisation", "waits", "MiB"]
    return f"{markdown(head, rows)}\n\n{_card(record)}"


def attention() -> str:
    record = read("gpu.json")["attention"]
    rows = [
        [row["form"], str(row["sequences"]), f"{row['forward_ms']:.2f}", f"{row['both_ms']:.2f}"]
        for row in record["rows"]
    ]
    head = ["attention", "sequences of 17 tokens", "forward, ms", "and backward, ms"]
    return f"{markdown(head, rows)}\n\n{_card(record)}"


def training() -> str:
    record = read("gpu.json")["training"]
    runs = sorted(record["runs"], key=lambda run: run["name"])
    rows = []
    for run in runs:
        method, seed = run["name"].split(" seed ")
        found = run["evaluation"]
        rows.append(
            [
                f"`{method}`",
                seed,
                f"{found['knn']['acc1']:.1f}",
                f"{found['linear']['30_epochs']['acc1']:.1f}",
                f"{found['kmeans']['acc']:.1f}",
                f"{found['health']['rankme']:.0f}",
                f"{run['summary']['seconds']:.0f}",
            ]
        )
    head = ["method", "seed", "k-NN", "linear, 30 epochs", "k-means, one start", "RankMe", "seconds, four at once"]
    return f"{markdown(head, rows)}\n\n{_card(record)}"


def curves() -> str:
    runs = read("gpu.json")["training"]["runs"]
    methods = sorted({run["name"].split(" seed ")[0] for run in runs})
    measured = {name: [run["measured"] for run in runs if run["name"].startswith(f"{name} ")] for name in methods}
    epochs = [line["epoch"] for line in measured[methods[0]][0]]
    rows = [
        [f"`{name}`", *(f"{fmean(run[at]['knn'] for run in measured[name]):.1f}" for at in range(len(epochs)))]
        for name in methods
    ]
    return markdown(["method", *(f"{epoch:.1f}" for epoch in epochs)], rows)


TABLES: dict[str, Callable[[], str]] = {
    "gpu-agreement": agreement,
    "gpu-kernels": kernels,
    "gpu-steps": steps,
    "gpu-attention": attention,
    "gpu-training": training,
    "gpu-curves": curves,
}
