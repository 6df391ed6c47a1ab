import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mrkd.losses import distance, rkd_distance
from tests.helpers.explicit_relations import explicit_distance


@pytest.mark.parametrize("weighting", ["equal", "bool", "float"])
@pytest.mark.parametrize("anchored", [False, True])
def test_every_combination_of_options_equals_the_explicit_form(weighting, anchored):
    for rows, standardize, delta in itertools.product([3, 11, 40], [False, True], [1.0, 0.1]):
        student = torch.randn(rows, 4, dtype=torch.float64, requires_grad=True)
        teacher = torch.randn(rows, 4, dtype=torch.float64)
        weights = {
            "equal": None,
            "bool": torch.arange(rows) % 4 != 3,
            "float": torch.linspace(0.0 if rows > 3 else 0.1, 2.0, rows, dtype=torch.float64),
        }[weighting]
        options = {
            "anchors": torch.randn(9, 4, dtype=torch.float64) if anchored else None,
            "row_weights": weights,
            "standardize": standardize,
            "huber_delta": delta,
        }
        ours, expected = rkd_distance(student, teacher, **options), explicit_distance(student, teacher, **options)
        assert ours.item() == pytest.approx(expected.item(), rel=1e-10)
        gradients = [torch.autograd.grad(value, student)[0] for value in (ours, expected)]
        assert torch.allclose(*gradients, rtol=1e-10, atol=1e-10 * gradients[1].abs().max().item())


def test_distance_of_three_points_on_a_line_by_hand():
    # Student distances 1, 1, 2 with mean 4/3; teacher distances 1, 2, 3 with mean 2. Differences of the normalised
    # distances: 3/4 - 1/2, 3/4 - 1, 3/2 - 3/2; each stands twice among nine entries.
    student = torch.tensor([[0.0], [1.0], [2.0]], dtype=torch.float64)
    teacher = torch.tensor([[0.0], [1.0], [3.0]], dtype=torch.float64)
    plain = 2 * (0.5 * 0.0625 + 0.5 * 0.0625) / 9
    assert rkd_distance(student, teacher).item() == pytest.approx(plain)
    # The teacher's normalised distances 1/2, 1, 3/2 have population variance 1/6.
    assert rkd_distance(student, teacher, standardize=True).item() == pytest.approx(6 * plain)


def test_two_equal_rows_are_a_pair_in_the_mean_by_hand():
    # Student distances 1, 1, 0 with mean 2/3 over three pairs; teacher distances 1, 2, 1 with mean 4/3. Differences of
    # the normalised distances: 3/2 - 3/4, 3/2 - 3/2, 0 - 3/4; each stands twice among nine entries.
    student = torch.tensor([[0.0], [1.0], [1.0]], dtype=torch.float64)
    teacher = torch.tensor([[0.0], [1.0], [2.0]], dtype=torch.float64)
    assert rkd_distance(student, teacher).item() == pytest.approx(2 * 2 * 0.5 * 0.75**2 / 9)


@given(
    rows=st.integers(2, 20),
    width=st.integers(1, 6),
    seed=st.integers(0, 10**6),
    duplicates=st.sampled_from(["none", "both", "student", "teacher"]),
    offset=st.sampled_from([0.0, 1e6]),
)
@settings(deadline=None, max_examples=40)
def test_any_shape_equals_the_explicit_form(rows, width, seed, duplicates, offset):
    if rows == 2 and duplicates != "none":
        return  # no positive distance is left: the explicit form divides by zero
    generator = torch.Generator().manual_seed(seed)
    student = torch.randn(rows, width, generator=generator, dtype=torch.float64)
    teacher = torch.randn(rows, width + 1, generator=generator, dtype=torch.float64)
    for name, embeddings in (("student", student), ("teacher", teacher)):
        if duplicates in (name, "both"):
            embeddings[1] = embeddings[0]
    moved = (student + offset).requires_grad_(True)
    student.requires_grad_(True)
    ours, expected = rkd_distance(moved, teacher), explicit_distance(student, teacher)
    tolerance = 1e-8 if offset == 0.0 else 1e-5
    assert ours.item() == pytest.approx(expected.item(), abs=tolerance)
    gradients = [torch.autograd.grad(ours, moved)[0], torch.autograd.grad(expected, student)[0]]
    assert torch.allclose(*gradients, rtol=1e-6, atol=100 * tolerance * (1 + gradients[1].abs().max().item()))


@pytest.mark.parametrize("height", [1, 5, 13])
@pytest.mark.parametrize("anchored", [False, True])
def test_cutting_the_matrix_into_stripes_and_blocks_changes_nothing(monkeypatch, height, anchored):
    student, teacher = torch.randn(2, 3, 13, 5, dtype=torch.float64).unbind()
    student.requires_grad_(True)
    options = {
        "standardize": True,
        "huber_delta": 0.3,
        "row_weights": torch.rand(3, 13, dtype=torch.float64),
        "anchors": torch.randn(4, 5, dtype=torch.float64) if anchored else None,
    }
    whole = rkd_distance(student, teacher, **options)
    monkeypatch.setitem(distance._STRIPE_ROWS, "cpu", height)
    monkeypatch.setitem(distance._BLOCK_ELEMENTS, "cpu", 80)
    cut = rkd_distance(student, teacher, **options)
    assert cut.item() == pytest.approx(whole.item(), rel=1e-12)
    gradients = [torch.autograd.grad(value, student)[0] for value in (whole, cut)]
    assert torch.allclose(*gradients, rtol=1e-10, atol=1e-14)


def test_a_batch_of_more_rows_than_a_stripe_equals_the_explicit_form():
    student = torch.randn(600, 3, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(600, 4, dtype=torch.float64)
    ours, expected = rkd_distance(student, teacher), explicit_distance(student, teacher)
    assert ours.item() == pytest.approx(expected.item(), rel=1e-10)
    gradients = [torch.autograd.grad(value, student)[0] for value in (ours, expected)]
    assert torch.allclose(*gradients, rtol=1e-8, atol=1e-14)


def test_a_teacher_with_equal_distances_is_not_standardised():
    student, equilateral = torch.randn(3, 4), torch.eye(3)
    assert rkd_distance(student, equilateral, standardize=True) == rkd_distance(student, equilateral)


@pytest.mark.parametrize("width", [16, 1024])
def test_unrelated_features_score_about_the_same_in_any_dimension_when_standardised(width):
    student, teacher = torch.randn(2, 64, width, generator=torch.Generator().manual_seed(0))
    assert 0.5 < rkd_distance(student, teacher, standardize=True).item() < 1.0
