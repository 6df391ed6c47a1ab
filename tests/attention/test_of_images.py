import numpy as np
import pytest
import torch

from mrkd.attention.maps import last_block_attention
from mrkd.attention.of_images import attention_of
from mrkd.attention.segmentation import enlarge
from mrkd.errors import UserError
from mrkd.runs.run import RunDirectory
from mrkd.runs.weights import load_backbone


def test_arrays_are_those_of_the_last_block(trained_run):
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    found = attention_of(trained_run, images)
    run = RunDirectory(trained_run)
    enlarged = enlarge(torch.from_numpy(images).permute(0, 3, 1, 2), run.config().attention.scale)
    np.testing.assert_allclose(found.heads, last_block_attention(load_backbone(run), enlarged).heads, atol=1e-6)
    np.testing.assert_array_equal(found.images, images)
    assert found.mass == run.config().attention.mass
    kept = (found.combined * attention_of(trained_run, images, mass=0.2).mask).sum(axis=(1, 2))
    assert ((kept >= 0.2) & (kept < (found.combined * found.mask).sum(axis=(1, 2)))).all()


def test_wrong_requests_are_one_line(trained_run):
    image = np.zeros((32, 32, 3), dtype=np.uint8)
    with pytest.raises(UserError, match="at most 64 images at a time, got 65"):
        attention_of(trained_run, [image] * 65)
    with pytest.raises(UserError, match=r"mass must be above 0 and at most 1, got 1\.5"):
        attention_of(trained_run, image, mass=1.5)
    with pytest.raises(UserError, match="has no checkpoint '3'"):
        attention_of(trained_run, image, checkpoint="3")
