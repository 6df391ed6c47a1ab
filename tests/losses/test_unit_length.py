import torch
import torch.nn.functional as F

from mrkd.losses import gram, nt_xent, spkd
from mrkd.losses.unit_length import unit_length


def test_rows_have_the_length_and_the_gradient_of_normalize():
    rows = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.equal(unit_length(rows), F.normalize(rows, dim=-1))
    assert torch.autograd.gradcheck(unit_length, (rows,))


def test_a_row_of_length_zero_stays_zero_with_a_zero_gradient_in_every_loss_that_divides_by_it():
    rows = torch.randn(5, 3)
    rows[1] = 0.0
    for loss in (nt_xent, gram, spkd):
        student = rows.clone().requires_grad_(True)
        loss(student, torch.randn(5, 3)).backward()
        assert student.grad.norm() < 1e2, loss.__name__
    assert torch.equal(unit_length(rows)[1], torch.zeros(3))
