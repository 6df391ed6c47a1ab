"""Time and memory, from relational.json and performance.json."""

from collections.abc import Callable
from typing import Any

from tables.form import machine, markdown, number, read


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


TABLES: dict[str, Callable[[], str]] = {
    "relational": relational,
    "step": step,
    "views": views,
    "cost": cost,
    "added": added,
    "even-rows": even_rows,
    "optimizer": optimizer,
    "last-block": last_block,
}
