"""Gather single trainings into one JSON file, for a results page: what differed, and the k-NN along each run.

    python experiments/collect_trials.py runs/trials/* --out docs/results/cifar10-trials.json

Runs are compared with the first one named; settings that all share are written once.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from mrkd.run import Run, write_json
from mrkd.settings import flatten, to_dict

_LAST = ("rankme", "relation_correlation", "images_per_second", "terms")


def trial(path: Path, shared: dict[str, Any]) -> dict[str, Any]:
    run = Run.open(path)
    rows, settings = run.metrics(), flatten(to_dict(run.config()), str(path))
    summary = json.loads((path / "summary.json").read_text(encoding="utf-8"))
    return {
        "name": path.name,
        "settings": {key: value for key, value in settings.items() if shared[key] != value},
        "knn": [[row["step"], round(row["knn"], 2)] for row in rows if "knn" in row],
        **{key: rows[-1][key] for key in _LAST if key in rows[-1]},
        "steps": summary["steps"],
        "seconds": round(summary["seconds"], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", required=True, type=Path)
    options = parser.parse_args()
    finished = [path for path in options.runs if Run(path).finished]
    shared = flatten(to_dict(Run.open(finished[0]).config()), "first")
    trials = [trial(path, shared) for path in finished]
    write_json(options.out, {"shared": {**shared, "data.source": "CIFAR-10 (JPEG)"}, "trials": trials})
    print(f"{len(trials)} finished runs of {len(options.runs)}: {options.out}")


if __name__ == "__main__":
    main()
