import math

import pytest
import torch

from mrkd.losses import barlow_twins, nt_xent, vicreg
from tests.helpers.recorded import recorded_input

# simclr.py of sthalles/SimCLR at 1848fc934ad844ae630e6c452300433fe99acfd9, temperature 0.5, both views stacked.
SIMCLR = (1.969508403969655, 0.6276513433949682, -0.059714847136963636)
# main_vicreg.py of facebookresearch/vicreg at 4e12602fd495af83efd1631fbe82523e6db092e0, weights 25, 25, 1.
VICREG = (19.761561422445652, 5.95013217359241, -1.0948302632863156)
# main.py of facebookresearch/barlowtwins at 046eec3c7f5c098b42cdf43e04df332957637d6a, weight 0.0051.
BARLOW_TWINS = (1.2471151258743405, 1.117603012346735, -0.3353871347971908)


def test_nt_xent_is_that_of_a_known_implementation():
    both = torch.cat([recorded_input(6, 5, 0.0), recorded_input(6, 5, 1.0)]).requires_grad_(True)
    value = nt_xent(both[:6], both[6:], temperature=0.5)
    (gradient,) = torch.autograd.grad(value, both)
    assert [value.item(), gradient.norm().item(), gradient[0, 0].item()] == pytest.approx(SIMCLR, rel=1e-10)


def test_vicreg_is_that_of_its_authors():
    first, second = recorded_input(6, 5, 0.0).requires_grad_(True), recorded_input(6, 5, 1.0)
    value = vicreg(first, second)
    (gradient,) = torch.autograd.grad(value, first)
    assert [value.item(), gradient.norm().item(), gradient[0, 0].item()] == pytest.approx(VICREG, rel=1e-10)


def test_barlow_twins_is_that_of_its_authors():
    first, second = recorded_input(6, 5, 0.0).requires_grad_(True), recorded_input(6, 5, 1.0)
    value = barlow_twins(first, second)
    (gradient,) = torch.autograd.grad(value, first)
    assert [value.item(), gradient.norm().item(), gradient[0, 0].item()] == pytest.approx(BARLOW_TWINS, rel=1e-10)


def test_barlow_twins_of_two_equal_channels_by_hand_and_it_ignores_their_scale_and_shift():
    # All four correlations are 1: nothing is missing on the diagonal, and two entries stand off it.
    view = torch.tensor([[1.0, 10.0], [-1.0, -10.0], [3.0, 30.0]], dtype=torch.float64)
    assert barlow_twins(view, view).item() == pytest.approx(2 * 0.0051, rel=1e-4)
    assert barlow_twins(5 * view + 7, view, off_diagonal=1.0).item() == pytest.approx(2.0, rel=1e-4)


def test_nt_xent_of_equal_embeddings_is_the_log_of_the_number_of_others():
    assert nt_xent(torch.ones(4, 3), torch.ones(4, 3)).item() == pytest.approx(math.log(7), rel=1e-6)


def test_vicreg_of_two_opposite_points_by_hand():
    # One channel: views (1, -1) and (1, -1): no difference, variance 2, no other channel to repeat.
    view = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    assert vicreg(view, view).item() == pytest.approx(0.0, abs=1e-12)
    # Shrunk to (0.1, -0.1): std sqrt(0.02 + 1e-4), so the hinge is 1 - that, once for each view at half weight.
    assert vicreg(0.1 * view, 0.1 * view).item() == pytest.approx(25 * (1 - math.sqrt(0.0201)))


@pytest.mark.parametrize("loss", [nt_xent, vicreg, barlow_twins])
def test_gradients_pass_gradcheck_and_a_permutation_changes_nothing(loss):
    first = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    second = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, (first, second))
    order = torch.randperm(6)
    assert loss(first[order], second[order]).item() == pytest.approx(loss(first, second).item(), rel=1e-10)


@pytest.mark.parametrize("loss", [nt_xent, vicreg, barlow_twins])
@pytest.mark.parametrize(
    ("second", "message"),
    [
        (torch.ones(5, 3), "both views must have shape"),
        (torch.ones(4, 2), "as many groups and rows"),
        (torch.full((5, 2), torch.nan), "must be finite"),
    ],
)
def test_bad_views_are_refused(loss, second, message):
    with pytest.raises(ValueError, match=message):
        loss(torch.ones(5, 2), second)


def test_a_temperature_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match="temperature must be positive, got 0"):
        nt_xent(torch.ones(5, 2), torch.ones(5, 2), temperature=0.0)
