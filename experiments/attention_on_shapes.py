"""Where the attention of trained networks goes on images of another kind, whose objects are known.

    mrkd attend RUN --data.source shapes --data.train_images null      for each of the runs, on copies of them
    python experiments/attention_on_shapes.py RUN ... --out docs/results/cifar10-attention.json --figure RUN

Collects each run's `attention.json`; the figure of one run becomes OUT's name with `.png`, in 256 colours.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from PIL import Image

from mrkd.runs.run import ATTENTION_FIGURE, SEGMENTATION, RunDirectory
from mrkd.system.files import write_json


def measured(run: RunDirectory) -> dict[str, Any]:
    """The best overlap over all shares of the attention, of all heads together and of the best head."""
    found = json.loads((run.path / SEGMENTATION).read_text(encoding="utf-8"))
    combined = found["jaccard"]["combined"]
    return {
        "method": run.config().objective.method,
        "training_seed": run.config().train.seed,
        "images": found["images"],
        "combined": round(max(combined), 2),
        "combined_at_mass": found["mass"][combined.index(max(combined))],
        "best_head": round(max(found["jaccard"]["best_head"]), 2),
        "whole_image": round(found["whole_image"], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--figure", type=Path, required=True, metavar="RUN")
    options = parser.parse_args()
    write_json(options.out, {"data": "shapes", "rows": [measured(RunDirectory.open(path)) for path in options.runs]})
    picture = Image.open(options.figure / ATTENTION_FIGURE).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(options.out.with_suffix(".png"), optimize=True)


if __name__ == "__main__":
    main()
