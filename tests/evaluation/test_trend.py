import pytest

from mrkd.evaluation.trend import read_trend


def measured(ranks, knn=None, spreads=None):
    spreads = spreads or [0.05] * len(ranks)
    rows = [{"rankme": rank, "feature_std": spread} for rank, spread in zip(ranks, spreads, strict=True)]
    for row, value in zip(rows, knn or [], strict=False):
        row["knn"] = value
    return rows


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        (measured([12], [45]), "healthy"),
        (measured([12, 30, 40], [45, 70, 80]), "healthy"),
        # k-NN as with random weights, however the rank grows
        (measured([12, 30], [45, 46]), "not-learning"),
        (measured([12, 30, 31, 31], [45, 40, 40, 40]), "not-learning"),
        # without labels, features like those of random weights
        (measured([12, 12.2], spreads=[0.050, 0.051]), "not-learning"),
        (measured([12, 12.2], spreads=[0.050, 0.070]), "healthy"),
        (measured([12, 20, 40, 40, 41], [45, 70, 90, 90.5, 90.8]), "flat"),
        (measured([12, 20, 40, 40, 41], [45, 70, 88, 90, 92]), "healthy"),
        (measured([12, 20, 40, 45, 50], [45, 90, 90, 90, 90]), "healthy"),
        (measured([12, 40, 40, 41]), "flat"),
        (measured([40, 40, 41], spreads=[0.01, 0.05, 0.05]), "healthy"),
        # rank and k-NN fall; a falling rank with rising k-NN means that features form clusters
        (measured([12, 40, 30, 20], [45, 80, 75, 70]), "falling"),
        (measured([12, 40, 30, 20], [45, 80, 85, 90]), "healthy"),
        (measured([12, 40, 30, 20]), "falling"),
        (measured([12, 40, 30, 29]), "healthy"),
        (measured([12, 40, 20, 25]), "healthy"),
    ],
)
def test_each_kind_of_curve_has_its_verdict(rows, kind):
    assert read_trend(rows, 64, progress=0.5).kind == kind


def test_verdicts_contain_the_measured_numbers():
    falling = read_trend(measured([12, 40, 30, 20], [45, 80, 75, 70]), 64, progress=0.5)
    assert "used 40 of 64 directions and use 20 now, and k-NN 10 points" in falling.sentence
    assert falling.worrying
    assert not falling.collapsed
    stuck = read_trend(measured([12, 30], [45, 46]), 64, progress=0.5)
    assert "k-NN is 46 %, and was 45 % with random weights" in stuck.sentence
    assert not stuck.worrying
    flat = measured([12, 40, 40, 41], [45, 90, 90, 90])
    sentence = "flat: k-NN 90 % and 41 of 64 directions in the last 3 measurements"
    assert read_trend(flat, 64, progress=0.5).sentence == sentence


def test_a_flat_end_of_a_schedule_is_not_called_the_most_that_can_be_reached():
    flat = measured([12, 40, 40, 41], [45, 90, 90, 90])
    assert "a longer one may reach more" in read_trend(flat, 64, progress=1.0).sentence


def test_each_verdict_is_one_line():
    for rows in (measured([12, 40, 30, 20]), measured([12, 12]), measured([12, 40, 40, 41]), measured([12])):
        assert "\n" not in read_trend(rows, 64, progress=0.5).sentence
