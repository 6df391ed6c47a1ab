"""The same frozen features measured again with other seeds of the probes: how much of a figure is the probe's luck.

    python experiments/probe_seeds.py runs/c10/runs/*-seed0 --seeds 0 1 2 --out docs/results/cifar10-probes.json

k-NN and the converged linear probe have no seed. Nothing in the runs is changed.
"""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from mrkd.data.load import load
from mrkd.evaluation.evaluate_run import measure
from mrkd.evaluation.features import extract_features
from mrkd.runs.run import RunDirectory
from mrkd.runs.weights import load_backbone
from mrkd.system.files import write_json


def measured(run: RunDirectory, seeds: list[int]) -> dict[str, Any]:
    config = run.config()
    splits, vit = load(config.data), load_backbone(run)
    train, test = extract_features(vit, splits.train), extract_features(vit, splits.require_test())
    found: dict[str, Any] = {"method": config.objective.method, "training_seed": config.train.seed}
    for seed in seeds:
        probes = dataclasses.replace(config.evaluation, seed=seed, finetune_epochs=0, cluster_head_epochs=0)
        results = measure(vit, train, test, dataclasses.replace(config, evaluation=probes))
        for name, of_probe in {**results["linear_sgd"], "kmeans": results["kmeans"]}.items():
            found.setdefault(name, []).append(round(of_probe["acc1" if "acc1" in of_probe else "acc"], 2))
        found["knn"] = round(results["knn"]["acc1"], 2)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    rows = []
    for path in options.runs:
        rows.append(measured(RunDirectory.open(path), options.seeds))
        print(rows[-1], flush=True)
        write_json(options.out, {"seeds": options.seeds, "rows": rows})


if __name__ == "__main__":
    main()
