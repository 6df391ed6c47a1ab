"""Fill the tables of the result pages from the JSON beside them.

    python experiments/results_tables.py          write them
    python experiments/results_tables.py --check  say which would change

A page in docs/results, or the README, holds `<!-- table: NAME -->` and `<!-- end -->`; what lies between is made here.
A page whose JSON is missing is named and left as it is.
"""

import argparse
import json
import re
import statistics
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from scipy import stats

from mrkd.reporting.read import FIGURES
from mrkd.reporting.table import format_cell
from mrkd.studies.sweep_results import short

RESULTS = Path(__file__).parent.parent / "docs" / "results"
_MARKED = re.compile(r"(<!-- table: ([a-z0-9-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def read(name: str) -> Any:
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def number(value: float) -> str:
    """Three digits or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def markdown(head: list[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def machine(record: dict[str, Any]) -> str:
    rates, threads = record["matrix_gflops"], record["threads"]
    return (
        f"Machine: {record['device']}, {threads} thread{'s' * (threads > 1)}; a large matrix product reaches "
        f"{rates['float32']} GFLOP/s in float32 and {rates['bfloat16']} in bfloat16. torch {record['torch']}, commit "
        f"{record['commit']}."
    )


def relational() -> str:
    record = read("relational.json")
    rows = []
    for case in record["cases"]:
        theirs = case.get("authors")
        rows.append(
            [
                f"RKD-{case['loss'][0].upper()}",
                f"{case['groups']} × {case['rows']}" if case["groups"] > 1 else str(case["rows"]),
                str(case["width"]),
                number(case["ours"]["milliseconds"]),
                number(case["floor_milliseconds"]),
                number(case["ours"]["mib"]),
                number(theirs["milliseconds"]) if theirs else "–",
                number(theirs["mib"]) if theirs else "–",
                number(case["times_faster"]) if theirs else "–",
            ]
        )
    head = ["loss", "N", "D", "ours, ms", "floor, ms", "MiB", "authors' form, ms", "MiB", "times faster"]
    return f"{markdown(head, rows)}\n\n{machine(record)}"


def step() -> str:
    record = read("performance.json")["step"]
    contestants: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in record["rows"]:
        contestants.setdefault((row["network"], row["precision"]), {})[row["contestant"]] = row
    rows = []
    for (network, precision), by_name in contestants.items():
        for name, row in by_name.items():
            if name.startswith("mrkd"):
                continue
            ours = by_name["mrkd DINO" if "DINO" in name else "mrkd iBOT"]
            rows.append(
                [
                    network,
                    precision,
                    name,
                    f"{row['images_per_second']:.1f}",
                    f"{ours['images_per_second']:.1f}",
                    f"{row['ours_is_faster_times']:.2f}",
                    f"{row['gflop_per_image']:.2f}",
                    f"{ours['gflop_per_image']:.2f}",
                    f"{_share_of_rate(ours, record):.0%}",
                ]
            )
    head = ["network", "precision", "whose step", "images/s", "ours", "ours is faster, times"]
    head += ["GFLOP an image", "ours", "our share of the matrix rate"]
    batch = record["rows"][0]["batch"]
    return f"{markdown(head, rows)}\n\nBatch {batch}. {machine(record)}"


def _share_of_rate(row: dict[str, Any], record: dict[str, Any]) -> float:
    """Of the operations a second that a large matrix product reaches, those that a step's matrix products do."""
    return row["images_per_second"] * row["gflop_per_image"] / record["matrix_gflops"][row["precision"]]


def last_block() -> str:
    record = read("performance.json")["last_block"]
    rows = [
        [
            row["network"],
            row["precision"],
            row["tokens"],
            f"{row['all_milliseconds']:,.0f}",
            f"{row['milliseconds']:,.0f}",
            f"{row['times_faster']:.2f}",
        ]
        for row in record["rows"]
    ]
    head = ["network", "precision", "asked for", "all tokens, ms", "these, ms", "times faster"]
    return f"{markdown(head, rows)}\n\n{machine(record)}"


def views() -> str:
    record = read("performance.json")["views"]
    rows = [
        [
            f"two of {row['size']} px, {row['images']} images",
            f"{row['views_per_second']:,.0f}",
            f"{row['torchvision_views_per_second']:,.0f}",
            f"{row['times_faster']:.1f}",
        ]
        for row in record["rows"]
    ]
    head = ["views", "ours, views/s", "torchvision on PIL, views/s", "times"]
    return f"{markdown(head, rows)}\n\n{machine(record)}"


def cost() -> str:
    record = read("performance.json")["cost"]
    rows = [
        [row["varied"], str(row["width"]), str(row["tokens"]), str(row["batch"]), f"{row['images_per_second']:.1f}"]
        for row in record["rows"]
    ]
    head = ["what varies", "width", "tokens", "batch", "images/s"]
    return f"{markdown(head, rows)}\n\n{machine(record)}"


def even_rows() -> str:
    record = read("performance.json")["even_rows"]
    rows = [
        [
            row["case"],
            *(f"{row[way]['milliseconds']:.1f}" for way in ("even", "any_number")),
            *(f"{row[way]['mib']:,.0f}" for way in ("even", "any_number")),
        ]
        for row in record["rows"]
    ]
    head = ["head of", "ms, rows in 32s", "ms, any number", "MiB, rows in 32s", "MiB, any number"]
    return f"{markdown(head, rows)}\n\n{machine(record)}"


def optimizer() -> str:
    record = read("performance.json")["optimizer"]
    rows = [
        [
            row["network"],
            f"`{row['optimizer']}`",
            f"{row['optimizer_milliseconds']:,.1f}",
            f"{100 * row['share_of_step']:.1f} %",
        ]
        for row in record["rows"]
    ]
    return f"{markdown(['network', 'optimizer', 'ms', 'of a training step'], rows)}\n\n{machine(record)}"


def added() -> str:
    (row,) = read("performance.json")["relations_in_a_step"]["rows"]
    return (
        f"RKD-D and RKD-A on the class tokens of ViT-S/8 at batch {row['batch']}, two pairs of views, forward and "
        f"backward: {row['relations_milliseconds']:.0f} ms beside a step of {row['step_milliseconds']:,.0f} ms, "
        f"**{row['percent']:.2f} %**."
    )


def difference(own: dict[str, Any], other: dict[str, Any]) -> str:
    """Mean difference in k-NN at the same seeds, with the 95 % interval of Student's t."""
    theirs = dict(zip(other["seeds"], other["knn"]["values"], strict=True))
    pairs = [value - theirs[seed] for seed, value in zip(own["seeds"], own["knn"]["values"], strict=True)]
    mean = statistics.fmean(pairs)
    if len(pairs) < 2:
        return f"{mean:+.1f}"
    half = stats.t.ppf(0.975, len(pairs) - 1) * statistics.stdev(pairs) / len(pairs) ** 0.5
    return f"{mean:+.1f} ({mean - half:+.1f} to {mean + half:+.1f})"


COLUMNS = {
    "linear_10_acc1": "linear, 10 ep",
    "linear_100_acc1": "linear, 100 ep",
    "kmeans_acc": "k-means",
    "rankme": "RankMe",
    "peak_memory_mib": "peak MiB",
}


def cifar10(name: str = "cifar10-cpu.json", baseline: str | None = None) -> str:
    """A comparison's table; differences are to iBOT's seeds in the same table, or in `baseline`."""
    table = read(name)
    [ibot] = [row for row in read(baseline or name)["rows"] if row["method"] == "ibot"]
    columns = {key: title for key, title in COLUMNS.items() if any(key in row for row in table["rows"])}
    rows = [
        [
            f"`{row['method']}`",
            ", ".join(map(str, row["seeds"])),
            format_cell(row["knn"]),
            "–" if row["method"] in ("ibot", "random") else difference(row, ibot),
            *(format_cell(row.get(key)) for key in columns),
        ]
        for row in table["rows"]
    ]
    head = ["method", "seeds", "k-NN", "− `ibot`", *columns.values()]
    made = f"Commit {table['commit']}; {table['data']['device']} for each run."
    if any(len(row["peak_memory_mib"]["values"]) < len(row["seeds"]) for row in table["rows"]):
        made += " The memory of a method with seeds of several commits is that at the last of them."
    return f"{markdown(head, rows)}\n\n{made}"


def quick(columns: dict[str, str]) -> str:
    """Without seconds: two runs share the machine."""
    table = read("quick.json")
    keys = [key for key in columns if key != "seconds" and any(key in row for row in table["rows"])]
    rows = [[f"`{row['method']}`", *(format_cell(row.get(key)) for key in keys)] for row in table["rows"]]
    seeds = ", ".join(map(str, table["rows"][0]["seeds"]))
    made = f"Commit {table['commit']}, seeds {seeds}, torch {table['data']['versions']['torch']}."
    return f"{markdown(['method', *(columns[key] for key in keys)], rows)}\n\n{made}"


README_COLUMNS = {
    "knn": "k-NN",
    "linear_100_acc1": "linear, 100 epochs",
    "finetune_acc1": "fine-tune",
    "kmeans_acc": "k-means",
    "rankme": "RankMe",
}


def cifar10_trials() -> str:
    record = read("cifar10-trials.json")
    rows = []
    for trial in record["trials"]:
        own = {key: value for key, value in trial["settings"].items() if key not in ("objective.method", "train.steps")}
        for term in own.pop("objective.terms", None) or []:
            own[term["loss"]] = f"alone, to the {term['anchors']}'s embeddings, {term['options']}"
        rows.append(
            [
                f"`{trial['settings'].get('objective.method', record['first']['objective.method'])}`",
                ", ".join(f"{key} {value}" for key, value in own.items()) or "–",
                str(trial["steps"]),
                f"{trial['knn'][-1][1]:.1f}",
                f"{trial['rankme']:.0f}",
                f"{trial['relation_correlation']:.2f}" if "relation_correlation" in trial else "–",
            ]
        )
    return markdown(["method", "what differs", "steps", "k-NN", "RankMe", "relation correlation"], rows)


POSTER = {"random": 33.90, "ibot": 25.65, "rkd-d": 33.82, "rkd-a": 33.72}
"""Its Table 1, linear probe of 10 epochs, percent. Its rows 2 to 4 are named iBOT & KD, iBOT & RKD-D, iBOT & RKD-A."""


def cifar10_poster() -> str:
    """Linear probes of 10 epochs less those of the same network's random weights."""

    def means(name: str) -> dict[str, float]:
        return {row["method"]: row["linear_10_acc1"]["mean"] for row in read(name)["rows"]}

    def gain(figures: dict[str, float], method: str) -> str:
        return f"{figures[method] - figures['random']:+.1f}" if method in figures else "–"

    control, tuned = means("cifar10-control.json"), means("cifar10-tuned.json")
    rows = [
        [f"`{method}`", *(gain(figures, method) for figures in (POSTER, control, tuned))]
        for method in tuned
        if method != "random"
    ]
    return markdown(["method", "the poster", "its setting, here", "our settings"], rows)


def cifar10_sweep() -> str:
    record = read("cifar10-sweep.json")
    keys = list(record["space"])
    rows = []
    for method, study in record["methods"].items():
        ended = [trial["state"] for trial in study["trials"]]
        reached = [trial["curve"][-1] for trial in study["trials"] if trial["curve"]]
        best = next((trial for trial in study["trials"] if trial["number"] == study["best"]), None)
        rows.append(
            [
                f"`{method}`",
                f"{len(ended)} ({ended.count('pruned')})",
                f"{min(reached):.1f} to {max(reached):.1f}" if reached else "–",
                *(["–"] * (1 + len(keys)) if best is None else [f"{best['knn']:.1f}"]),
                *(short(best["settings"][key]) for key in keys if best is not None),
            ]
        )
    head = ["method", "trials (stopped early)", "k-NN of all", "best", *(key.rpartition(".")[2] for key in keys)]
    return markdown(head, rows)


def cifar10_probes() -> str:
    record = read("cifar10-probes.json")
    names = [name for name in record["rows"][0] if name not in ("method", "training_seed", "knn")]
    rows = [
        [f"`{row['method']}`", *(", ".join(f"{value:.1f}" for value in row[name]) for name in names)]
        for row in record["rows"]
    ]
    return markdown(["method", *(name.replace("_", " ") for name in names)], rows)


def cifar10_attention() -> str:
    rows = [
        [f"`{row['method']}`", f"{row['combined']:.1f}", f"{row['combined_at_mass']:.0%}", f"{row['best_head']:.1f}"]
        for row in read("cifar10-attention.json")["rows"]
    ]
    return markdown(["method", "all heads together", "at this share of the attention", "best single head"], rows)


def ablation(question: str) -> str:
    rows = [
        [
            row["label"],
            str(row["steps"]),
            f"{row['knn'][len(row['knn']) // 2][1]:.1f}",
            f"{row['knn'][-1][1]:.1f}",
            f"{row['rankme']:.0f}",
            "–" if row["relation_correlation"] is None else f"{row['relation_correlation']:.2f}",
        ]
        for row in read("ablations.json")["ablations"][question]
    ]
    head = ["", "steps", "k-NN half-way", "k-NN", "RankMe", "relation correlation"]
    return markdown(head, rows)


QUESTIONS = ("space", "tokens", "standardise", "batch", "weight", "centring", "local")
TABLES: dict[str, Callable[[], str]] = {
    "relational": relational,
    "step": step,
    "views": views,
    "cost": cost,
    "added": added,
    "even-rows": even_rows,
    "optimizer": optimizer,
    "last-block": last_block,
    "quick": partial(quick, FIGURES),
    "readme": partial(quick, README_COLUMNS),
    "cifar10": cifar10,
    "cifar10-tuned": partial(cifar10, "cifar10-tuned.json"),
    "cifar10-long": partial(cifar10, "cifar10-long.json"),
    "cifar10-others": partial(cifar10, "cifar10-others.json", "cifar10-tuned.json"),
    "cifar10-control": partial(cifar10, "cifar10-control.json"),
    "cifar10-trials": cifar10_trials,
    "cifar10-sweep": cifar10_sweep,
    "cifar10-poster": cifar10_poster,
    "cifar10-probes": cifar10_probes,
    "cifar10-attention": cifar10_attention,
    **{f"ablation-{question}": partial(ablation, question) for question in QUESTIONS},
}


def pages() -> list[Path]:
    """Where tables may stand."""
    return [RESULTS.parent.parent / "README.md", *sorted(RESULTS.glob("*.md"))]


def filled(text: str) -> str:
    return _MARKED.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n\n{found[3]}", text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    stale = []
    for page in pages():
        text = page.read_text(encoding="utf-8")
        try:
            made = filled(text)
        except FileNotFoundError as error:
            print(f"{page.name}: no {Path(error.filename).name}, left as it is")
            continue
        if made != text:
            stale.append(page.name)
            if not options.check:
                page.write_text(made, encoding="utf-8")
    print("\n".join(stale) or "nothing to change")
    if stale and options.check:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
