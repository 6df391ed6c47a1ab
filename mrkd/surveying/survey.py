"""`mrkd data`: read every image once, print what was found, and draw the views for training."""

import os
from pathlib import Path
from typing import Any

import torch

from mrkd.config import Config
from mrkd.data.listing import UNLABELLED, Listing, missing_file
from mrkd.data.sources.find import check_outside, list_splits
from mrkd.data.sources.splits import subset
from mrkd.errors import UserError
from mrkd.model.backbone import create_vit, patch_grid
from mrkd.surveying.facts import gather
from mrkd.surveying.look import look_at
from mrkd.surveying.sheets import draw_images, draw_views
from mrkd.system.files import write_atomically, write_json

FACTS, IMAGES, VIEWS = "data.json", "images.png", "views.png"
SHOWN = 60
VIEWED = 6


def survey(config: Config, out: str | os.PathLike[str]) -> dict[str, Any]:
    """Look at the images of `config.data`; write `data.json`, `images.png` and `views.png` into the folder `out`.

    Returns:
        The content of `data.json`.
    Raises:
        UserError: there are no images, none can be read, the patches do not fit the size, or `out` lies inside the
            images' folder, where its pictures would be found as images from then on.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise UserError(f"--out must be a directory, got the file {out}")
    check_outside(out, config.data.source)
    with torch.device("meta"):  # only its patches are asked for
        grid = patch_grid(create_vit(config.model, config.data.size), config.data.size)
    listings = list_splits(config.data)
    chosen = _choose(listings.train)
    looks = {"train": look_at(listings.train, config.data, set(chosen), "looking at the training images")}
    if listings.test is not None:
        looks["test"] = look_at(listings.test, config.data, set(), "looking at the test images")
    train = looks["train"]
    shown = [row for row in chosen if row in train.kept]
    if not shown:
        raise UserError(
            f"none of the images of {config.data.source} can be read "
            f"(first: {train.names(train.broken)[0]}{missing_file(listings.train, train.broken[0])})"
        )
    facts = gather(looks, listings, config.data)
    write_json(out / FACTS, facts)
    pixels = [train.kept[row] for row in shown]
    captions = _captions(listings.train, shown)
    title = f"{listings.name} · {len(shown)} of {len(listings.train):,} training images at {config.data.size} pixels"
    write_atomically(out / IMAGES, lambda path: draw_images(path, pixels, captions, title))
    below = f"{listings.name} · what training sees: blue patches are hidden from the student"
    write_atomically(out / VIEWS, lambda path: draw_views(path, pixels[:VIEWED], config, grid, below))
    return facts


def _choose(listing: Listing) -> list[int]:
    """Rows to show: a fixed draw, with all classes in turn when there are any."""
    rows = subset(len(listing), len(listing)).tolist()
    if listing.labels is None:
        return rows[:SHOWN]
    turn: dict[int, int] = {}
    order = []
    for row in rows:
        label = listing.labels[row]
        turn[label] = turn.get(label, -1) + 1
        order.append((turn[label], label, row))
    return [row for _, _, row in sorted(order)[:SHOWN]]


def _captions(listing: Listing, rows: list[int]) -> list[str]:
    if listing.labels is None:
        return [""] * len(rows)
    labels = [listing.labels[row] for row in rows]
    return ["unlabelled" if label == UNLABELLED else listing.class_names[label] for label in labels]
