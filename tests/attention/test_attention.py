import dataclasses

import torch

from mrkd.attention.maps import last_block_attention, mass_mask
from mrkd.config import ModelConfig
from mrkd.model.backbone import create_vit


def test_recomputed_attention_reproduces_the_last_blocks_output():
    vit = create_vit(ModelConfig(patch=8, width=16, depth=2, heads=2), 32).eval()
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    captured = {}
    attention = vit.blocks[-1].attn
    attention.fused_attn = False
    attention.attn_drop.register_forward_hook(lambda module, inputs, output: captured.update(weights=output))
    maps = last_block_attention(vit, images)
    from mrkd.data.augment.views import normalize

    vit.forward_features(normalize(images))
    expected = captured["weights"][:, :, 0, 1:]
    expected = expected / expected.sum(-1, keepdim=True)
    assert torch.allclose(maps.heads.flatten(-2), expected, atol=1e-6)
    assert torch.allclose(maps.combined.flatten(-2).sum(-1), torch.ones(2))


def test_a_mass_mask_keeps_the_fewest_patches_that_hold_the_mass():
    grid = torch.tensor([[[0.5, 0.2], [0.2, 0.1]]])
    assert mass_mask(grid, 0.5).sum() == 1
    assert mass_mask(grid, 0.6).sum() == 2
    assert mass_mask(grid, 1.0).all()


def test_images_for_the_figure_are_evenly_spaced_without_labels_and_one_per_class_with_them(tiny_config):
    from mrkd.attention.draw import _select
    from mrkd.data.load import load

    images = load(tiny_config.data).train
    unlabelled = dataclasses.replace(images, labels=None)
    assert _select(unlabelled, 3).tolist() == [0, round((len(images) - 1) / 2), len(images) - 1]
    assert len(_select(unlabelled, 10_000)) == len(images)
    assert images.labels[_select(images, 5)].unique().numel() == 5
