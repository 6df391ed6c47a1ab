import importlib.util
import itertools
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mrkd.losses import rkd_angle, rkd_angle_sampled
from mrkd.losses.angle import available_backends
from mrkd.losses.kernels import angle_torch
from tests.helpers.explicit_relations import explicit_angle

BACKENDS = ["torch", "numba"]


def pair(rows: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student = torch.randn(rows, width, generator=generator, dtype=torch.float64, requires_grad=True)
    return student, torch.randn(rows, width, generator=generator, dtype=torch.float64)


def assert_same(student: Tensor, ours: Tensor, expected: Tensor) -> None:
    assert ours.item() == pytest.approx(expected.item(), rel=1e-10, abs=1e-13)
    gradients = [torch.autograd.grad(value, student, retain_graph=True)[0] for value in (ours, expected)]
    assert torch.allclose(*gradients, rtol=1e-10, atol=1e-10 * gradients[1].abs().max().item())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("weighting", ["equal", "bool", "float"])
@pytest.mark.parametrize("anchored", [False, True])
def test_every_combination_of_options_equals_the_explicit_form(backend, weighting, anchored):
    for rows, standardize, delta in itertools.product([3, 11, 40], [False, True], [1.0, 0.3, 2.5]):
        student, teacher = pair(rows, 4)
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
        ours = rkd_angle(student, teacher, backend=backend, **options)
        assert_same(student, ours, explicit_angle(student, teacher, **options))


def test_angle_of_a_right_triangle_against_a_line_by_hand():
    # Teacher: points 0, 1, 2 on a line, cosines 1, -1, 1 at the three vertices. Student: a right angle at the first
    # vertex and 45 degrees at the others. Differences: 0 - 1, r - (-1), r - 1 with r = sqrt(1/2), each twice in 27.
    student = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    teacher = torch.tensor([[0.0], [1.0], [2.0]], dtype=torch.float64)
    root = math.sqrt(0.5)
    expected = 2 * (0.5 + (root + 1 - 0.5) + 0.5 * (1 - root) ** 2) / 27
    assert rkd_angle(student, teacher).item() == pytest.approx(expected)


def test_standardised_by_hand():
    # The cosines of the teacher's line, 1, -1, 1, have mean 1/3 and population variance 8/9.
    student = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    teacher = torch.tensor([[0.0], [1.0], [2.0]], dtype=torch.float64)
    root = math.sqrt(0.5)
    expected = 2 * 9 / 8 * 0.5 * (1 + (1 + root) ** 2 + (1 - root) ** 2) / 27
    assert rkd_angle(student, teacher, standardize=True, huber_delta=9.0).item() == pytest.approx(expected)


@given(
    rows=st.integers(2, 20),
    width=st.integers(1, 6),
    seed=st.integers(0, 10**6),
    duplicates=st.sampled_from(["none", "both", "student", "teacher"]),
    offset=st.sampled_from([0.0, 1e6]),
    backend=st.sampled_from(BACKENDS),
)
@settings(deadline=None, max_examples=60)
def test_any_shape_equals_the_explicit_form(rows, width, seed, duplicates, offset, backend):
    generator = torch.Generator().manual_seed(seed)
    student = torch.randn(rows, width, generator=generator, dtype=torch.float64)
    teacher = torch.randn(rows, width + 1, generator=generator, dtype=torch.float64)
    for name, embeddings in (("student", student), ("teacher", teacher)):
        if duplicates in (name, "both"):
            embeddings[1] = embeddings[0]
    expected = explicit_angle(student, teacher)
    student = (student + offset).requires_grad_(True)
    ours = rkd_angle(student, teacher, backend=backend)
    # For two rows at a distance of 0.001, the Gram form loses six of sixteen digits.
    assert ours.item() == pytest.approx(expected.item(), abs=1e-8 if offset == 0.0 else 1e-5)
    ours.backward()
    assert student.grad.isfinite().all()
    # At a duplicate the explicit form divides by an epsilon. On a line all angles are 0 or 180 degrees and the gradient
    # is zero, so what is left is the rounding of the Gram matrix over the smallest distance.
    if duplicates in ("none", "teacher") and offset == 0.0 and width > 1:
        (gradient,) = torch.autograd.grad(explicit_angle(student, teacher), student)
        assert torch.allclose(student.grad, gradient, rtol=1e-6, atol=1e-6 * (1 + gradient.abs().max().item()))


def test_a_teacher_duplicate_is_left_out_of_the_standard_deviation():
    student, teacher = pair(8, 3)
    teacher[1] = teacher[0]
    for backend in BACKENDS:
        ours = rkd_angle(student, teacher, standardize=True, backend=backend)
        assert_same(student, ours, explicit_angle(student, teacher, standardize=True))


def test_a_teacher_with_constant_cosines_is_not_standardised():
    student, equilateral = pair(3, 4)[0], torch.eye(3, dtype=torch.float64)
    assert rkd_angle(student, equilateral, standardize=True) == rkd_angle(student, equilateral)


@pytest.mark.parametrize("width", [16, 1024])
def test_unrelated_features_score_about_the_same_in_any_dimension_when_standardised(width):
    student, teacher = torch.randn(2, 48, width, generator=torch.Generator().manual_seed(0))
    assert 0.5 < rkd_angle(student, teacher, standardize=True).item() < 1.0
    assert rkd_angle(student, teacher).item() < 1.0 / width


@pytest.mark.parametrize("backend", BACKENDS)
def test_float32_agrees_with_float64(backend):
    student, teacher = pair(150, 32)
    expected = torch.autograd.grad(rkd_angle(student, teacher), student)[0]
    narrow = student.detach().float().requires_grad_(True)
    value = rkd_angle(narrow, teacher.float(), backend=backend)
    value.backward()
    assert value.item() == pytest.approx(rkd_angle(student, teacher).item(), rel=1e-5)
    assert torch.allclose(narrow.grad.double(), expected, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize("anchored", [False, True])
def test_a_repeat_and_another_number_of_threads_give_the_same_bits(anchored):
    student, teacher = (rows.detach().float() for rows in pair(200, 16))
    anchors = torch.randn(40, 16) if anchored else None

    def outcome() -> tuple[Tensor, Tensor]:
        rows = student.clone().requires_grad_(True)
        value = rkd_angle(rows, teacher, anchors=anchors, standardize=True, backend="numba")
        value.backward()
        return value.detach(), rows.grad

    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        value, gradient = outcome()
        assert all(torch.equal(value, other) and torch.equal(gradient, g) for other, g in (outcome() for _ in range(3)))
        torch.set_num_threads(1)
        assert torch.equal(value, outcome()[0])
    finally:
        torch.set_num_threads(threads)


def test_the_mean_over_all_samples_of_vertices_is_the_exact_loss():
    student, teacher = pair(6, 3)
    weights = torch.tensor([1.0, 0.5, 0.0, 2.0, 1.0, 1.0], dtype=torch.float64)
    exact = rkd_angle(student, teacher, row_weights=weights, standardize=True)
    exact_gradient = torch.autograd.grad(exact, student)[0]
    drawn: dict[float, Tensor] = {}
    for seed in range(200):  # 10 pairs out of the 5 rows that count
        generator = torch.Generator().manual_seed(seed)
        value = rkd_angle_sampled(
            student, teacher, vertices=2, generator=generator, row_weights=weights, standardize=True
        )
        drawn[round(value.item(), 12)] = torch.autograd.grad(value, student)[0]
    assert len(drawn) == 10
    assert sum(drawn) / 10 == pytest.approx(exact.item(), rel=1e-9)
    assert torch.allclose(sum(drawn.values()) / 10, exact_gradient, atol=1e-10)


def test_the_variance_of_the_sampled_loss_is_the_stated_one():
    student, teacher = pair(6, 3)
    parts = [
        rkd_angle_sampled(student, teacher, vertices=1, generator=torch.Generator().manual_seed(s)) for s in range(90)
    ]
    by_vertex = torch.tensor(sorted({round(part.item(), 12) for part in parts}), dtype=torch.float64)
    assert len(by_vertex) == 6
    triples = torch.tensor([by_vertex[list(c)].mean() for c in itertools.combinations(range(6), 3)])
    assert triples.var(unbiased=False).item() == pytest.approx((1 - 3 / 6) * by_vertex.var().item() / 3, rel=1e-8)


@pytest.mark.parametrize("backend", BACKENDS)
def test_all_vertices_sampled_is_the_exact_loss(backend):
    student, teacher = pair(13, 3)
    weights = torch.arange(13) != 5
    for row_weights in (None, weights):
        exact = rkd_angle(student, teacher, row_weights=row_weights)
        sampled = rkd_angle_sampled(student, teacher, vertices=13, row_weights=row_weights, backend=backend)
        assert_same(student, sampled, exact)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_mean_over_all_samples_of_rows_is_the_exact_loss(weighted):
    student, teacher = pair(6, 3)
    weights = torch.tensor([1.0, 0.5, 0.0, 2.0, 1.0, 1.0], dtype=torch.float64) if weighted else None
    exact = rkd_angle(student, teacher, row_weights=weights)
    drawn: dict[float, Tensor] = {}
    for seed in range(400):  # 4 rows out of the 5 or 6 that count
        torch.manual_seed(seed)
        value = rkd_angle(student, teacher, row_weights=weights, sampled_rows=4)
        drawn[round(value.item(), 12)] = torch.autograd.grad(value, student)[0]
    assert len(drawn) == (5 if weighted else 15)
    assert sum(drawn) / len(drawn) == pytest.approx(exact.item(), rel=1e-9)
    exact_gradient = torch.autograd.grad(exact, student)[0]
    assert torch.allclose(sum(drawn.values()) / len(drawn), exact_gradient, atol=1e-10)


def test_groups_are_sampled_apart_and_a_group_without_rows_does_not_count():
    torch.manual_seed(0)
    student, teacher = torch.randn(3, 9, 4, dtype=torch.float64), torch.randn(3, 9, 4, dtype=torch.float64)
    weights = torch.ones(3, 9, dtype=torch.bool)
    weights[1] = False
    weights[2, 3:] = False
    exact = rkd_angle(student, teacher, row_weights=weights)
    samples = [rkd_angle(student, teacher, row_weights=weights, sampled_rows=8) for _ in range(300)]
    assert torch.stack(samples).mean().item() == pytest.approx(exact.item(), rel=0.02)
    every = rkd_angle(student, teacher, row_weights=weights, sampled_rows=9, standardize=True)
    assert every.item() == pytest.approx(rkd_angle(student, teacher, row_weights=weights, standardize=True).item())


def test_the_number_of_sampled_rows_is_checked_and_anchors_are_refused():
    student, teacher = pair(5, 3)
    with pytest.raises(ValueError, match="sampled_rows must be between 3 and the number of rows, 5, got 6"):
        rkd_angle(student, teacher, sampled_rows=6)
    with pytest.raises(ValueError, match="leave it out where anchors are given"):
        rkd_angle(student, teacher, sampled_rows=4, anchors=torch.randn(3, 3, dtype=torch.float64))


def test_the_number_of_vertices_is_checked():
    student, teacher = pair(5, 3)
    with pytest.raises(ValueError, match="vertices must be between 1 and the number of rows, 5, got 6"):
        rkd_angle_sampled(student, teacher, vertices=6)


def test_an_unavailable_backend_is_refused_with_the_available_ones():
    student, teacher = pair(5, 3)
    with pytest.raises(ValueError, match=r"backend must be one of \['numba', 'torch'\] on cpu, got 'triton'"):
        rkd_angle(student, teacher, backend="triton")


def test_without_numba_the_torch_backend_is_used(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert available_backends(torch.device("cpu")) == ["torch"]
    student, teacher = pair(5, 3)
    assert rkd_angle(student, teacher).item() == pytest.approx(explicit_angle(student, teacher).item())


def test_the_torch_backend_gives_the_same_in_small_blocks(monkeypatch):
    student, teacher = pair(12, 3)
    whole = rkd_angle(student, teacher, backend="torch", standardize=True)
    monkeypatch.setitem(angle_torch.BLOCK_ELEMENTS, "cpu", 300)
    assert_same(student, rkd_angle(student, teacher, backend="torch", standardize=True), whole)


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
def test_the_triton_kernels_in_the_interpreter_agree_with_the_torch_backend():
    script = Path(__file__).with_name("triton_in_interpreter.py")
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    result = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "agrees", result.stderr


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("rows", [7, 100, 600])
def test_the_triton_kernels_on_a_gpu_agree_with_the_torch_backend(rows):
    student, teacher = (embeddings.detach().float().cuda() for embeddings in pair(rows, 32))
    outcomes = []
    for backend in ("triton", "torch", "triton"):
        embeddings = student.clone().requires_grad_(True)
        value = rkd_angle(embeddings, teacher, standardize=True, backend=backend)
        value.backward()
        outcomes.append((value.detach(), embeddings.grad))
    assert outcomes[0][0].item() == pytest.approx(outcomes[1][0].item(), rel=1e-5)
    assert torch.allclose(outcomes[0][1], outcomes[1][1], atol=1e-5 * outcomes[1][1].abs().max().item())
    assert all(torch.equal(a, b) for a, b in zip(outcomes[0], outcomes[2], strict=True))
