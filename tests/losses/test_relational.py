import pytest
import torch
from torch import Tensor

from mrkd.losses import rkd_angle, rkd_distance
from mrkd.losses.kernels import distances
from tests.helpers.recorded import recorded_input

RELATIONS = [rkd_distance, rkd_angle]


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
def test_half_precision_is_computed_in_float32_and_the_gradient_has_the_inputs_dtype(loss, dtype):
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


@pytest.mark.parametrize("loss", RELATIONS)
@pytest.mark.parametrize("anchored", [False, True])
def test_two_backward_passes_give_the_same_gradient(loss, anchored):
    student, teacher = torch.randn(2, 300, 3, dtype=torch.float64).unbind()
    student.requires_grad_(True)
    value = loss(student, teacher, anchors=torch.randn(5, 3, dtype=torch.float64) if anchored else None)
    first, second = (torch.autograd.grad(value, student, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("loss", RELATIONS)
def test_a_teacher_that_requires_a_gradient_gets_none(loss):
    student, teacher = torch.randn(2, 6, 3).unbind()
    value = loss(student, teacher.requires_grad_(True)) + 0 * teacher.sum()
    assert torch.autograd.grad(value, teacher)[0].abs().max() == 0


@pytest.mark.parametrize("loss", RELATIONS)
def test_a_second_derivative_is_refused(loss):
    student = torch.randn(5, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(student, torch.randn(5, 3)).square(), student, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiable once"):
        gradient.sum().backward()


OPTIONS = [
    {"standardize": True},
    {"huber_delta": 0.2},
    {"row_weights": torch.tensor([1.0, 0.0, 2.0, 1.0, 0.5, 1.0])},
    {"row_weights": torch.arange(6) != 2},
    {"anchors": torch.randn(4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)},
]


@pytest.mark.parametrize("loss", RELATIONS)
@pytest.mark.parametrize("options", [*OPTIONS, {k: v for options in OPTIONS for k, v in options.items()}])
def test_gradients_pass_gradcheck_with_every_option(loss, options):
    student = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(6, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda rows: loss(rows, teacher, **options), (student,))


@pytest.mark.parametrize("loss", RELATIONS)
@pytest.mark.parametrize("anchored", [False, True])
def test_a_mask_gives_exactly_the_loss_of_the_subset_whatever_the_masked_rows_hold(loss, anchored):
    student = torch.randn(9, 5, dtype=torch.float64, requires_grad=True)
    teacher, anchors = torch.randn(9, 5, dtype=torch.float64), torch.randn(4, 5, dtype=torch.float64)
    mask = torch.tensor([1, 1, 0, 1, 0, 1, 1, 1, 0], dtype=torch.bool)
    options = {"standardize": True, "anchors": anchors if anchored else None}
    value = loss(student, teacher, row_weights=mask, **options)
    subset = loss(student[mask], teacher[mask], **options)
    assert value.item() == pytest.approx(subset.item(), rel=1e-12)
    gradients = [torch.autograd.grad(v, student)[0] for v in (value, subset)]
    assert torch.allclose(*gradients, atol=1e-14)
    spoilt = student.detach().clone()
    spoilt[~mask] = torch.nan
    spoilt.requires_grad_(True)
    spoilt_value = loss(spoilt, teacher, row_weights=mask, **options)
    spoilt_value.backward()
    assert torch.equal(spoilt_value, value)
    assert torch.equal(spoilt.grad, gradients[0])


def test_integer_weights_are_repeated_rows_in_the_angle_loss():
    # The cosine of the angle of two equal rows with a third row is 1 for student and teacher, as that of an edge with
    # itself. In the distance loss two equal rows are also a pair, which counts in the mean.
    student, teacher = torch.randn(2, 7, 5, dtype=torch.float64).unbind()
    repeated = torch.tensor([0, 0, 1, 2, 3, 4, 5, 6])
    weights = torch.tensor([2.0] + [1.0] * 6)
    value = rkd_angle(student, teacher, row_weights=weights)
    assert value.item() == pytest.approx(rkd_angle(student[repeated], teacher[repeated]).item(), rel=1e-9)


@pytest.mark.parametrize("loss", RELATIONS)
def test_groups_with_fewer_than_two_weighted_rows_do_not_count(loss):
    student = torch.randn(3, 6, 4, requires_grad=True)
    teacher = torch.randn(3, 6, 4)
    mask = torch.ones(3, 6, dtype=torch.bool)
    mask[1, 1:] = False
    value = loss(student, teacher, row_weights=mask, standardize=True)
    expected = (loss(student[0], teacher[0], standardize=True) + loss(student[2], teacher[2], standardize=True)) / 2
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    (gradient,) = torch.autograd.grad(value, student)
    assert torch.equal(gradient[1], torch.zeros(6, 4))
    nothing = loss(student, teacher, row_weights=torch.zeros(3, 6))
    (gradient,) = torch.autograd.grad(nothing, student)
    assert nothing.item() == 0.0
    assert torch.equal(gradient, torch.zeros(3, 6, 4))


@pytest.mark.parametrize("loss", RELATIONS)
def test_anchors_may_differ_between_groups_and_take_no_gradient(loss):
    student, teacher = torch.randn(2, 2, 6, 4, dtype=torch.float64).unbind()
    anchors = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    student.requires_grad_(True)
    value = loss(student, teacher, anchors=anchors)
    single = [loss(student[g], teacher[g], anchors=anchors[g]).item() for g in range(2)]
    assert value.item() == pytest.approx(sum(single) / 2, rel=1e-12)
    value.backward()
    assert anchors.grad is None


@pytest.mark.parametrize("loss", RELATIONS)
def test_without_a_gradient_the_value_is_the_same(loss):
    student, teacher = torch.randn(2, 6, 4).unbind()
    with torch.no_grad():
        value = loss(student.requires_grad_(True), teacher)
    assert not value.requires_grad
    assert torch.equal(value, loss(student, teacher))


@pytest.mark.parametrize("loss", RELATIONS)
def test_a_loss_scale_is_applied_before_a_float16_gradient_is_rounded(loss):
    student, teacher = torch.randn(64, 8).half().requires_grad_(True), torch.randn(64, 8)
    (gradient,) = torch.autograd.grad(loss(student, teacher) * 1e-4, student)
    (scaled,) = torch.autograd.grad(loss(student, teacher) * 1e4, student)
    assert (scaled != 0).float().mean() > 0.99
    assert (gradient != 0).float().mean() < 0.99


@pytest.mark.parametrize("loss", RELATIONS)
def test_a_huge_common_offset_and_near_duplicates_stay_finite(loss):
    student = torch.randn(20, 8) + 1e5
    student[3] = student[4] + 1e-6
    student.requires_grad_(True)
    loss(student, torch.randn(20, 8)).backward()
    assert student.grad.isfinite().all()


def with_one_long_row(rows: Tensor) -> Tensor:
    return torch.cat([1e4 * rows[:1], rows[1:]])


def in_two_tight_clusters(rows: Tensor) -> Tensor:
    return 3e-4 * rows + (torch.arange(len(rows)) % 2)[:, None]


@pytest.mark.parametrize("loss", RELATIONS)
@pytest.mark.parametrize("anchored", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("spread", [with_one_long_row, in_two_tight_clusters])
def test_float32_keeps_short_distances_beside_long_ones(loss, spread, masked, anchored):
    student, teacher = spread(torch.randn(12, 8)), torch.randn(12, 8)
    options = {
        "anchors": spread(torch.randn(5, 8)) if anchored else None,
        "row_weights": torch.arange(12) != 7 if masked else None,
    }
    results = []
    for dtype in (torch.float32, torch.float64):
        given = {**options, "anchors": None if options["anchors"] is None else options["anchors"].to(dtype)}
        rows = student.to(dtype).requires_grad_(True)
        value = loss(rows, teacher.to(dtype), **given)
        results.append((value.item(), torch.autograd.grad(value, rows)[0].double()))
    (value, gradient), (expected, expected_gradient) = results
    assert value == pytest.approx(expected, rel=1e-3)
    assert (gradient - expected_gradient).norm() < 1e-2 * expected_gradient.norm()


def test_only_groups_with_near_rows_are_computed_again_in_float64(monkeypatch):
    groups = torch.stack([torch.randn(12, 8), with_one_long_row(torch.randn(12, 8))])
    counted = []
    only = distances.WeightedEmbeddings.only
    monkeypatch.setattr(
        distances.WeightedEmbeddings, "only", lambda self, near: counted.append(near) or only(self, near)
    )
    rkd_distance(groups[:1], torch.randn(1, 12, 8))
    assert not counted
    rkd_distance(groups, torch.randn(2, 12, 8))
    assert [near.tolist() for near in counted] == [[1]]


@pytest.mark.parametrize("loss", RELATIONS)
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_a_compiled_step_in_one_graph_gives_the_same(loss, backend):
    layer, rows = torch.nn.Linear(8, 6), torch.randn(12, 8)
    teacher, mask = torch.randn(12, 6), torch.arange(12) != 4

    def step(rows: Tensor) -> Tensor:
        return loss(layer(rows).tanh(), teacher, row_weights=mask, standardize=True)

    step(rows).backward()
    expected = layer.weight.grad.clone()
    layer.weight.grad = None
    value = torch.compile(step, backend=backend, fullgraph=True)(rows)
    value.backward()
    assert value.item() == pytest.approx(step(rows).item(), rel=1e-5)
    assert torch.allclose(layer.weight.grad, expected, atol=1e-6)


@pytest.mark.parametrize("loss", RELATIONS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"huber_delta": 0.0}, "huber_delta must be positive and finite, got 0.0"),
        ({"row_weights": torch.ones(4)}, r"row_weights must have shape \(N,\) = \(5,\), got \(4,\)"),
        ({"row_weights": -torch.ones(5)}, "row_weights must be finite and >= 0"),
        ({"row_weights": torch.ones(5, dtype=torch.long)}, "row_weights must be floating point or bool"),
        ({"anchors": torch.ones(3, 3)}, "share D, got 2, 2 and 3"),
        ({"anchors": torch.ones(0, 2)}, "at least 1 row, got 0"),
        ({"anchors": torch.ones(2, 3, 2)}, r"anchors must have shape \(M, D\)"),
        ({"anchors": torch.full((3, 2), torch.nan)}, "must be finite"),
    ],
)
def test_bad_options_are_refused_with_what_was_expected(loss, options, message):
    with pytest.raises(ValueError, match=message):
        loss(torch.randn(5, 2), torch.randn(5, 2), **options)


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
