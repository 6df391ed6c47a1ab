"""Open the splits of a source as datasets."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from mrkd.config import DataConfig
from mrkd.data.dataset import ImageDataset
from mrkd.data.listing import UNLABELLED, Listing
from mrkd.data.resident import decode_listing, decoded_gib
from mrkd.data.sources.find import list_splits, no_images
from mrkd.data.sources.splits import SPLIT_SEED, stratified
from mrkd.data.streamed import StreamedDataset
from mrkd.errors import UserError
from mrkd.system.output import say

CPU = torch.device("cpu")
AnyDataset = TypeVar("AnyDataset", bound=ImageDataset)


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The training images and the images that evaluations score."""

    train: ImageDataset
    test: ImageDataset | None
    """None when the source is unlabelled and has no split of its own."""
    name: str
    """Short name for tables, such as `digits`."""
    broken: tuple[str, ...] = ()
    """Names of images that could not be read, as far as is known: streamed ones are not looked at beforehand."""
    notes: tuple[str, ...] = ()
    """See `Listings`."""
    unscorable: str = ""
    """Why no evaluation by labels is possible; empty when one is."""

    def require_test(self) -> ImageDataset:
        """The test split, or a UserError."""
        if self.test is None:
            raise UserError(
                f"{self.name} has no test split, and no labels, or too few images of each class, to make one: "
                "nothing can be evaluated on it"
            )
        return self.test

    def labelled(self, what_for: str = "evaluation") -> tuple[ImageDataset, ImageDataset]:
        """The training and the test images that have labels.

        Args:
            what_for: what needs them, for the message.
        Raises:
            UserError: nothing can be scored by labels.
        """
        test = self.require_test()
        if self.unscorable:
            raise UserError(f"{what_for} needs labels, but {self.unscorable}")
        return with_labels(self.train), with_labels(test)


def with_labels(images: AnyDataset) -> AnyDataset:
    """The images that have a label; all where none has one."""
    if images.labels is None or not bool((images.labels == UNLABELLED).any()):
        return images
    return images.take((images.labels != UNLABELLED).nonzero().flatten())


def load(config: DataConfig, device: torch.device = CPU) -> Splits:
    """Both splits of a source.

    What a person may not expect of the images is printed, one line each.

    Raises:
        UserError: the source is missing, empty, too broken, or too large for `data.mode: resident`.
    """
    listings = list_splits(config)
    _announce(listings.notes)
    train = open_dataset(listings.train, config, device)
    test = None if listings.test is None else open_dataset(listings.test, config, device)
    if len(train) == 0:
        raise no_images(config.source)
    return Splits(
        train=train,
        test=test,
        name=listings.name,
        broken=(*train.broken, *(() if test is None else test.broken)),
        notes=listings.notes,
        unscorable=listings.unscorable,
    )


def load_train(config: DataConfig, device: torch.device, processes: int, *, announce: bool = False) -> ImageDataset:
    """The training split alone.

    Args:
        config: the source.
        device: where batches are wanted.
        processes: number of training processes on this machine.
        announce: whether to print the notes on the source, and why nothing can be evaluated, one line each.
    Raises:
        UserError: as `load`.
    """
    listings = list_splits(config)
    if announce:
        missing = [f"no evaluation will be possible: {listings.unscorable}"] if listings.unscorable else []
        _announce((*listings.notes, *missing))
    return open_dataset(listings.train, config, device, processes=processes)


def _announce(notes: Iterable[str]) -> None:
    for note in notes:
        say(f"note: {note}")


def open_dataset(listing: Listing, config: DataConfig, device: torch.device, *, processes: int = 1) -> ImageDataset:
    """The images of a listing in memory, or streamed where they would not fit `data.max_resident_gib`.

    Raises:
        UserError: they would not fit a `data.mode` of `resident`, or too many are broken.
    """
    if must_stream(listing, config):
        return StreamedDataset(listing, config, device=device, processes=processes)
    return decode_listing(listing, config).to(device)


def must_stream(listing: Listing, config: DataConfig) -> bool:
    """Whether images are decoded when they are read, not beforehand: as `data.mode` says.

    Raises:
        UserError: they have no files to be streamed from.
    """
    if config.mode == "auto":
        return decoded_gib(listing, config) > config.max_resident_gib
    if config.mode == "stream" and len(listing) and isinstance(listing.cells[0], np.ndarray):
        raise UserError(f"the {config.source} are in memory: data.mode 'stream' is for images in files")
    return config.mode == "stream"


def stratified_split(
    images: AnyDataset, fraction: float, seed: int = SPLIT_SEED, *, by_class: bool = True
) -> tuple[AnyDataset, AnyDataset]:
    """Split off `fraction` of every class, or of all images when unlabelled or not `by_class`; fixed by `seed`."""
    labels = images.labels if by_class else None
    labels = torch.zeros(len(images), dtype=torch.int64) if labels is None else labels
    keep, out = (part.to(images.device) for part in stratified(labels, fraction, seed))
    return images.take(keep), images.take(out)
