import pytest
import torch

from mrkd.data.sampler import BatchSampler
from mrkd.errors import UserError


def test_an_epoch_shows_each_image_once_in_an_order_set_by_seed_and_epoch():
    sampler = BatchSampler(images=100, batch=10, seed=1)
    first = torch.cat(sampler.epoch(0))
    assert torch.equal(first.sort().values, torch.arange(100))
    assert torch.equal(first, torch.cat(sampler.epoch(0)))
    assert not torch.equal(first, torch.cat(sampler.epoch(1)))
    assert not torch.equal(first, torch.cat(BatchSampler(images=100, batch=10, seed=2).epoch(0)))


def test_a_run_may_end_and_begin_in_the_middle_of_an_epoch():
    sampler = BatchSampler(images=100, batch=10, seed=1)
    whole = list(sampler.steps(0, 25))
    assert len(whole) == 25
    for expected, indices in zip(whole[13:], sampler.steps(13, 25), strict=True):
        assert torch.equal(indices, expected)


def test_images_that_do_not_fill_a_batch_are_left_out_of_an_epoch():
    sampler = BatchSampler(images=25, batch=10, seed=0)
    assert sampler.steps_per_epoch == 2
    assert [len(indices) for indices in sampler.steps(0, 5)] == [10] * 5


def test_a_batch_larger_than_the_set_is_refused():
    with pytest.raises(UserError, match="at most the 5 training images, got 6"):
        BatchSampler(images=5, batch=6, seed=0)
