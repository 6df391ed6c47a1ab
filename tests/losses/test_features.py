import pytest
import torch

from mrkd.losses import attention_transfer, byol, dist, hint, variance_hinge
from tests.helpers.recorded import recorded_input

# distiller_zoo/AT.py of HobbitLong/RepDistiller at b84f547c5db6a35318d4671d7d5c4de74c822403 on features (2, 3, 4, 4),
# whose maps are the mean over channels of their squares: value, norm of the gradient, its first entry.
ATTENTION = (0.014296056857188209, 0.013538963275413658, -0.0002874897112069637)


def test_attention_transfer_is_that_of_a_known_implementation():
    student = recorded_input(6, 16, 0.0).view(2, 3, 4, 4).requires_grad_(True)
    teacher = recorded_input(6, 16, 1.0).view(2, 3, 4, 4)
    value = attention_transfer(student.square().mean(1).flatten(1), teacher.square().mean(1).flatten(1))
    (gradient,) = torch.autograd.grad(value, student)
    assert [value.item(), gradient.norm().item(), gradient.flatten()[0].item()] == pytest.approx(ATTENTION, rel=1e-10)


def test_attention_transfer_ignores_the_length_of_a_map_and_is_at_most_two_over_n():
    maps = torch.rand(6, 9, dtype=torch.float64)
    assert attention_transfer(3.0 * maps, maps).item() == pytest.approx(0.0, abs=1e-15)
    apart = attention_transfer(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
    assert apart.item() == pytest.approx(1.0)


def test_hint_is_a_mean_square_and_standardised_it_ignores_scale_and_shift_of_the_teacher():
    prediction, teacher = torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0], [3.0]])
    assert hint(prediction, teacher).item() == pytest.approx((1 + 4) / 2)
    # Standardised, the teacher's two rows are -+ 1 / sqrt(2).
    expected = (0.5 + (1 - 0.5**0.5) ** 2) / 2
    assert hint(prediction, teacher, standardize=True).item() == pytest.approx(expected, rel=1e-5)
    assert hint(prediction, 5 * teacher + 7, standardize=True).item() == pytest.approx(expected, rel=1e-5)


def test_byol_is_two_minus_two_cosines_and_ignores_lengths():
    prediction, teacher = recorded_input(6, 5, 0.0), recorded_input(6, 5, 1.0)
    expected = 2 - 2 * torch.nn.functional.cosine_similarity(prediction, teacher, dim=1).mean()
    assert byol(3 * prediction, teacher).item() == pytest.approx(expected.item(), rel=1e-10)
    # Unit vectors at 90 and at 180 degrees: squared distances 2 and 4.
    ours = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    assert byol(ours, torch.tensor([[0.0, 1.0], [0.0, -1.0]])).item() == pytest.approx(3.0)


def test_the_variance_hinge_is_zero_above_its_target_and_the_missing_std_below():
    rows = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    assert variance_hinge(rows).item() == pytest.approx((0.0 + 0.99) / 2)
    assert variance_hinge(rows, target=2.0).item() == pytest.approx((2 - (2 + 1e-4) ** 0.5 + 1.99) / 2)


def dist_of_the_authors(student, teacher, beta=1.0, gamma=1.0, tau=1.0):
    """The equations of the paper in its own order: softmax, Pearson between rows, Pearson between columns."""

    def pearson(a, b):
        a, b = (side - side.mean(1, keepdim=True) for side in (a, b))
        return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))

    student, teacher = (student / tau).softmax(1), (teacher / tau).softmax(1)
    inter, intra = 1 - pearson(student, teacher).mean(), 1 - pearson(student.T, teacher.T).mean()
    return tau**2 * (beta * inter + gamma * intra)


def test_dist_is_the_paper_s_equations_on_logits():
    student, teacher = torch.randn(2, 7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).unbind()
    for tau, beta, gamma in ((1.0, 1.0, 1.0), (4.0, 2.0, 0.5)):
        ours = dist(student, teacher, temperature=tau, row_weight=beta, column_weight=gamma)
        assert ours.item() == pytest.approx(dist_of_the_authors(student, teacher, beta, gamma, tau).item(), rel=1e-10)


def test_dist_by_hand_on_three_rows():
    student = torch.tensor([[0.0, 1.0], [2.0, 5.0], [4.0, 3.0]])
    teacher = torch.tensor([[1.0, 2.0], [3.0, 2.0], [5.0, 9.0]])
    # Rows of two channels correlate by +1 or -1: +1, -1, -1. Columns: (0, 2, 4) with (1, 3, 5) by 1, (1, 5, 3) with
    # (2, 2, 9) by (-2 * -7/3 + 2 * -7/3 + 0) / ... = 0.
    assert dist(student, teacher, column_weight=0.0).item() == pytest.approx(1 - (1 - 1 - 1) / 3)
    assert dist(student, teacher, row_weight=0.0).item() == pytest.approx(1 - (1 + 0) / 2, abs=1e-6)


def test_dist_ignores_the_scale_of_either_side_and_what_each_row_or_column_is_shifted_by():
    student, teacher = torch.randn(2, 7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).unbind()
    value = dist(student, teacher).item()
    assert dist(3 * student + 2, 0.1 * teacher - 5).item() == pytest.approx(value, rel=1e-10)
    by_row = {"column_weight": 0.0}
    scale, shift = torch.rand(7, 1).double() + 0.5, torch.randn(7, 1).double()
    assert dist(scale * student + shift, teacher, **by_row).item() == pytest.approx(
        dist(student, teacher, **by_row).item()
    )
    assert dist(teacher, teacher).item() == pytest.approx(0.0, abs=1e-12)
    assert dist(-teacher, teacher).item() == pytest.approx(4.0)


def test_dist_of_constant_outputs_has_a_value_and_a_finite_gradient():
    student = torch.ones(4, 3, requires_grad=True)
    value = dist(student, torch.randn(4, 3))
    value.backward()
    assert value.item() == pytest.approx(2.0)
    assert student.grad.isfinite().all()


def test_gradients_pass_gradcheck():
    rows = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    other = torch.rand(6, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda r: hint(r, other, standardize=True), (rows,))
    assert torch.autograd.gradcheck(lambda r: attention_transfer(r.square(), other), (rows,))
    assert torch.autograd.gradcheck(lambda r: dist(r, other), (rows,))
    assert torch.autograd.gradcheck(lambda r: dist(r, other, temperature=2.0), (rows,))
    assert torch.autograd.gradcheck(variance_hinge, (rows,))
    assert torch.autograd.gradcheck(lambda r: byol(r, other), (rows,))


@pytest.mark.parametrize("name", ["student", "teacher"])
def test_attention_maps_that_are_not_finite_are_refused(name):
    maps = {"student": torch.rand(3, 4), "teacher": torch.rand(3, 4)}
    maps[name][1, 2] = torch.nan
    with pytest.raises(ValueError, match=rf"{name} must be finite, got NaN or infinity in \(3, 4\)"):
        attention_transfer(**maps)


def test_bad_shapes_are_refused():
    with pytest.raises(ValueError, match=r"prediction must have shape \(5, 3\), got \(5, 2\)"):
        hint(torch.ones(5, 2), torch.ones(5, 3))
    with pytest.raises(ValueError, match=r"prediction must have shape \(5, 3\), got \(5, 2\)"):
        byol(torch.ones(5, 2), torch.ones(5, 3))
    with pytest.raises(ValueError, match="must be finite"):
        byol(torch.full((5, 2), torch.nan), torch.ones(5, 2))
    with pytest.raises(ValueError, match=r"maps must both have shape \(R, N\)"):
        attention_transfer(torch.ones(5, 2), torch.ones(5, 3))
    with pytest.raises(ValueError, match=r"the same shape \(R, D\) with D >= 2, got \(5, 2\) and \(5, 3\)"):
        dist(torch.ones(5, 2), torch.ones(5, 3))
    with pytest.raises(ValueError, match=r"D >= 2, got \(5, 1\)"):
        dist(torch.ones(5, 1), torch.ones(5, 1))
    with pytest.raises(ValueError, match="temperature must be positive, got 0"):
        dist(torch.ones(5, 2), torch.ones(5, 2), temperature=0.0)
    with pytest.raises(ValueError, match="N >= 2"):
        variance_hinge(torch.ones(1, 3))
