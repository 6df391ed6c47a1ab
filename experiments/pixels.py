"""k-NN and the linear probe on raw pixels, as every comparison has them, for a data set alone.

    python experiments/pixels.py --data PATH/cifar10 --out docs/results/pixels.json

Once for 10,000 training images and once for all; training and test split as the source has them.
"""

import argparse
from pathlib import Path
from typing import Any

import torch

from mrkd.config import Config, DataConfig
from mrkd.evaluation.pixels import evaluate_pixels
from mrkd.system.files import write_json


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--out", required=True, type=Path)
    options = parser.parse_args()
    rows = []
    for count in (10_000, None):
        data = DataConfig(source=options.data, size=options.size, train_images=count)
        found = evaluate_pixels(Config(data=data))
        row: dict[str, Any] = {"data": found["data"]["name"], "size": options.size}
        row |= {key: found["data"][key] for key in ("train_images", "test_images")}
        rows.append(row | {"knn": found["knn"]["acc1"], "linear": found["linear"]["acc1"]})
        print(rows[-1], flush=True)
    write_json(options.out, {"torch": torch.__version__, "rows": rows})


if __name__ == "__main__":
    main()
