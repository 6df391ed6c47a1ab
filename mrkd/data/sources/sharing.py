"""Choose which images of a source are trained on and which are scored, and describe the choice in words."""

from collections.abc import Mapping
from dataclasses import dataclass

from mrkd.config import DataConfig
from mrkd.data.listing import UNLABELLED, Listing, Listings, SplitSummary
from mrkd.data.sources.splits import stratified, subset
from mrkd.data.sources.text import listed

SET_ASIDE = 0.2
"""Part of every class that is set aside as test images where a source has no test split."""


@dataclass
class _Shares:
    train: Listing
    test: Listing | None
    uses: dict[str, str]
    """What becomes of each split of the source."""


def share_out(found: Mapping[str, Listing], config: DataConfig, name: str, notes: tuple[str, ...]) -> Listings | None:
    """Choose the scored split, set images aside where there is none, and apply the limits of `config`.

    Returns:
        The listings; None when the source has no image.
    """
    found = {split: listing for split, listing in found.items() if len(listing)}
    if not found:
        return None
    shares = _choose(found, config)
    train, test = _limited(shares.train, config.train_images), shares.test
    test = None if test is None or len(test) == 0 else _limited(test, config.test_images)
    return Listings(
        train=train,
        test=test,
        name=name,
        splits={split: _summary(listing, shares.uses[split]) for split, listing in found.items()},
        notes=(*notes, *_notes(found, shares)),
        unscorable=_unscorable(train, test, config),
    )


def _choose(found: Mapping[str, Listing], config: DataConfig) -> _Shares:
    """The test split is scored, or the validation split where no test image is labelled."""
    uses = dict.fromkeys(found, "left alone")
    held = [split for split in ("test", "validation") if split in found]
    held.sort(key=lambda split: not found[split].labelled())  # stable: test comes first where both are labelled
    trained = "train" if "train" in found else held.pop(0)
    train, test = found[trained], found[held[0]] if held and trained == "train" else None
    uses[trained] = "trained on"
    if test is not None and config.holdout == "test":
        uses[held[0]] = "scored" if test.labelled() else "not scored"
    if test is None and train.labels is not None:
        train, test = _set_aside(train)
    if config.holdout == "validation":
        train, test = _set_aside(train)
    if len(train) < len(found[trained]):
        uses[trained] = f"trained on, except {len(found[trained]) - len(train):,} set aside"
    return _Shares(train, test, uses)


def _set_aside(listing: Listing) -> tuple[Listing, Listing]:
    """What is trained on, and a fixed fifth of every class; unlabelled images stay where others are labelled."""
    if listing.labels is None:
        keep, aside = (part.tolist() for part in stratified([0] * len(listing), SET_ASIDE))
        return listing.take(keep), listing.take(aside)
    labelled = [row for row, label in enumerate(listing.labels) if label != UNLABELLED]
    _, chosen = stratified([listing.labels[row] for row in labelled], SET_ASIDE)
    aside = [labelled[index] for index in chosen.tolist()]
    gone = set(aside)
    return listing.take(row for row in range(len(listing)) if row not in gone), listing.take(aside)


def _limited(listing: Listing, count: int | None) -> Listing:
    return listing if count is None or count >= len(listing) else listing.take(subset(len(listing), count).tolist())


def _summary(listing: Listing, use: str) -> SplitSummary:
    return SplitSummary(
        images=len(listing),
        labelled=listing.labelled(),
        why_unlabelled=listing.why_unlabelled,
        classes=tuple(sorted(listing.classes())),
        use=use,
    )


def _notes(found: Mapping[str, Listing], shares: _Shares) -> list[str]:
    notes = []
    if "train" not in found and len(found) > 1:
        uses = ", ".join(f"the {split} images are {use}" for split, use in shares.uses.items())
        notes.append(f"there is no training split: {uses}")
    for split, listing in found.items():
        missing = len(listing) - listing.labelled()
        if missing and any(other.labelled() for other in found.values()):
            effect = "trained on, not scored" if shares.uses[split].startswith("trained") else "not scored"
            count = f"{missing:,} of {len(listing):,}" if listing.labelled() else f"all {missing:,}"
            notes.append(f"{split}: {count} images are unlabelled, {effect}: {listing.why_unlabelled}")
    if shares.test is not None and shares.test.labelled():
        unknown = sorted(shares.test.classes() - shares.train.classes())
        if unknown and shares.train.labelled():
            notes.append(f"no training image has these classes, which are scored: {listed(unknown)}")
    return notes + _sparse_numbers(found) + _alike({name for listing in found.values() for name in listing.class_names})


def _alike(names: set[str]) -> list[str]:
    """Classes that somebody may have meant to be one."""
    by_letters: dict[str, list[str]] = {}
    for name in sorted(names):
        by_letters.setdefault(" ".join(name.casefold().split()), []).append(name)
    pairs = [" and ".join(map(repr, alike)) for alike in by_letters.values() if len(alike) > 1]
    return [f"classes that differ in case or spaces alone are kept apart: {listed(pairs)}"] if pairs else []


def _sparse_numbers(found: Mapping[str, Listing]) -> list[str]:
    """Numbers that are no class indices, such as years: every number up to the largest becomes a class."""
    names = max((listing.class_names for listing in found.values()), key=len)
    used = set().union(*(listing.classes() for listing in found.values()))
    if len(names) <= 2 * len(used) + 1 or names != tuple(map(str, range(len(names)))):
        return []
    return [
        f"labels are numbers below {len(names):,}, of which {len(used):,} have images: all {len(names):,} are classes"
    ]


def _unscorable(train: Listing, test: Listing | None, config: DataConfig) -> str:
    """Why nothing can be evaluated by labels; empty when something can."""
    if not train.labelled():
        return f"the training images are unlabelled: {train.why_unlabelled or 'none of those chosen has a label'}"
    if test is None:
        return "there is no test split, and there are too few images of each class to set some aside"
    if not test.labelled():
        aside = "" if config.holdout == "validation" else "; set data.holdout validation to set training images aside"
        return f"the test images are unlabelled: {test.why_unlabelled or 'none of those chosen has a label'}{aside}"
    if not train.classes() & test.classes():
        return "no class has both training images and test images among those chosen"
    return ""
