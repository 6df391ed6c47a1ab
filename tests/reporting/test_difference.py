import pytest

from mrkd.reporting.conclusion import conclusion
from mrkd.reporting.difference import paired_difference, told_apart
from mrkd.reporting.table import mean_std


def row(method: str, *values: float, seeds: tuple[int, ...] = (0, 1, 2)) -> dict:
    return {"method": method, "seeds": list(seeds[: len(values)]), "knn": mean_std(list(values))}


def test_the_interval_is_that_of_students_t_for_paired_values():
    difference = paired_difference(row("a", 52.0, 53.0, 54.0), row("b", 50.0, 50.0, 53.0))
    assert difference is not None
    # Differences 2, 3, 1: mean 2, std 1; t(0.975, 2) = 4.3027, divided by sqrt(3) = 2.4841.
    assert difference.mean == pytest.approx(2.0)
    assert difference.interval == pytest.approx((2 - 2.48414, 2 + 2.48414), abs=1e-4)
    assert not difference.clear
    assert str(difference) == "+2.0 (-0.5 to +4.5)"


def test_only_common_seeds_are_compared():
    difference = paired_difference(row("a", 1.0, 5.0, seeds=(0, 3)), row("b", 2.0, 2.0, seeds=(3, 4)))
    assert difference is not None
    assert (difference.mean, difference.interval, difference.seeds) == (3.0, None, 1)
    assert paired_difference(row("a", 1.0, seeds=(0,)), row("b", 2.0, seeds=(1,))) is None


def test_raw_pixels_and_frozen_teachers_have_no_seed_to_be_paired_by():
    pixels = {"method": "pixels", "seeds": [], "knn": mean_std([30.0])}
    assert paired_difference(row("a", 52.0, 53.0), pixels) is None
    assert paired_difference(pixels, row("a", 52.0, 53.0)) is None


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (
            [row("a", 52.0, seeds=(0,)), row("b", 50.0, seeds=(1,))],
            "a leads b by 2.0 points of k-NN; without a common seed nothing is decided.",
        ),
        ([row("a", 52.0), row("b", 50.0)], "a leads b by 2.0 points of k-NN; one seed cannot decide between them."),
        (
            [row("b", 50.0, 50.1, 50.2), row("a", 52.0, 52.2, 52.1)],
            "a leads b by 2.0 points of k-NN (95 % interval 1.8 to 2.2, 3 seeds).",
        ),
        (
            [row("a", 52.0, 53.0, 54.0), row("b", 50.0, 50.0, 53.0)],
            "a and b cannot be told apart: 2.0 points of k-NN (95 % interval -0.5 to 4.5, 3 seeds).",
        ),
        ([row("random", 30.0), row("a", 52.0)], "a has 52.0 % k-NN. a is 22.0 points above random weights (30.0 %)."),
        (
            [row("random", 30.0), row("pixels", 60.0), row("a", 52.0)],
            "a has 52.0 % k-NN. a is 8.0 points below raw pixels (60.0 %).",
        ),
        ([row("random", 30.0)], ""),
        ([{"method": "a", "seeds": [0]}], ""),
    ],
)
def test_a_comparison_ends_with_who_leads_and_how_surely(rows, sentence):
    assert conclusion(rows) == sentence


def test_the_best_is_told_apart_only_if_it_is_from_every_other_method():
    best, near, far = row("a", 52.0, 52.2, 52.1), row("b", 51.0, 53.0, 52.0), row("c", 40.0, 40.1, 40.2)
    assert told_apart([best, far], "knn") == "a"
    assert told_apart([far, best], "knn", higher_is_better=False) == "c"
    assert told_apart([best, far, near], "knn") is None
    assert told_apart([best, row("random", 10.0, 10.0, 10.0)], "knn") is None
    assert told_apart([row("a", 52.0), row("b", 40.0)], "knn") is None


def test_a_column_that_some_seeds_lack_is_paired_by_its_own_seeds():
    partial = {"method": "a", "seeds": [0, 1, 2], "knn": {**mean_std([5.0, 7.0]), "seeds": [1, 2]}}
    difference = paired_difference(partial, row("b", 1.0, 2.0, 3.0))
    assert difference is not None
    assert (difference.mean, difference.seeds) == (3.5, 2)
