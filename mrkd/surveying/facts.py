"""The findings of `mrkd data`: plain values for `data.json`, and the lines that are printed."""

import dataclasses
from collections import Counter
from statistics import median
from typing import Any

import numpy as np

from mrkd.config import DataConfig
from mrkd.data.listing import Listings, SplitSummary
from mrkd.surveying.look import Look

NAMED = 5
"""Names shown of a list; data.json has them all."""


def gather(looks: dict[str, Look], listings: Listings, config: DataConfig) -> dict[str, Any]:
    """Everything there is to say, in values that JSON holds."""
    train, test, size = looks["train"], looks.get("test"), config.size
    seen = sum(len(look.headers) for look in looks.values())
    mean, square = np.sum([look.sums for look in looks.values()], axis=0) / max(seen, 1)
    headers = [header for look in looks.values() for header in look.headers.values()]
    return {
        "name": listings.name,
        "size": size,
        "images": {split: len(look.listing) for split, look in looks.items()},
        "splits": {split: _plain(summary) for split, summary in listings.splits.items()},
        "notes": list(listings.notes),
        "unscorable": listings.unscorable,
        "refused": [
            split for split, look in looks.items() if len(look.broken) > config.max_broken_fraction * len(look.listing)
        ],
        "width": _spread([header.width for header in headers]),
        "height": _spread([header.height for header in headers]),
        "smaller_than_size": sum(min(header.width, header.height) < size for header in headers),
        "formats": dict(Counter(header.format for header in headers).most_common()),
        "modes": dict(Counter(header.mode for header in headers).most_common()),
        "classes": {split: look.class_counts() for split, look in looks.items()},
        "broken": [text for look in looks.values() for text in look.names(look.broken)],
        "near_empty": [text for look in looks.values() for text in look.names(look.empty)],
        "duplicates": [
            [look.listing.names[row], look.listing.names[first]]
            for look in looks.values()
            for row, first in look.copies.items()
        ],
        "test_images_in_train": [] if test is None else _shared(train, test),
        "channel_mean": mean.tolist(),
        "channel_std": np.sqrt(np.maximum(square - mean**2, 0)).tolist(),
        "resident_gib": sum(len(look.headers) for look in looks.values()) * 3 * size**2 / 2**30,
    }


def _plain(summary: SplitSummary) -> dict[str, Any]:
    return {**dataclasses.asdict(summary), "classes": list(summary.classes)}


def _spread(values: list[int]) -> dict[str, float]:
    return {"min": min(values), "median": median(values), "max": max(values)} if values else {}


def _shared(train: Look, test: Look) -> list[list[str]]:
    return [
        [test.listing.names[row], train.listing.names[train.first_of[digest]]]
        for digest, row in test.first_of.items()
        if digest in train.first_of
    ]


def describe(facts: dict[str, Any]) -> list[str]:
    """A few lines; what is as it should be is said in a word."""
    counts = " · ".join(f"{split} {count:,}" for split, count in facts["images"].items())
    lines = [f"images      {counts}", *_splits(facts["splits"]), *(f"note        {note}" for note in facts["notes"])]
    if facts["unscorable"]:
        lines.append(f"note        no evaluation will be possible: {facts['unscorable']}")
    if facts["refused"]:
        lines.append(
            f"note        training will refuse the {' and '.join(facts['refused'])} images: more are broken than "
            "data.max_broken_fraction allows"
        )
    if facts["width"]:
        lines.append(f"size        width {_range(facts['width'])} · height {_range(facts['height'])} pixels")
    kinds = [", ".join(f"{kind} {count:,}" for kind, count in facts[key].items()) for key in ("formats", "modes")]
    lines += [f"format      {' · '.join(kinds)}", *_classes(facts["classes"])]
    lines.append(_listed("broken", facts["broken"]))
    pairs = [f"{copy} = {first}" for copy, first in facts["duplicates"]]
    lines.append(_listed("duplicates", pairs))
    if facts["test_images_in_train"]:
        lines.append(
            _listed("leaks", [f"test {copy} = train {first}" for copy, first in facts["test_images_in_train"]])
        )
    lines.append(_listed("near-empty", facts["near_empty"]))
    mean, std = (" ".join(f"{value:.3f}" for value in facts[key]) for key in ("channel_mean", "channel_std"))
    lines.append(f"channels    red green blue: mean {mean} · std {std}")
    lines.append(f"in memory   {facts['resident_gib']:.2f} GiB at {facts['size']} pixels{_enlarged(facts)}")
    return lines


def _splits(splits: dict[str, dict[str, Any]]) -> list[str]:
    """A line for each split of the source, and one for the classes of each that no other has."""
    lines = []
    for name, split in splits.items():
        labelled = {0: "unlabelled", split["images"]: "labelled"}.get(
            split["labelled"], f"{split['labelled']:,} labelled"
        )
        why = f" ({split['why_unlabelled']})" if split["why_unlabelled"] else ""
        lines.append(f"split       {name}: {split['images']:,} images, {labelled}{why}, {split['use']}")
    with_classes = {name: set(split["classes"]) for name, split in splits.items() if split["classes"]}
    for name, own in with_classes.items():
        alone = sorted(own.difference(*(other for split, other in with_classes.items() if split != name)))
        if alone and len(with_classes) > 1:
            lines.append(_listed(f"{name} only", alone))
    return lines


def _range(values: dict[str, float]) -> str:
    same = values["min"] == values["max"]
    return f"{values['min']}" if same else f"{values['min']} to {values['max']} (median {values['median']:g})"


def _classes(by_split: dict[str, dict[str, int]]) -> list[str]:
    counts: Counter[str] = Counter()
    for split_counts in by_split.values():
        counts.update(split_counts)
    if not counts:
        return ["classes     none found"]
    shown = counts.most_common(12)
    rest = f", … ({len(counts) - len(shown)} more, the smallest {min(counts.values()):,})" if len(counts) > 12 else ""
    return [f"classes     {len(counts)}: {', '.join(f'{name} {count:,}' for name, count in shown)}{rest}"]


def _listed(title: str, names: list[str]) -> str:
    shown = ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")
    return f"{title:11s} {len(names):,}: {shown}" if names else f"{title:11s} none"


def _enlarged(facts: dict[str, Any]) -> str:
    count = facts["smaller_than_size"]
    return f"; {count:,} images are smaller than that and enlarged" if count else ""
