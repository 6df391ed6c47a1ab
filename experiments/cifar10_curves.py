"""The curves of a comparison's runs at one seed: the poster's figure 2, with what that figure leaves open.

    python experiments/cifar10_curves.py runs/c10 --seed 0 --name cifar10-curves

Writes docs/results/NAME.json and NAME.png; without a comparison, draws the picture from the JSON alone.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib

from mrkd.reporting.palette import method_styles
from mrkd.reporting.read import read_runs
from mrkd.runs.run import RunDirectory
from mrkd.system.files import write_json

matplotlib.use("Agg")
import matplotlib.pyplot as plt

RESULTS = Path(__file__).parent.parent / "docs" / "results"
PANELS = {
    "loss": "loss, over the first",
    "agreement": "agreement of student and teacher, %",
    "relation_correlation": "correlation of distances, two views",
    "cls_cosine": "mean cosine of class tokens",
    "rankme": "RankMe",
    "knn": "k-NN on held-out training images, %",
}
DIGITS = 4


def curves(path: Path) -> dict[str, list[list[float]]]:
    """Each number as pairs of step and value."""
    rows = RunDirectory.open(path).metrics()
    found = {key: [[row["step"], round(row[key], DIGITS)] for row in rows if key in row] for key in PANELS}
    # Without a loss on the prototypes these are random directions, and agreeing on them means nothing.
    if not any(name in ("ibot-cls", "ibot-patch") for name in rows[-1]["terms"]):
        del found["agreement"]
    return {key: values for key, values in found.items() if values}


def draw(record: dict[str, Any], path: Path) -> None:
    methods = list(record["methods"])
    styles = dict(zip(methods, method_styles(methods), strict=True))
    figure, panels = plt.subplots(2, 3, figsize=(13, 6.5), layout="constrained")
    for axis, (key, title) in zip(panels.flat, PANELS.items(), strict=True):
        for method, of_method in record["methods"].items():
            if key not in of_method:
                continue
            steps, values = zip(*of_method[key], strict=True)
            scale = values[0] if key == "loss" else 1.0
            dash = [float(part) / 1.5 for part in styles[method]["dash"].split()]
            line = (0, dash) if dash else "solid"
            shown = [value / scale for value in values]
            axis.plot(steps, shown, color=styles[method]["colour"], linestyle=line, linewidth=1.4, label=method)
        axis.set_title(title, fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
        if key == "loss":
            axis.set_ylim(0, 1.25)
    for axis in panels[1]:
        axis.set_xlabel("step")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=9)
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comparison", nargs="?", type=Path, help="a folder of 'mrkd compare'")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="cifar10-curves")
    options = parser.parse_args()
    path = RESULTS / f"{options.name}.json"
    if options.comparison is not None:
        found = [run for run in read_runs([options.comparison]) if run.evaluation is not None]
        runs = {run.method: run.path for run in found if run.seed == options.seed and run.method != "random"}
        write_json(path, {"seed": options.seed, "methods": {method: curves(run) for method, run in runs.items()}})
    draw(json.loads(path.read_text(encoding="utf-8")), path.with_suffix(".png"))


if __name__ == "__main__":
    main()
