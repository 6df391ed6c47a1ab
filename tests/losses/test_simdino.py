import math

import pytest
import torch

from mrkd.losses import coding_rate, simdino
from tests.helpers.recorded import recorded_input

# MCRLoss of simdino/main_dino.py of RobinWu218/SimDINO at 645b37d7f7400c44dfa65a8e278296feb51e23c7 on unit vectors,
# with two global views and a local one: value, norm of the gradient, its first entry. Its value is ours minus 1.
AUTHORS = (-0.47278076824492815, 0.15331046736412007, -0.0003667131114707652)


def views(*phases: float) -> torch.Tensor:
    return torch.stack([recorded_input(6, 5, phase) for phase in phases])


def test_simdino_is_that_of_its_authors():
    student = views(0.0, 1.0, 2.0).requires_grad_(True)
    value = simdino(student, views(3.0, 4.0))
    (gradient,) = torch.autograd.grad(value, student)
    found = [value.item() - 1.0, gradient.norm().item(), gradient.flatten()[0].item()]
    assert found == pytest.approx(AUTHORS, rel=1e-10)


def test_two_orthogonal_images_by_hand():
    # Both views agree across the networks: distance 0. Z^T Z is the identity, so the determinant is (1 + 2)^2 for
    # epsilon 0.5; half its logarithm is ln 3, and the factor is (2 + 2) / (2 * 2) = 1.
    both = torch.eye(2, dtype=torch.float64).expand(2, 2, 2)
    assert simdino(both, both).item() == pytest.approx(-math.log(3))
    # Exchanged images are sqrt(2) apart, half the square of which is 1.
    assert simdino(both, both.flip(1), rate=0.0).item() == pytest.approx(1.0)


@pytest.mark.parametrize("width", [3, 9])
def test_the_coding_rate_is_half_a_log_determinant(width):
    rows = torch.randn(2, 5, width, dtype=torch.float64)
    matrix = torch.eye(width, dtype=torch.float64) + width / (5 * 0.1) * rows.mT @ rows
    assert coding_rate(rows, epsilon=0.1).item() == pytest.approx(0.5 * torch.logdet(matrix).mean().item())


def test_rotation_length_and_order_change_nothing_and_gradients_pass_gradcheck():
    student = torch.randn(3, 6, 4, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(2, 6, 4, dtype=torch.float64)
    rotation, order = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))[0], torch.randperm(6)
    moved = simdino(3.0 * (student @ rotation)[:, order], (teacher @ rotation)[:, order])
    assert moved.item() == pytest.approx(simdino(student, teacher).item(), rel=1e-10)
    assert torch.autograd.gradcheck(lambda rows: simdino(rows, teacher), (student,))


@pytest.mark.parametrize(
    ("student", "teacher", "options", "message"),
    [
        (torch.ones(2, 5, 3), torch.ones(2, 5, 4), {}, r"with \(B, E\) = \(5, 4\)"),
        (torch.ones(1, 5, 3), torch.ones(2, 5, 3), {}, "V >= 2"),
        (torch.ones(1, 5, 3), torch.ones(1, 5, 3), {}, "two different views, got one"),
        (torch.ones(2, 1, 3), torch.ones(2, 1, 3), {}, "B >= 2"),
        (torch.full((2, 5, 3), torch.inf), torch.ones(2, 5, 3), {}, "student must be finite"),
        (torch.ones(2, 5, 3), torch.ones(2, 5, 3), {"epsilon": 0.0}, "epsilon must be positive, got 0"),
    ],
)
def test_bad_input_is_refused(student, teacher, options, message):
    with pytest.raises(ValueError, match=message):
        simdino(student, teacher, **options)
