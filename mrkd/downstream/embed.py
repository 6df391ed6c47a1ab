"""Every image of a source as a vector, with its name and label beside it. Axes: n images, D width."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from mrkd.config import Config
from mrkd.config.overrides import with_other_data
from mrkd.data.dataset import ImageDataset
from mrkd.data.listing import UNLABELLED
from mrkd.data.load import load
from mrkd.data.sources.find import check_outside
from mrkd.data.sources.memory import Images, name_source
from mrkd.errors import UserError
from mrkd.evaluation.features import Tokens, extract_features
from mrkd.runs.weights import load_backbone, open_run
from mrkd.system.files import write_atomically, write_json
from mrkd.system.output import say

SUFFIXES = (".parquet", ".npy", ".npz")


@dataclass(frozen=True, kw_only=True)
class Embeddings:
    """Vectors and what they belong to, in the order of the source: its files by path, or its rows.

    Where the source has splits of its own, the images of its training split come first.
    """

    vectors: np.ndarray
    """(n, D) float32."""
    paths: tuple[str, ...]
    """(n) path inside the source, or row."""
    splits: tuple[str, ...]
    """(n) `train` or `test`."""
    labels: np.ndarray | None
    """(n,) int64 class indices, -1 for an unlabelled image; None without any label."""
    class_names: tuple[str, ...]
    """Names in the order of the indices."""
    origin: dict[str, str]
    """Run, method, checkpoint, tokens and source that they were made with."""

    def __len__(self) -> int:
        return len(self.vectors)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The vectors, so that numpy and scikit-learn take this for an array."""
        return np.array(self.vectors, dtype=dtype, copy=copy)


def embed(
    run_path: str | os.PathLike[str],
    data: Images | None = None,
    out: str | os.PathLike[str] | None = None,
    *,
    tokens: Tokens = "cls",
    checkpoint: str = "backbone",
    config: Config | None = None,
    batch: int = 256,
) -> Embeddings:
    """Embed images with a run's teacher backbone.

    Args:
        run_path: a directory written by `pretrain`.
        data: any source that `--data` takes; or images: the path of an image file, a PIL image, an array (H, W, 3) or
            (n, H, W, 3), a tensor (3, H, W) or (n, 3, H, W), a list of these, or a torch data set whose items are
            images or (image, label). The run's own images when None.
        out: a `.parquet`, `.npz` or `.npy` file to write as well, outside the images' folder. The last holds the
            vectors alone; `NAME.paths.json` beside it lists the path of every row.
        tokens: the class token after the last norm, or the mean of the patch tokens.
        checkpoint: `backbone`, the result of the training; `best`, `last` or a step for one of its checkpoints.
        config: the run's own when None; given, its `data` section is used.
        batch: images at a time.
    Returns:
        The vectors, in the order of the images, with their paths and labels. `numpy.asarray` takes the vectors alone.
    Raises:
        UserError: no such run, checkpoint or source, something that is no image, or `out` exists, has another ending
            or lies inside the images' folder.
    """
    if tokens not in get_args(Tokens):
        raise UserError(f"tokens must be {' or '.join(get_args(Tokens))}, got {tokens!r}")
    if out is not None:
        _check_target(Path(out))
    run = open_run(run_path, checkpoint)
    config = config or run.config()
    if data is not None:
        # `_held` keeps images that were given in Python until they have been read.
        source, _held = name_source(data, config.data)
        config = with_other_data(config, source)
    if out is not None:
        check_outside(out, config.data.source)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    vit = load_backbone(run, checkpoint).to(device)
    splits = load(config.data, device)
    images = {"train": splits.train} if splits.test is None else {"train": splits.train, "test": splits.test}
    parts = {
        split: extract_features(vit, part, batch=batch, tokens=tokens, title=f"embed {splits.name}, {split}")
        for split, part in images.items()
    }
    broken = list(splits.broken)
    for split, part in parts.items():
        read = set(part.images.names)
        broken += [name for name in images[split].names if name not in read]
    if broken:
        say(f"{len(broken)} broken images were left out, such as {broken[0]}")
    labels = [_labels(part.images) for part in parts.values()]
    order = np.argsort(np.concatenate([np.asarray(part.images.source_rows) for part in parts.values()]))
    paths = [name for part in parts.values() for name in part.images.names]
    of_split = [split for split, part in parts.items() for _ in range(len(part))]
    result = Embeddings(
        vectors=np.concatenate([part.features.cpu().numpy() for part in parts.values()])[order],
        paths=tuple(paths[row] for row in order),
        splits=tuple(of_split[row] for row in order),
        labels=None if all(part.labels is None for part in images.values()) else np.concatenate(labels)[order],
        class_names=max((part.class_names for part in images.values()), key=len),
        origin={
            "run": str(run.path),
            "method": run.config().objective.method,
            "checkpoint": checkpoint,
            "tokens": tokens,
            "source": config.data.source,
        },
    )
    if out is not None:
        write_embeddings(result, Path(out))
    return result


def _labels(images: ImageDataset) -> np.ndarray:
    return np.full(len(images), UNLABELLED) if images.labels is None else images.labels.cpu().numpy()


def _check_target(out: Path) -> None:
    if out.suffix not in SUFFIXES:
        raise UserError(f"embeddings are written to a file ending in {', '.join(SUFFIXES)}, got {out.name}")
    for path in (out, _paths_file(out)) if out.suffix == ".npy" else (out,):
        if path.exists():
            raise UserError(f"{path} exists: choose another --out")


def _paths_file(out: Path) -> Path:
    """Lists the path of every row of a `.npy` file."""
    return out.with_name(f"{out.stem}.paths.json")


def write_embeddings(embeddings: Embeddings, out: Path) -> None:
    """Write a `.parquet`, `.npz` or `.npy` file atomically, the last with its list of paths.

    Raises:
        UserError: `out` exists or has another ending.
    """
    _check_target(out)
    write = {".parquet": _write_parquet, ".npz": _write_npz, ".npy": _write_npy}[out.suffix]
    if out.suffix == ".npy":
        write_json(_paths_file(out), list(embeddings.paths))
    write_atomically(out, lambda path: write(embeddings, path))


def _write_parquet(embeddings: Embeddings, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {"path": pa.array(embeddings.paths), "split": pa.array(embeddings.splits)}
    if embeddings.labels is not None:
        columns["label"] = pa.array(embeddings.labels)
        columns["class_name"] = pa.array(
            [None if label == UNLABELLED else embeddings.class_names[label] for label in embeddings.labels]
        )
    width = embeddings.vectors.shape[1]
    columns["embedding"] = pa.FixedSizeListArray.from_arrays(pa.array(embeddings.vectors.ravel()), width)
    pq.write_table(pa.table(columns).replace_schema_metadata(embeddings.origin), path)


def _write_npz(embeddings: Embeddings, path: Path) -> None:
    arrays: dict[str, Any] = {"embeddings": embeddings.vectors}
    arrays |= {"paths": np.array(embeddings.paths), "splits": np.array(embeddings.splits)}
    if embeddings.labels is not None:
        arrays |= {"labels": embeddings.labels, "class_names": np.array(embeddings.class_names)}
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)


def _write_npy(embeddings: Embeddings, path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, embeddings.vectors)
