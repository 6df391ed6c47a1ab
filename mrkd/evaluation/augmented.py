"""Features of random views of images, under the augmentation of evaluations. Axes: A copies, n images, D width."""

import torch
from torch import Tensor

from mrkd.config import Config
from mrkd.data.augment.views import ViewMaker
from mrkd.data.dataset import in_order, readable_batches
from mrkd.data.sources.splits import subset
from mrkd.evaluation.features import FeatureSet
from mrkd.model.backbone import ViT


@torch.no_grad()
def augmented_features(vit: ViT, part: FeatureSet, config: Config, *, copies: int) -> Tensor:
    """(A, n, D) class tokens of `copies` random views of the images, the same ones for every network.

    An image that cannot be read any more keeps the features that it has.
    """
    torch.manual_seed(config.evaluation.seed)
    maker = ViewMaker(config.evaluation.augmentation, config.data.size)
    found = part.features.repeat(copies, 1, 1)
    for copy in found:
        for rows, pixels in readable_batches(part.images, in_order(part.images)):
            copy[rows] = vit.forward_features(maker(pixels, views=1)[0][0])[:, 0].float()
    return found


def fixed_choice(part: FeatureSet, most: int) -> FeatureSet:
    """At most `most` of the images, always the same ones."""
    if len(part) <= most:
        return part
    rows = subset(len(part), most).sort().values.to(part.features.device)
    return FeatureSet(images=part.images.take(rows), features=part.features[rows])
