"""Keep a comparison's table beside the result pages, from which `results_tables.py` fills them.

python experiments/keep_table.py runs/c10 cifar10-tuned.json        of all evaluated runs in a folder
python experiments/keep_table.py runs/c10/table.json quick.json     a table as `mrkd compare` wrote it
python experiments/keep_table.py runs/more cifar10-long.json --add  further methods and seeds, to those there
"""

import argparse
import json
import subprocess
from pathlib import Path
from typing import Any

from mrkd.reporting.columns import COSTS
from mrkd.reporting.read import read_runs
from mrkd.reporting.table import make_table, mean_std
from mrkd.system.files import write_json

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "results"
COST_KEYS = [column.key for column in COSTS]
NOT_OF_THE_DATA = ("device", "versions")


def table_of(source: Path, commit: str | None) -> dict[str, Any]:
    """A comparison's table with the commit its runs were made at: this checkout's by default."""
    table = make_table(read_runs([source])) if source.is_dir() else json.loads(source.read_text(encoding="utf-8"))
    table.pop("command", None)  # it has paths of the machine
    return {**table, "commit": commit or _head()}


def _head() -> str:
    line = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    return subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()


def joined(table: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """A table with the methods and seeds of another beside its own; `commits` of a row are of its seeds, in order.

    Time and memory are not averaged over programs: a row that both have keeps the second's, as has the row of raw
    pixels, which has no seeds.

    Raises:
        SystemExit: a seed of a method is in both, or they are not of the same data and figures.
    """
    ours, theirs = ({k: v for k, v in one["data"].items() if k not in NOT_OF_THE_DATA} for one in (table, more))
    if ours != theirs:
        raise SystemExit(f"both tables must be of the same data, got {ours} and {theirs}")
    rows: dict[str, dict[str, Any]] = {}
    for part in (table, more):
        for row in part["rows"]:
            new = {**row, "commits": row.get("commits") or [part["commit"]] * len(row["seeds"])}
            before = rows.get(row["method"])
            rows[row["method"]] = new if before is None or not row["seeds"] else _with_seeds_of(before, new)
    commits = dict.fromkeys(commit for row in rows.values() for commit in row["commits"])
    return {**table, "commit": " and ".join(commits), "rows": list(rows.values())}


def _with_seeds_of(row: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    method = row["method"]
    if again := set(row["seeds"]) & set(more["seeds"]):
        raise SystemExit(f"{method}: seed {min(again)} is in both tables")
    if row.keys() != more.keys():
        raise SystemExit(f"{method}: both tables must have the same figures, only one has {row.keys() ^ more.keys()}")
    seeds = row["seeds"] + more["seeds"]
    order = sorted(range(len(seeds)), key=seeds.__getitem__)
    result: dict[str, Any] = {"method": method}
    for key, value in row.items():
        if key in ("seeds", "commits"):
            result[key] = [(value + more[key])[place] for place in order]
        elif key in COST_KEYS:
            result[key] = more[key]
        elif key != "method":
            result[key] = mean_std([(value["values"] + more[key]["values"])[place] for place in order])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a comparison's folder, or its table.json")
    parser.add_argument("name", help="of the file in docs/results")
    parser.add_argument("--add", action="store_true", help="to what that file holds")
    parser.add_argument("--commit", help="of the runs, where it is not this checkout's")
    options = parser.parse_args()
    target, table = RESULTS / options.name, table_of(options.source, options.commit)
    if options.add:
        if not target.is_file():
            parser.error(f"--add needs a table to add to, and there is no {target}")
        table = joined(json.loads(target.read_text(encoding="utf-8")), table)
    write_json(target, table)


if __name__ == "__main__":
    main()
