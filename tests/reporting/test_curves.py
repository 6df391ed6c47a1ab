import numpy as np
import pytest

from mrkd.reporting.curves import smoothed


def test_a_straight_line_stays_itself_to_its_ends():
    steps = [0, 1, 2, 5, 6, 9, 10]
    line = [3 - 0.2 * step for step in steps]
    assert smoothed(steps, line, 0.2) == pytest.approx(line)


def test_noise_shrinks_and_the_mean_stays():
    steps = np.arange(500)
    noise = np.random.default_rng(0).normal(size=500)
    smooth = np.array(smoothed(steps, 2 + noise))
    assert smooth.std() < 0.3 * noise.std()
    assert smooth.mean() == pytest.approx(2 + noise.mean(), abs=0.02)


def test_values_stay_within_those_around_them():
    assert min(smoothed(range(6), [100.0, 10.0, 1.0, 0.1, 0.01, 0.001], 0.2)) >= 0.001


@pytest.mark.parametrize(("steps", "values"), [([], []), ([3], [1.0]), ([3, 3], [1.0, 2.0])])
def test_too_few_points_are_left_as_they_are(steps, values):
    assert smoothed(steps, values) == values


def test_no_width_changes_nothing():
    assert smoothed([0, 1, 2], [1.0, 5.0, 2.0], 0) == [1.0, 5.0, 2.0]
