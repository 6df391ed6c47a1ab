"""Run directories without a training: numbers that could be, for tests of what is made of them."""

import json
from pathlib import Path

import numpy as np

from mrkd.runs.npz import write_npz
from mrkd.runs.run import ATTENTION, EMBEDDING, RELATIONS, SEGMENTATION
from mrkd.system.files import write_json, write_text

CLASSES = ["cat", "dog"]


def make_run(path: Path, method: str = "rkd-d", seed: int = 0, **more) -> Path:
    """A run of 40 steps; see `write_run` for the rest."""
    write_text(
        path / "config.yaml",
        json.dumps(
            {
                **{section: {} for section in ("model", "optim", "evaluation", "attention")},
                "objective": {"method": method},
                "train": {"seed": seed, "epochs": 4},
                "data": {"source": "digits"},
            }
        ),
    )
    rows = [{"step": 0, "epoch": 0.0, "feature_std": 0.1, "rankme": 3.0, "knn": 20.0}]
    for step in range(10, 50, 10):
        rows.append(
            {
                "step": step,
                "epoch": step / 10,
                "loss": 2.0 / step + seed,
                "terms": {f"{method} [cls]": 2.0 / step},
                "agreement": 10.0 + step,
                "seconds": step / 5,
                "verdict": "healthy",
            }
        )
    write_text(path / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    if more.pop("finished", True):
        finish_run(path, method, seed, **more)
    return path


def finish_run(path: Path, method: str, seed: int, accuracy: float = 80.0, sentence: str = "healthy: fine") -> None:
    """Summary and evaluation."""
    versions = {"mrkd": "0", "torch": "0", "python": "3"}
    write_json(
        path / "summary.json",
        {
            "method": method,
            "seed": seed,
            "steps": 40,
            "seconds": 8.0,
            "peak_memory_mib": 300.0,
            "device": "a CPU",
            "verdict": {"kind": "healthy", "sentence": sentence},
            "versions": versions,
        },
    )
    scores = {"acc1": accuracy + seed, "acc5": 99.0, "protocol": {"k": 20}}
    write_json(
        path / "evaluation.json",
        {
            "knn": scores,
            "linear": scores,
            "linear_sgd": {"10_epochs": scores},
            "kmeans": {"acc": 50.0, "nmi": 40.0, "ari": 30.0, "protocol": {}},
            "health": {"rankme": 12.0},
            "data": {"name": "digits", "train_images": 100, "test_images": 50, "scored_on": "test"},
        },
    )


def add_arrays(
    path: Path,
    *,
    images: int = 4,
    heads: int = 3,
    grid: int = 4,
    mapped: int = 30,
    batch: int = 8,
    moments: int = 3,
    class_names: list[str] = CLASSES,
) -> None:
    """Attention, a map and relations, of noise: the worst that a compressor can meet."""
    generator = np.random.default_rng(7)

    def pictures(count: int) -> np.ndarray:
        return generator.integers(0, 256, (count, 3, 32, 32)).astype(np.uint8)

    def shares(*shape: int) -> np.ndarray:
        drawn = generator.exponential(size=(*shape, grid, grid))
        return (drawn / drawn.sum(axis=(-2, -1), keepdims=True)).astype(np.float32)

    maps, names = shares(images, heads), np.array(class_names, dtype=np.str_)
    write_npz(
        path / ATTENTION,
        {
            "images": pictures(images),
            "heads": maps,
            "combined": maps.mean(axis=1),
            "mask": maps.mean(axis=1) > 1 / grid**2,
            "mass": np.array(0.6),
            "patches": shares(images, heads, grid * grid).astype(np.float16),
            "labels": np.arange(images) % len(class_names),
            "class_names": names,
            "objects": generator.random((images, 32, 32)) < 0.3,
        },
    )
    scores = {"combined": [20.0, 30.0, 25.0], "best_head": [25.0, 35.0, 30.0]}
    write_json(
        path / SEGMENTATION,
        {
            "mass": [0.3, 0.6, 0.9],
            "jaccard": scores,
            "random_weights": {"combined": [10.0, 12.0, 14.0], "best_head": [11.0, 13.0, 15.0]},
            "whole_image": 30.0,
            "images": 50,
            "scored_on": "test",
            "chosen_mass": 0.6,
        },
    )
    write_npz(
        path / EMBEDDING,
        {
            "images": pictures(mapped),
            "labels": np.arange(mapped) % len(class_names),
            "class_names": names,
            "pca": generator.normal(size=(mapped, 2)).astype(np.float32),
            "tsne": generator.normal(size=(mapped, 2)).astype(np.float32),
            "explained": np.array([0.5, 0.2]),
            "clusters": np.arange(mapped) % len(class_names),
            "neighbours": (np.arange(mapped)[:, None] + np.arange(1, 9)) % mapped,
            "perplexity": np.array(9.0),
        },
    )
    pairs = batch * (batch - 1) // 2
    write_npz(
        path / RELATIONS,
        {
            "steps": np.arange(moments) * 20,
            "teacher": 1 + generator.random((moments, pairs)),
            "student": 1 + generator.random((moments, pairs)),
            "views": pictures(2 * batch).reshape(2, batch, 3, 32, 32),
            "patch_mask": generator.random((batch, grid, grid)) < 0.3,
            "labels": np.sort(np.arange(batch) % 2),
        },
    )
