"""Fill the tables of the result pages from the JSON beside them.

    python experiments/results_tables.py          write them
    python experiments/results_tables.py --check  say which would change

A page in docs/results holds `<!-- table: NAME -->` and `<!-- end -->`; what lies between is made here.
"""

import argparse
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent.parent / "docs" / "results"
_MARKED = re.compile(r"(<!-- table: ([a-z0-9-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def read(name: str) -> Any:
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


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
                f"{case['ours']['milliseconds']:.3g}",
                f"{case['floor_milliseconds']:.2g}",
                f"{case['ours']['mib']:.3g}",
                f"{theirs['milliseconds']:,.3g}" if theirs else "–",
                f"{theirs['mib']:,.0f}" if theirs else "–",
                f"{case['times_faster']:.3g}" if theirs else "–",
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
                ]
            )
    head = ["network", "precision", "whose step", "images/s", "ours", "ours is faster, times"]
    batch = record["rows"][0]["batch"]
    return f"{markdown(head, rows)}\n\nBatch {batch}. {machine(record)}"


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


TABLES: dict[str, Callable[[], str]] = {"relational": relational, "step": step, "views": views, "cost": cost}


def filled(text: str) -> str:
    return _MARKED.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n\n{found[3]}", text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    stale = []
    for page in sorted(RESULTS.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        if (made := filled(text)) != text:
            stale.append(page.name)
            if not options.check:
                page.write_text(made, encoding="utf-8")
    print("\n".join(stale) or "nothing to change")
    if stale and options.check:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
