"""Gather single trainings into one JSON file, for a results page: what differed, and the k-NN along each run.

    python experiments/collect_trials.py runs/trials/* --images "CIFAR-10 (JPEG)" --out docs/results/cifar10-trials.json

Each run has what differs from the first finished one, whose settings are written in full.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from mrkd.config.overrides import flatten, to_dict
from mrkd.runs.run import RunDirectory
from mrkd.system.files import write_json

_LAST = ("rankme", "relation_correlation", "images_per_second", "terms")


def trial(path: Path, first: dict[str, Any]) -> dict[str, Any]:
    run = RunDirectory.open(path)
    rows, settings = run.metrics(), flatten(to_dict(run.config()), str(path))
    summary = json.loads((path / "summary.json").read_text(encoding="utf-8"))
    return {
        "name": path.name,
        "settings": {key: value for key, value in settings.items() if first[key] != value},
        "knn": [[row["step"], round(row["knn"], 2)] for row in rows if "knn" in row],
        **{key: rows[-1][key] for key in _LAST if key in rows[-1]},
        "steps": summary["steps"],
        "seconds": round(summary["seconds"], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--images", required=True, help="what to call the images instead of their path")
    parser.add_argument("--out", required=True, type=Path)
    options = parser.parse_args()
    finished = [path for path in options.runs if RunDirectory(path).finished]
    first = flatten(to_dict(RunDirectory.open(finished[0]).config()), "first")
    trials = [trial(path, first) for path in finished]
    write_json(options.out, {"first": {**first, "data.source": options.images}, "trials": trials})
    print(f"{len(trials)} finished runs of {len(options.runs)}: {options.out}")


if __name__ == "__main__":
    main()
