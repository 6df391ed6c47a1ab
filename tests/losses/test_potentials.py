import pytest
import torch

from mrkd.losses import rkd_angle, rkd_distance
from mrkd.losses.kernels.distances import pairwise_distance
from mrkd.losses.kernels.precision import full_matmul
from mrkd.losses.potentials import euclidean_distance


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_distances_are_those_of_cdist_and_zero_at_duplicates(dtype):
    rows = torch.randn(2, 9, 1500).to(dtype)
    rows[:, 3] = rows[:, 5]
    distance = pairwise_distance(rows)
    assert torch.allclose(distance, torch.cdist(rows.to(distance.dtype), rows.to(distance.dtype)), atol=1e-3)
    assert (distance[:, 3, 5] == 0).all()
    assert (distance.diagonal(dim1=1, dim2=2) == 0).all()
    assert torch.equal(pairwise_distance(rows[0]), pairwise_distance(rows[:1])[0])


def test_settings_for_fast_float32_do_not_affect_a_full_precision_product():
    left = torch.randn(200, 200)
    expected = left @ left
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        assert torch.equal(full_matmul(left, left), expected)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("loss", [rkd_angle, rkd_distance])
def test_autocast_does_not_affect_a_relation(loss):
    student, teacher = torch.randn(2, 20, 16).unbind()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(student, teacher)
    assert torch.equal(value, loss(student, teacher))


def test_distances_of_relations_keep_short_ones_beside_long_ones_in_float32():
    rows = torch.randn(1, 12, 8)
    rows[0, 0] *= 1e4
    distance = euclidean_distance(rows, rows)
    assert distance.dtype == torch.float32
    assert torch.allclose(distance, torch.cdist(rows.double(), rows.double()).float(), rtol=1e-5)
