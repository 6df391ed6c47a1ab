import itertools
import math

import pytest
import torch
from torch import Tensor

from mrkd.losses import cckd, cka, dark_rank, gram, pkt, relation, relation_softmax, spkd, structural
from mrkd.losses.divergences import DIVERGENCES, NEEDS_COSINES, NEEDS_DISTANCES
from mrkd.losses.potentials import DISTANCES, POTENTIALS
from tests.helpers.recorded import recorded_input

NAMED = [spkd, pkt, cckd, relation_softmax, structural, cka, gram, dark_rank]
SENSIBLE = [
    (potential, divergence)
    for potential, divergence in itertools.product(POTENTIALS, DIVERGENCES)
    if not (divergence in NEEDS_DISTANCES and potential not in DISTANCES)
    and not (divergence in NEEDS_COSINES and potential != "cosine")
]

# Value, norm of the gradient, its first entry, on `recorded_input(6, 5, 0.0)` against `recorded_input(6, 7, 1.0)`.
# spkd, pkt: distiller_zoo/SP.py and PKT.py of HobbitLong/RepDistiller at b84f547c5db6a35318d4671d7d5c4de74c822403.
# dark_rank: HardDarkRank in metric/loss.py of lenscloth/RKD at 0a6c3c0c190722d428322bf71703c0ae86c25242.
# gram: dinov3/loss/gram_loss.py of facebookresearch/dinov3 at 6876159a11b4df116f30f667f8c9888617df0751, with
# remove_neg=False and without its cast to float32.
AUTHORS = {
    spkd: (0.010150835560452395, 0.030192204923355254, 0.004331052893191653),
    pkt: (0.0020377338440017434, 0.008705747954591041, 0.00131730540048698),
    dark_rank: (4.42028169799224, 25.53383390498639, 2.3424271188443107),
    gram: (0.022076940338564624, 0.09008845878101686, 0.011508458235176825),
}


@pytest.mark.parametrize("loss", AUTHORS)
def test_value_and_gradient_are_those_of_the_authors_code(loss):
    student = recorded_input(6, 5, 0.0).requires_grad_(True)
    value = loss(student, recorded_input(6, 7, 1.0))
    (gradient,) = torch.autograd.grad(value, student)
    # PKT's authors add 1e-7 to each vector's length, which ours does not.
    tolerance = 1e-5 if loss is pkt else 1e-10
    assert [value.item(), gradient.norm().item(), gradient[0, 0].item()] == pytest.approx(AUTHORS[loss], rel=tolerance)


def test_cckd_is_the_limit_of_the_taylor_series_of_its_authors():
    def kernel(rows: Tensor) -> Tensor:
        cosine = torch.nn.functional.normalize(rows, dim=1) @ torch.nn.functional.normalize(rows, dim=1).T
        return sum(math.exp(-0.8) * 0.8**p / math.factorial(p) * cosine**p for p in range(25))

    student, teacher = recorded_input(6, 5, 0.0), recorded_input(6, 7, 1.0)
    expected = (kernel(student) - kernel(teacher)).square().mean().item()
    assert cckd(student, teacher).item() == pytest.approx(expected, rel=1e-12)


def test_cka_is_one_minus_the_alignment_in_its_feature_form():
    student, teacher = recorded_input(6, 5, 0.0), recorded_input(6, 7, 1.0)
    x, y = student - student.mean(dim=0), teacher - teacher.mean(dim=0)
    aligned = (y.T @ x).square().sum() / ((x.T @ x).norm() * (y.T @ y).norm())
    assert cka(student, teacher).item() == pytest.approx(1 - aligned.item(), rel=1e-12)


def test_relation_softmax_is_ressl_s_cross_entropy_against_given_anchors():
    student, teacher, queue = torch.randn(5, 4), torch.randn(5, 4), torch.randn(7, 4)
    unit = [torch.nn.functional.normalize(rows, dim=1) for rows in (student, teacher, queue)]
    targets = (unit[1] @ unit[2].T / 0.04).softmax(dim=1)
    expected = -(targets * (unit[0] @ unit[2].T / 0.1).log_softmax(dim=1)).sum(dim=1).mean()
    assert relation_softmax(student, teacher, anchors=queue).item() == pytest.approx(expected.item(), rel=1e-5)


def test_structural_rows_of_two_images_by_hand():
    # Centred, two points are opposite unit vectors: each row has cosines +1 and -1, so softmax(+-1 / T) on both sides.
    points = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    value = structural(
        points, points, anchors=points, student_temperature=1.0, teacher_temperature=0.5, sinkhorn_iterations=0
    )
    target, prediction = 1 / (1 + math.exp(-4)), 1 / (1 + math.exp(-2))
    expected = -(target * math.log(prediction) + (1 - target) * math.log(1 - prediction))
    assert value.item() == pytest.approx(expected)


def test_dark_rank_of_three_points_by_hand():
    # Teacher: 0, 1, 3 on a line: the others in order are (1, 3), (0, 3), (1, 0). Student: 0, 2, 3.
    student = torch.tensor([[0.0], [2.0], [3.0]], dtype=torch.float64)
    teacher = torch.tensor([[0.0], [1.0], [3.0]], dtype=torch.float64)
    near, far = [2, 2, 1], [3, 1, 3]
    expected = sum(math.log(1 + math.exp(-b + a)) for a, b in zip(near, far, strict=True)) / 3
    value = dark_rank(student, teacher, length=2, alpha=1.0, beta=1.0)
    assert value.item() == pytest.approx(expected)


def test_pearson_of_proportional_distances_is_zero_and_of_unrelated_ones_about_one():
    rows = torch.randn(40, 6, dtype=torch.float64)
    pearson = {"potential": "euclidean", "divergence": "pearson"}
    assert relation(rows, 3.0 * rows, **pearson).item() == pytest.approx(0.0, abs=1e-12)
    assert relation(rows, torch.randn(40, 6, dtype=torch.float64), **pearson).item() == pytest.approx(1.0, abs=0.2)


def test_standardised_differences_of_unrelated_wide_features_are_of_order_one():
    student, teacher = torch.randn(64, 4096), torch.randn(64, 4096)
    plain = relation(student, teacher, potential="euclidean", divergence="squared", keep_self=False)
    standard = relation(
        student, teacher, potential="euclidean", divergence="squared", keep_self=False, standardize=True
    )
    assert plain < 1e-3
    assert 1.0 < standard < 4.0


def test_kl_is_the_cross_entropy_minus_the_entropy_and_zero_for_equal_sides():
    rows = torch.randn(7, 3, dtype=torch.float64)
    temperatures = {"student_temperature": 0.1, "teacher_temperature": 0.1}
    assert relation(rows, rows, potential="cosine", divergence="kl", **temperatures).item() == pytest.approx(
        0, abs=1e-9
    )


@pytest.mark.parametrize(("potential", "divergence"), SENSIBLE)
def test_every_potential_works_with_every_divergence_that_is_defined_on_it(potential, divergence):
    student = torch.randn(2, 6, 4, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(2, 6, 4, dtype=torch.float64)

    def loss(rows: Tensor) -> Tensor:
        return relation(rows, teacher, potential=potential, divergence=divergence)

    assert torch.autograd.gradcheck(loss, (student,))


@pytest.mark.parametrize("loss", NAMED)
@pytest.mark.parametrize("anchored", [False, True])
def test_gradients_pass_gradcheck_in_float64(loss, anchored):
    student = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    teacher, anchors = torch.randn(6, 4, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)
    mask = torch.tensor([True, True, False, True, True, True])
    assert torch.autograd.gradcheck(
        lambda rows: loss(rows, teacher, anchors=anchors if anchored else None, row_weights=mask), (student,)
    )


@pytest.mark.parametrize("loss", NAMED)
def test_a_mask_of_rows_gives_the_loss_of_the_rows_it_keeps(loss):
    student, teacher = torch.randn(9, 4, dtype=torch.float64), torch.randn(9, 4, dtype=torch.float64)
    kept = torch.tensor([0, 2, 3, 5, 6, 8])
    mask = torch.zeros(9, dtype=torch.bool).index_fill(0, kept, value=True)
    masked = loss(student, teacher, row_weights=mask)
    assert masked.item() == pytest.approx(loss(student[kept], teacher[kept]).item(), rel=1e-10)


@pytest.mark.parametrize("loss", NAMED)
def test_groups_give_the_mean_over_the_groups_that_have_two_rows(loss):
    student, teacher = torch.randn(3, 8, 4, dtype=torch.float64), torch.randn(3, 8, 4, dtype=torch.float64)
    mask = torch.ones(3, 8, dtype=torch.bool)
    mask[2] = False
    mask[2, 0] = True  # one row alone has no relation
    single = torch.stack([loss(s, t) for s, t in zip(student[:2], teacher[:2], strict=True)])
    assert loss(student, teacher, row_weights=mask).item() == pytest.approx(single.mean().item(), rel=1e-10)


@pytest.mark.parametrize("loss", NAMED)
def test_a_permutation_of_the_images_changes_nothing(loss):
    student, teacher = torch.randn(9, 5, dtype=torch.float64), torch.randn(9, 5, dtype=torch.float64)
    order = torch.randperm(9)
    assert loss(student[order], teacher[order]).item() == pytest.approx(loss(student, teacher).item(), rel=1e-9)


@pytest.mark.parametrize("loss", NAMED)
def test_a_rotation_of_either_side_changes_nothing(loss):
    student, teacher = torch.randn(9, 5, dtype=torch.float64), torch.randn(9, 5, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))[0]
    assert loss(student @ rotation, teacher).item() == pytest.approx(loss(student, teacher).item(), rel=1e-9)


@pytest.mark.parametrize("loss", [spkd, pkt, cckd, relation_softmax, structural, gram])
def test_centred_a_common_vector_changes_nothing(loss):
    student, teacher = torch.randn(9, 5, dtype=torch.float64), torch.randn(9, 5, dtype=torch.float64)
    moved = loss(student + 5.0, teacher - 3.0, center=True)
    assert moved.item() == pytest.approx(loss(student, teacher, center=True).item(), rel=1e-9)


@pytest.mark.parametrize("loss", NAMED)
@pytest.mark.parametrize("rows", [torch.ones(5, 3), torch.zeros(5, 3)])
def test_equal_rows_give_a_finite_loss_and_a_finite_gradient(loss, rows):
    student = rows.clone().requires_grad_(True)
    value = loss(student, torch.randn(5, 3))
    value.backward()
    assert value.isfinite()
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("loss", NAMED)
def test_half_precision_is_computed_in_float32_and_no_gradient_flows_into_the_teacher(loss):
    student = torch.randn(16, 8).bfloat16().requires_grad_(True)
    teacher = torch.randn(16, 8).bfloat16().requires_grad_(True)
    value = loss(student, teacher)
    value.backward()
    assert value.dtype == torch.float32
    assert student.grad.dtype == torch.bfloat16
    assert teacher.grad is None


@pytest.mark.parametrize("loss", NAMED)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"teacher": torch.ones(4, 2)}, "as many groups and rows"),
        ({"teacher": torch.full((5, 2), torch.inf)}, "teacher must be finite"),
        ({"anchors": torch.ones(3, 7)}, r"anchors must have shape \(G, M, D\)"),
        (
            {"row_weights": torch.ones(4, dtype=torch.bool)},
            r"row_weights must have shape \(G, N\) = \(1, 5\), got \(1, 4\)",
        ),
    ],
)
def test_bad_input_is_refused_with_what_was_expected(loss, arguments, message):
    with pytest.raises(ValueError, match=message):
        loss(torch.ones(5, 2), **{"teacher": torch.ones(5, 2), **arguments})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"potential": "euclid", "divergence": "huber"}, "did you mean 'euclidean'"),
        ({"potential": "euclidean", "divergence": "hubr"}, "did you mean 'huber'"),
        ({"potential": "cosine", "divergence": "listwise"}, "orders distances"),
        ({"potential": "dot", "divergence": "probability-kl"}, "reads cosines"),
        ({"potential": "dot", "divergence": "huber", "delta": 1.0}, "did you mean 'huber_delta'"),
        ({"potential": "dot", "divergence": "cka", "delta": 1.0}, "it has none"),
    ],
)
def test_a_divergence_that_is_not_defined_on_a_potential_is_refused_with_the_reason(settings, message):
    with pytest.raises(ValueError, match=message):
        relation(torch.randn(5, 2), torch.randn(5, 2), **settings)


@pytest.mark.parametrize("name", ["student_temperature", "teacher_temperature"])
def test_a_temperature_that_is_not_positive_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be positive, got 0"):
        relation_softmax(torch.randn(5, 2), torch.randn(5, 2), **{name: 0.0})
