import math

import pytest
import torch
from torch import Tensor

from mrkd.losses.centering import MovingCenter, sinkhorn_knopp
from mrkd.losses.distillation import cls_cross_entropy, patch_cross_entropy
from mrkd.losses.regularizers import koleo


def recorded_input(*shape: int, phase: float = 0.0) -> Tensor:
    values = [math.sin(1.3 * k + phase) * math.cos(0.11 * k * k + phase) for k in range(math.prod(shape))]
    return torch.tensor(values, dtype=torch.float32).view(*shape)


def test_both_cross_entropies_are_those_of_the_authors_code():
    # Recorded from iBOTLoss in main_ibot.py of bytedance/ibot at da316d82636a7a7356835ef224b13d5f3ace0489, with two
    # views of three images, four patches, five prototypes, a zero centre and a teacher temperature of 0.07.
    mask = torch.zeros(2, 3, 4, dtype=torch.bool)
    mask[0, 0, 1] = mask[0, 0, 3] = mask[1, 2, 0] = mask[0, 1, 2] = True
    center = MovingCenter(5, 0.9)
    cls_probs = center(recorded_input(6, 5, phase=0.7), 0.07).view(2, 3, 5)
    cls = cls_cross_entropy(recorded_input(6, 5).view(2, 3, 5), cls_probs, student_temperature=0.1)
    index = mask.flatten().nonzero().flatten()
    patch_probs = MovingCenter(5, 0.9)(recorded_input(6, 4, 5, phase=0.4).view(24, 5), 0.07)[index]
    patch = patch_cross_entropy(
        recorded_input(6, 4, 5, phase=0.2).view(24, 5)[index],
        patch_probs,
        view_of_patch=index // 4,
        views=6,
        student_temperature=0.1,
    )
    assert cls.item() == pytest.approx(7.833650588989258, rel=1e-5)
    assert patch.item() == pytest.approx(0.40581458806991577, rel=1e-5)
    expected = [0.04877760633826256, 0.007705271244049072, -0.0053892796859145164]
    assert center.center[:3].tolist() == pytest.approx(expected, rel=1e-4)


def test_uniform_student_and_teacher_cost_the_log_of_the_prototypes():
    logits = torch.zeros(2, 3, 7)
    value = cls_cross_entropy(logits, torch.full((2, 3, 7), 1 / 7), student_temperature=0.1)
    assert value.item() == pytest.approx(math.log(7), rel=1e-6)


def test_cross_entropies_pass_gradcheck_in_float64():
    student = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    probs = torch.randn(2, 3, 5, dtype=torch.float64).softmax(-1)
    index = torch.tensor([0, 0, 3, 5, 5, 5])
    assert torch.autograd.gradcheck(lambda s: cls_cross_entropy(s, probs, student_temperature=0.5), (student,))
    assert torch.autograd.gradcheck(
        lambda s: patch_cross_entropy(
            s.view(6, 5), probs.view(6, 5), view_of_patch=index, views=6, student_temperature=0.5
        ),
        (student,),
    )


def test_a_class_term_without_a_second_view_is_refused():
    with pytest.raises(ValueError, match="two different views"):
        cls_cross_entropy(torch.zeros(1, 2, 3), torch.zeros(1, 2, 3), student_temperature=0.1)


def test_unequal_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(B, K\) = \(2, 3\)"):
        cls_cross_entropy(torch.zeros(2, 2, 4), torch.zeros(2, 2, 3), student_temperature=0.1)
    with pytest.raises(ValueError, match=r"\(M, K\) = \(2, 3\)"):
        patch_cross_entropy(
            torch.zeros(2, 4), torch.zeros(2, 3), view_of_patch=torch.zeros(2).long(), views=1, student_temperature=0.1
        )


def test_sinkhorn_balances_columns_and_normalises_rows():
    probs = sinkhorn_knopp(torch.randn(40, 8) + torch.arange(8.0), temperature=0.5, iterations=50)
    assert torch.allclose(probs.sum(dim=1), torch.ones(40), atol=1e-5)
    assert torch.allclose(probs.sum(dim=0), torch.full((8,), 5.0), atol=1e-3)


def test_sinkhorn_of_groups_balances_each_by_itself():
    logits = torch.randn(3, 10, 4)
    together = sinkhorn_knopp(logits, temperature=0.1)
    assert torch.allclose(together[1], sinkhorn_knopp(logits[1], temperature=0.1))


def test_koleo_of_three_points_by_hand():
    # Unit vectors at 0, 90 and 180 degrees: every nearest neighbour is sqrt(2) away.
    points = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    assert koleo(points).item() == pytest.approx(-math.log(math.sqrt(2)), abs=1e-6)


def test_koleo_keeps_float64_and_passes_gradcheck():
    rows = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    assert koleo(rows).dtype == torch.float64
    assert torch.autograd.gradcheck(koleo, (rows,))


def test_a_zero_row_has_no_gradient_in_koleo_and_leaves_the_others_theirs():
    rows = torch.randn(6, 3)
    rows[2] = 0.0
    rows.requires_grad_(True)
    koleo(rows).backward()
    assert torch.equal(rows.grad[2], torch.zeros(3))
    assert 1e-3 < rows.grad.norm() < 1e2


def test_koleo_ignores_scale_and_pushes_duplicates_apart_with_a_finite_gradient():
    points = torch.randn(6, 3)
    assert koleo(points * 4).item() == pytest.approx(koleo(points).item(), rel=1e-5)
    twins = torch.ones(4, 3, requires_grad=True)
    koleo(twins).backward()
    assert twins.grad.isfinite().all()
    with pytest.raises(ValueError, match="N >= 2"):
        koleo(torch.ones(1, 3))
