import numpy as np
import pytest
import torch

from mrkd.attention import attend
from mrkd.attention.maps import patch_maps
from mrkd.attention.segmentation import MASSES, jaccard, segmentation
from mrkd.config import ModelConfig
from mrkd.model.backbone import create_vit


@pytest.fixture
def vit():
    torch.manual_seed(0)
    return create_vit(ModelConfig(patch=8, width=16, depth=2, heads=2), 32).eval().requires_grad_(False)


def test_jaccard_counts_pixels():
    kept = torch.tensor([[[True, False], [False, False]]])
    objects = torch.zeros(1, 4, 4, dtype=torch.bool)
    objects[0, :2] = True  # 8 pixels, of which the kept patch covers 4
    assert jaccard(kept, objects).item() == pytest.approx(0.5)
    assert jaccard(~torch.ones_like(kept), torch.zeros_like(objects)).item() == 1.0


def test_patch_maps_are_the_attention_of_every_patch(vit):
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    maps = patch_maps(vit, images, max_queries=16)
    assert maps.shape == (2, 2, 16, 4, 4)
    assert torch.allclose(maps.sum(dim=(-2, -1)), torch.ones(2, 2, 16))


def test_pooled_maps_are_means_of_queries_and_sums_of_keys(vit):
    images = torch.randint(
        0, 256, (2, 3, 40, 40), dtype=torch.uint8
    )  # 5 x 5 patches: squares at the border are smaller
    full, pooled = patch_maps(vit, images, max_queries=25), patch_maps(vit, images, max_queries=9)
    assert pooled.shape == (2, 2, 9, 3, 3)
    queries = full.unflatten(2, (5, 5))[:, :, :2, :2].mean(dim=(2, 3))  # (B, H, 5, 5)
    assert torch.allclose(pooled[:, :, 0, 0, 0], queries[..., :2, :2].sum(dim=(-2, -1)), atol=1e-6)
    assert torch.allclose(pooled[:, :, 0, 2, 2], queries[..., 4, 4], atol=1e-6)


def test_attention_on_exactly_the_object_has_an_overlap_of_100_percent(vit, monkeypatch):
    objects = torch.zeros(3, 32, 32, dtype=torch.bool)
    objects[:, 8:24, 8:24] = True
    heads = torch.full((3, 2, 4, 4), 1e-9)
    heads[:, 0, 1:3, 1:3] = 0.25

    def maps(vit, images):
        from mrkd.attention.maps import AttentionMaps

        return AttentionMaps(heads=heads, combined=heads[:, 0])

    monkeypatch.setattr("mrkd.attention.segmentation.last_block_attention", maps)
    found = segmentation(vit, torch.zeros(3, 3, 32, 32, dtype=torch.uint8), objects, 1)
    assert found["combined"][MASSES.index(0.9)] == pytest.approx(100.0)
    assert found["best_head"][MASSES.index(0.5)] == pytest.approx(50.0)


def test_attend_on_shapes_writes_the_overlap_of_attention_with_objects(tiny_config, tmp_path):
    import dataclasses

    from mrkd.runs.npz import read_npz
    from mrkd.runs.run import ATTENTION, SEGMENTATION
    from mrkd.system.files import read_json
    from mrkd.train.pretrain import pretrain

    config = dataclasses.replace(
        tiny_config,
        data=dataclasses.replace(tiny_config.data, source="shapes"),
        objective=dataclasses.replace(tiny_config.objective, method="random"),
    )
    path = pretrain(config, tmp_path / "run")
    attend(path)
    arrays, scores = read_npz(path / ATTENTION), read_json(path / SEGMENTATION)
    assert arrays["patches"].shape == (2, 2, 144, 12, 12)
    assert np.unique(arrays["labels"]).size == 2
    assert arrays["objects"].shape == (2, 32, 32)
    # The run was not trained, so its overlap equals that of random weights.
    assert scores["jaccard"] == scores["random_weights"]
    assert 0 < scores["jaccard"]["combined"][11] < 100
