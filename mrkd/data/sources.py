"""Where images come from: embedded digits, parquet, folders. Found first (`list_splits`), then decoded (`load`)."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mrkd.config import DataConfig
from mrkd.data.folder import IMAGE_SUFFIXES, list_folder
from mrkd.data.listing import KeptCells, Listing, Listings
from mrkd.data.resident import ImageSet, decode_listing
from mrkd.data.splitting import SPLIT_SEED, stratified, subset
from mrkd.data.tables import list_parquet
from mrkd.errors import UserError, nearest

__all__ = ["ImageSet", "Splits", "list_splits", "load", "stratified_split"]


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The training images and the images that evaluations score, decoded."""

    train: ImageSet
    test: ImageSet | None
    """None when the source is unlabelled and has no split of its own."""
    name: str
    """Short name for tables, such as `digits`."""
    broken: tuple[str, ...] = ()
    """Names of images that could not be read."""

    def require_test(self) -> ImageSet:
        """The test split, or a UserError."""
        if self.test is None:
            raise UserError(f"{self.name} has no test split and no labels to make one: nothing can be evaluated on it")
        return self.test


def load(config: DataConfig) -> Splits:
    """Find, decode and resize the images of a source.

    Raises:
        UserError: the source is missing, empty, too broken or too large.
    """
    listings = list_splits(config)
    train, broken = decode_listing(listings.train, config)
    test = None
    if listings.test is not None:
        test, more = decode_listing(listings.test, config)
        broken += more
    if len(train) == 0:
        raise _no_images(config.source)
    return Splits(train=train, test=test, name=listings.name, broken=broken)


def list_splits(config: DataConfig) -> Listings:
    """Find the images of a source and share them out: splits, holdout and limits are applied, nothing is decoded.

    Raises:
        UserError: the source is missing or empty.
    """
    name, found = ("digits", _digits(config.size)) if config.source == "digits" else _from_path(config)
    train, test = _train_and_test(found)
    if train is None:
        raise _no_images(config.source)
    if config.holdout == "validation":
        train, test = _split_off(train, 0.2)
    if config.train_images is not None and config.train_images < len(train):
        train = train.take(subset(len(train), config.train_images).tolist())
    if test is not None and config.test_images is not None and config.test_images < len(test):
        test = test.take(subset(len(test), config.test_images).tolist())
    return Listings(train=train, test=test, name=name)


def stratified_split(images: ImageSet, fraction: float, seed: int = SPLIT_SEED) -> tuple[ImageSet, ImageSet]:
    """Split off `fraction` of every class (of all images when unlabelled); the choice is fixed by `seed`."""
    labels = torch.zeros(len(images), dtype=torch.int64) if images.labels is None else images.labels
    keep, out = (part.to(images.images.device) for part in stratified(labels, fraction, seed))
    return images.take(keep), images.take(out)


def _train_and_test(found: dict[str, Listing]) -> tuple[Listing | None, Listing | None]:
    found = {split: listing for split, listing in found.items() if len(listing)}
    train, test = found.get("train"), found.get("test") or found.get("validation")
    if train is None or test is None:
        only = train or test
        return (only, None) if only is None or only.labels is None else _split_off(only, 0.2)
    return train, test


def _split_off(listing: Listing, fraction: float) -> tuple[Listing, Listing]:
    keep, out = stratified([0] * len(listing) if listing.labels is None else listing.labels, fraction)
    return listing.take(keep.tolist()), listing.take(out.tolist())


def _from_path(config: DataConfig) -> tuple[str, dict[str, Listing]]:
    path = Path(config.source).expanduser()
    if not path.exists():
        hint = nearest(config.source, ["digits"]) if os.sep not in config.source else "check the path"
        raise UserError(f"data source {config.source!r} must be 'digits' or an existing path: {hint}")
    if path.is_dir():
        files = sorted(path.rglob("*.parquet"))
        found = list_parquet(files, path, config) if files else list_folder(path)
        return path.resolve().name, found
    if path.suffix != ".parquet":
        raise UserError(f"a data file must be parquet, got {path.name}: give its folder to read images")
    return path.resolve().stem, list_parquet([path], path.parent, config)


def _no_images(source: str) -> UserError:
    return UserError(
        f"no readable images found in {source}: expected parquet, or files ending in {' '.join(IMAGE_SUFFIXES)}"
    )


def _digits(size: int) -> dict[str, Listing]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    grey = torch.from_numpy(np.asarray(bunch.images, dtype=np.float32))[:, None] * (255.0 / 16.0)  # (n, 1, 8, 8)
    images = torch.nn.functional.interpolate(grey, size=(size, size), mode="bilinear", align_corners=False)
    pixels = images.round().clamp(0, 255).to(torch.uint8).expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy()
    return {
        "train": Listing(
            names=[f"digits row {row}" for row in range(len(pixels))],
            cells=KeptCells(pixels),
            labels=bunch.target.tolist(),
            class_names=tuple(str(name) for name in bunch.target_names),
        )
    }
