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

from mrkd.reporting.read import read_runs
from mrkd.reporting.table import make_table, mean_std
from mrkd.run import write_json

RESULTS = Path(__file__).parent.parent / "docs" / "results"


def table_of(source: Path, commit: str | None) -> dict[str, Any]:
    """A comparison's table with the commit its runs were made at: this checkout's by default."""
    head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    table = make_table(read_runs([source])) if source.is_dir() else json.loads(source.read_text(encoding="utf-8"))
    return {"commit": commit or head.stdout.strip(), **table}


def joined(table: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """A table with the methods and seeds of another beside its own; `commits` of a row are of its seeds, in order.

    Raises:
        SystemExit: a seed of a method is in both.
    """
    rows: dict[str, dict[str, Any]] = {}
    for part in (table, more):
        for row in part["rows"]:
            new = {**row, "commits": row.get("commits") or [part["commit"]] * len(row["seeds"])}
            before = rows.get(row["method"])
            rows[row["method"]] = new if before is None else _with_seeds_of(before, new)
    commits = dict.fromkeys(commit for row in rows.values() for commit in row["commits"])
    return {**table, "commit": " and ".join(commits), "rows": list(rows.values())}


def _with_seeds_of(row: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    if again := set(row["seeds"]) & set(more["seeds"]):
        raise SystemExit(f"{row['method']}: seed {min(again)} is in both tables")
    result = {"method": row["method"], **{key: row[key] + more[key] for key in ("seeds", "commits")}}
    figures = {key: value for key, value in row.items() if key not in result and key in more}
    return result | {key: mean_std(value["values"] + more[key]["values"]) for key, value in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a comparison's folder, or its table.json")
    parser.add_argument("name", help="of the file in docs/results")
    parser.add_argument("--add", action="store_true", help="to what that file holds")
    parser.add_argument("--commit", help="of the runs, where it is not this checkout's")
    options = parser.parse_args()
    target, table = RESULTS / options.name, table_of(options.source, options.commit)
    if options.add:
        table = joined(json.loads(target.read_text(encoding="utf-8")), table)
    write_json(target, table)


if __name__ == "__main__":
    main()
