"""k-NN of raw pixels, centred by the training mean: what every learnt feature must leave behind.

    python experiments/pixels.py --data PATH/cifar10 --out docs/results/pixels.json

k = 20, temperature 0.07, cosine, as evaluations have it; training and test split as the source has them.
"""

import argparse
from pathlib import Path
from typing import Any

import torch

from mrkd.config import DataConfig
from mrkd.data.load import load
from mrkd.evaluation.knn import accuracy, knn_class_scores
from mrkd.system.files import write_json


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--out", required=True, type=Path)
    options = parser.parse_args()
    rows = []
    for count in (10_000, None):
        splits = load(DataConfig(source=options.data, size=options.size, train_images=count))
        train, test = splits.train.in_memory(), splits.require_test().in_memory()
        pixels = train.images.flatten(1).float()
        mean = pixels.mean(dim=0)
        scores = knn_class_scores(
            pixels - mean,
            train.require_labels("k-NN"),
            test.images.flatten(1).float() - mean,
            k=20,
            temperature=0.07,
            classes=len(train.class_names),
        )
        row: dict[str, Any] = {"data": splits.name, "size": options.size, "train_images": len(train)}
        rows.append(row | {"test_images": len(test), "knn": accuracy(scores, test.require_labels("k-NN"))})
        print(rows[-1], flush=True)
    write_json(options.out, {"torch": torch.__version__, "rows": rows})


if __name__ == "__main__":
    main()
