"""Single runs: trials, sweeps, probes with other seeds, attention, one setting at a time."""

from collections.abc import Callable
from functools import partial

from mrkd.studies.sweep_results import short
from tables.form import markdown, read

QUESTIONS = ("space", "tokens", "standardise", "batch", "weight", "centring", "local")
"""Of the ablations."""


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


TABLES: dict[str, Callable[[], str]] = {
    "cifar10-trials": cifar10_trials,
    "cifar10-sweep": cifar10_sweep,
    "cifar10-probes": cifar10_probes,
    "cifar10-attention": cifar10_attention,
    **{f"ablation-{question}": partial(ablation, question) for question in QUESTIONS},
}
