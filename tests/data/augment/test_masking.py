import pytest
import torch
from scipy.ndimage import label
from torch import Tensor

from mrkd.config import MaskConfig
from mrkd.data.augment.masking import draw_masks


def masks(kind: str, side: int, ratio: tuple[float, float] = (0.1, 0.5)) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    config = MaskConfig(kind=kind, ratio=ratio, probability=1.0)
    return draw_masks((2, 200), (side, side), config, generator).view(-1, side, side)


def components(mask: Tensor) -> int:
    return int(label(mask.numpy())[1])


def box_fill(mask: Tensor) -> float:
    height, width = (int(place.max() - place.min()) + 1 for place in mask.nonzero().unbind(dim=1))
    return mask.sum().item() / (height * width)


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def test_block_is_one_rectangle_and_blocks_are_several_as_in_ibot():
    one, several = masks("block", 14), masks("blocks", 14)
    assert mean([components(mask) for mask in one]) == 1.0
    # Masks of iBOT's own code have 1.32 components and fill 0.69 of their bounding box.
    assert mean([components(mask) for mask in several]) == pytest.approx(1.32, abs=0.12)
    assert mean([box_fill(mask) for mask in several]) == pytest.approx(0.69, abs=0.03)


@pytest.mark.parametrize("side", [1, 2, 4, 14])
@pytest.mark.parametrize("kind", ["random", "block", "blocks"])
def test_a_masked_view_has_a_masked_and_a_visible_patch_within_the_ratio(kind, side):
    counts = masks(kind, side, (0.1, 0.5)).flatten(1).sum(dim=1)
    if side == 1:
        assert counts.max() == 0
    else:
        assert counts.min() >= 1
        assert counts.max() <= max(1, round(0.5 * side * side))


def test_views_that_are_not_chosen_have_no_mask_and_a_seed_repeats_the_others():
    config = MaskConfig(kind="blocks", probability=0.5)
    first, again = (draw_masks((2, 100), (6, 6), config, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, again)
    assert 60 < first.any(dim=2).sum() < 140
