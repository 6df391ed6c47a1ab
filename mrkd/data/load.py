"""The images of a source, found, decoded and ready to use."""

from dataclasses import dataclass
from typing import TypeVar

import torch

from mrkd.config import DataConfig
from mrkd.data.images import Images, open_images
from mrkd.data.listing import UNLABELLED
from mrkd.data.sources.find import list_splits, no_images
from mrkd.data.sources.splits import SPLIT_SEED, stratified
from mrkd.errors import UserError

CPU = torch.device("cpu")
AnyImages = TypeVar("AnyImages", bound=Images)


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The training images and the images that evaluations score."""

    train: Images
    test: Images | None
    """None when the source is unlabelled and has no split of its own."""
    name: str
    """Short name for tables, such as `digits`."""
    broken: tuple[str, ...] = ()
    """Names of images that could not be read, as far as is known: streamed ones are not looked at beforehand."""
    notes: tuple[str, ...] = ()
    """See `Listings`."""
    unscorable: str = ""
    """Why no evaluation by labels is possible; empty when one is."""

    def require_test(self) -> Images:
        """The test split, or a UserError."""
        if self.test is None:
            raise UserError(
                f"{self.name} has no test split, and no labels, or too few images of each class, to make one: "
                "nothing can be evaluated on it"
            )
        return self.test

    def labelled(self, what_for: str = "evaluation") -> tuple[Images, Images]:
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


def with_labels(images: AnyImages) -> AnyImages:
    """The images that have a label; all where none has one."""
    if images.labels is None or not bool((images.labels == UNLABELLED).any()):
        return images
    return images.take((images.labels != UNLABELLED).nonzero().flatten())


def load(config: DataConfig, device: torch.device = CPU) -> Splits:
    """Find, decode and resize the images of a source; those of a split that does not fit into memory stay in files.

    What a person may not expect of the images is printed, one line each.

    Raises:
        UserError: the source is missing, empty, too broken, or too large for `data.mode: resident`.
    """
    listings = list_splits(config)
    for note in listings.notes:
        print(f"note: {note}", flush=True)
    train, broken = open_images(listings.train, config, device)
    test = None
    if listings.test is not None:
        test, more = open_images(listings.test, config, device)
        broken += more
    if len(train) == 0:
        raise no_images(config.source)
    return Splits(
        train=train,
        test=test,
        name=listings.name,
        broken=broken,
        notes=listings.notes,
        unscorable=listings.unscorable,
    )


def stratified_split(
    images: AnyImages, fraction: float, seed: int = SPLIT_SEED, *, by_class: bool = True
) -> tuple[AnyImages, AnyImages]:
    """Split off `fraction` of every class, or of all images when unlabelled or not `by_class`; fixed by `seed`."""
    labels = images.labels if by_class else None
    labels = torch.zeros(len(images), dtype=torch.int64) if labels is None else labels
    keep, out = (part.to(images.device) for part in stratified(labels, fraction, seed))
    return images.take(keep), images.take(out)
