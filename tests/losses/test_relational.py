import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mrkd.losses import rkd_angle, rkd_distance
from mrkd.losses.angle import _inverse_distance, _torch_kernel
from mrkd.losses.angle_cpu import angle_kernel
from mrkd.losses.potentials import centered_gram

RELATIONS = [rkd_distance, rkd_angle]


def recorded_input(rows: int, width: int, phase: float) -> Tensor:
    return torch.tensor(
        [
            [math.sin(1.7 * i + 0.9 * j + phase) + 0.3 * math.cos(0.5 * i * j + phase) for j in range(width)]
            for i in range(rows)
        ],
        dtype=torch.float64,
    )


def explicit_angle(student: Tensor, teacher: Tensor) -> Tensor:
    def cosines(rows: Tensor) -> Tensor:
        unit = F.normalize(rows[None] - rows[:, None], dim=2)  # (N, N, D)
        return unit @ unit.transpose(1, 2)

    return F.smooth_l1_loss(cosines(student), cosines(teacher.detach()))


# Recorded from RkdDistance and RKdAngle in metric/loss.py of lenscloth/RKD at 0a6c3c0c190722d428322bf71703c0ae86c25242
# (with reduction='mean', the present name of 'elementwise_mean'): value, norm of the gradient, its first entry.
AUTHORS = {
    rkd_distance: (0.005595405677462053, 0.01802498850631438, -0.0016005529503350104),
    rkd_angle: (0.009233275130509653, 0.0344374632043429, 0.0007218468043309586),
}


@pytest.mark.parametrize("loss", RELATIONS)
def test_value_and_gradient_are_those_of_the_authors_code(loss):
    student = recorded_input(6, 5, 0.0).requires_grad_(True)
    value = loss(student, recorded_input(6, 7, 1.0))
    (gradient,) = torch.autograd.grad(value, student)
    expected_value, expected_norm, expected_first = AUTHORS[loss]
    assert value.item() == pytest.approx(expected_value, rel=1e-10)
    assert gradient.norm().item() == pytest.approx(expected_norm, rel=1e-10)
    assert gradient[0, 0].item() == pytest.approx(expected_first, rel=1e-10)


def test_distance_of_three_points_on_a_line_by_hand():
    # Student distances 1, 1, 2 with mean 4/3; teacher distances 1, 2, 3 with mean 2. Differences of the normalised
    # distances: 3/4 - 1/2, 3/4 - 1, 3/2 - 3/2; each stands twice among nine entries.
    student = torch.tensor([[0.0], [1.0], [2.0]], dtype=torch.float64)
    teacher = torch.tensor([[0.0], [1.0], [3.0]], dtype=torch.float64)
    assert rkd_distance(student, teacher).item() == pytest.approx(2 * (0.5 * 0.0625 + 0.5 * 0.0625) / 9)


def test_angle_of_a_right_triangle_against_a_line_by_hand():
    # Teacher: points 0, 1, 2 on a line, cosines 1, -1, 1 at the three vertices. Student: a right angle at the first
    # vertex and 45 degrees at the others. Differences: 0 - 1, r - (-1), r - 1 with r = sqrt(1/2), each twice in 27.
    student = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    teacher = torch.tensor([[0.0], [1.0], [2.0]], dtype=torch.float64)
    root = math.sqrt(0.5)
    expected = 2 * (0.5 + (root + 1 - 0.5) + 0.5 * (1 - root) ** 2) / 27
    assert rkd_angle(student, teacher).item() == pytest.approx(expected)


@given(
    rows=st.integers(2, 12),
    width=st.integers(1, 6),
    seed=st.integers(0, 10**6),
    duplicates=st.booleans(),
    offset=st.sampled_from([0.0, 1e3]),
)
@settings(deadline=None, max_examples=40)
def test_angle_equals_the_explicit_form_in_float64(rows, width, seed, duplicates, offset):
    generator = torch.Generator().manual_seed(seed)
    student = torch.randn(rows, width, generator=generator, dtype=torch.float64) + offset
    teacher = torch.randn(rows, width + 1, generator=generator, dtype=torch.float64)
    if duplicates:
        student[1] = student[0]
        teacher[1] = teacher[0]
    student.requires_grad_(True)
    ours, theirs = rkd_angle(student, teacher), explicit_angle(student, teacher)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-10)
    ours_gradient, theirs_gradient = (torch.autograd.grad(value, student)[0] for value in (ours, theirs))
    if not duplicates:  # at a duplicate the explicit form divides by an epsilon; ours has zero gradient there
        assert torch.allclose(ours_gradient, theirs_gradient, atol=1e-9)
    assert ours_gradient.isfinite().all()


def test_the_cpu_kernel_and_the_torch_reference_agree():
    grams = [centered_gram(torch.randn(3, 17, 5, dtype=torch.float64))[1] for _ in range(2)]
    inputs = (grams[0], _inverse_distance(grams[0]), grams[1], _inverse_distance(grams[1]))
    for ours, reference in zip(angle_kernel(*inputs), _torch_kernel(*inputs), strict=True):
        assert torch.allclose(ours, reference, atol=1e-12)


@pytest.mark.parametrize("loss", RELATIONS)
def test_groups_give_the_mean_over_the_groups(loss):
    student, teacher = torch.randn(3, 8, 4, dtype=torch.float64), torch.randn(3, 8, 4, dtype=torch.float64)
    single = torch.stack([loss(s, t) for s, t in zip(student, teacher, strict=True)])
    assert loss(student, teacher).item() == pytest.approx(single.mean().item(), rel=1e-10)


@pytest.mark.parametrize("loss", RELATIONS)
def test_rotation_translation_and_scale_of_either_side_change_nothing(loss):
    student, teacher = torch.randn(9, 5, dtype=torch.float64), torch.randn(9, 5, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))[0]
    moved = 3.0 * student @ rotation + 7.0
    assert loss(moved, teacher).item() == pytest.approx(loss(student, teacher).item(), rel=1e-9)
    assert loss(teacher, moved).item() == pytest.approx(loss(teacher, student).item(), rel=1e-9)


@pytest.mark.parametrize("loss", RELATIONS)
def test_a_permutation_of_the_images_changes_nothing(loss):
    student, teacher = torch.randn(9, 5, dtype=torch.float64), torch.randn(9, 5, dtype=torch.float64)
    order = torch.randperm(9)
    assert loss(student[order], teacher[order]).item() == pytest.approx(loss(student, teacher).item(), rel=1e-9)


@pytest.mark.parametrize("loss", RELATIONS)
def test_gradients_pass_gradcheck_in_float64(loss):
    student = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(6, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda rows: loss(rows, teacher), (student,))


@pytest.mark.parametrize("loss", RELATIONS)
def test_equal_rows_give_zero_loss_and_zero_gradient(loss):
    student = torch.ones(5, 3, requires_grad=True)
    value = loss(student, torch.ones(5, 3))
    value.backward()
    assert value.item() == 0.0
    assert torch.equal(student.grad, torch.zeros(5, 3))


@pytest.mark.parametrize("loss", RELATIONS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_widened_and_the_gradient_comes_back_in_kind(loss, dtype):
    student = torch.randn(16, 8).to(dtype).requires_grad_(True)
    teacher = torch.randn(16, 8).to(dtype)
    value = loss(student, teacher)
    value.backward()
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss(student.detach().float(), teacher.float()).item(), rel=1e-5)
    assert student.grad.dtype == dtype


@pytest.mark.parametrize("loss", RELATIONS)
def test_no_gradient_flows_into_the_teacher(loss):
    teacher = torch.randn(5, 3, requires_grad=True)
    student = torch.randn(5, 3, requires_grad=True)
    loss(student, teacher).backward()
    assert teacher.grad is None


def test_a_second_derivative_of_the_angle_loss_is_refused():
    student = torch.randn(5, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(rkd_angle(student, torch.randn(5, 3)).square(), student, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("loss", RELATIONS)
@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [
        (torch.ones(5), torch.ones(5), r"student must have shape \(N, D\) or \(G, N, D\), got \(5,\)"),
        (torch.ones(5, 2), torch.ones(4, 2), "as many groups and rows"),
        (torch.ones(1, 2), torch.ones(1, 2), "at least 2 rows, got 1"),
        (torch.ones(3, 2), torch.full((3, 2), torch.nan), "teacher must be finite"),
    ],
)
def test_bad_input_is_refused_with_what_was_expected(loss, student, teacher, message):
    with pytest.raises(ValueError, match=message):
        loss(student, teacher)
