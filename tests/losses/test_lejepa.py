import math

import pytest
import torch

from mrkd.losses import lejepa, sigreg
from tests.helpers.recorded import recorded_input

# The loss of MINIMAL.md of rbalestr-lab/lejepa at 2f2d9704bf9326ae3f36c8c50cfde257b61458e8 with lambda 0.02 and 64
# directions: value, norm of the gradient, its first entry.
AUTHORS = (0.3109847698500975, 0.11306373949777608, -0.008185566839688959)


def generator(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_lejepa_is_that_of_its_authors():
    views = torch.stack([recorded_input(6, 5, phase) for phase in (0.0, 1.0, 2.0)]).requires_grad_(True)
    value = lejepa(views, None, generator(), regularization=0.02, directions=64)
    (gradient,) = torch.autograd.grad(value, views)
    found = [value.item(), gradient.norm().item(), gradient.flatten()[0].item()]
    assert found == pytest.approx(AUTHORS, rel=1e-10)


def test_without_regularisation_it_is_the_squared_difference_to_the_mean_of_the_global_views_by_hand():
    views = torch.tensor([[[0.0], [0.0]], [[2.0], [0.0]]])
    # The means are 1 and 0. Squared differences: 1, 0, 1, 0; with the local crop also 4, 9.
    assert lejepa(views, None, generator(), regularization=0.0).item() == pytest.approx(2 / 4)
    local = torch.tensor([[[3.0], [3.0]]])
    assert lejepa(views, local, generator(), regularization=0.0).item() == pytest.approx((2 + 4 + 9) / 6)


def test_sigreg_of_a_point_at_zero_by_hand():
    # One characteristic function is 1 everywhere: the trapezoidal rule with knots 0 and 1 has one term, at 1.
    normal = math.exp(-0.5)
    expected = 2 * 0.5 * (1 - normal) ** 2 * normal * 7
    assert sigreg(torch.zeros(7, 4), generator(), knots=2, reach=1.0).item() == pytest.approx(expected, rel=1e-5)


def test_sigreg_is_about_one_for_a_standard_normal_sample_and_larger_for_others():
    sample = torch.randn(500, 16, generator=generator(0))
    value = sigreg(sample, generator()).item()
    assert value == pytest.approx(math.sqrt(2 * math.pi) * (1 - 1 / math.sqrt(3)), abs=0.2)
    for other in (2.0 * sample, 0.5 * sample, sample + 1.0, sample * (torch.arange(16) < 4)):
        assert sigreg(other, generator()).item() > 10 * value


def test_a_permutation_of_the_images_changes_nothing_and_gradients_pass_gradcheck():
    views = torch.randn(2, 6, 4, dtype=torch.float64, requires_grad=True)
    local = torch.randn(1, 6, 4, dtype=torch.float64, requires_grad=True)
    order = torch.randperm(6)
    value = lejepa(views, local, generator())
    assert lejepa(views[:, order], local[:, order], generator()).item() == pytest.approx(value.item(), rel=1e-10)
    assert torch.autograd.gradcheck(lambda v, c: lejepa(v, c, generator(), directions=8), (views, local))


@pytest.mark.parametrize(
    ("views", "local", "options", "message"),
    [
        (torch.ones(5, 2), None, {}, r"views must have shape \(V, B, E\)"),
        (torch.ones(2, 5, 2), torch.ones(1, 4, 2), {}, r"equal but for V, got \(2, 5, 2\) and \(1, 4, 2\)"),
        (torch.ones(1, 5, 2), None, {}, "at least two, got one"),
        (torch.ones(2, 1, 2), None, {}, "B >= 2"),
        (torch.full((2, 5, 2), torch.nan), None, {}, "must be finite"),
        (torch.ones(2, 5, 2), None, {"regularization": 1.5}, r"in \[0, 1\], got 1.5"),
        (torch.ones(2, 5, 2), None, {"knots": 1}, "knots >= 2"),
    ],
)
def test_bad_input_is_refused(views, local, options, message):
    with pytest.raises(ValueError, match=message):
        lejepa(views, local, generator(), **options)
