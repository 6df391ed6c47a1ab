"""Classification from few labels by the nearest class mean."""

import pytest
import torch

from mrkd.evaluation.classifiers import linear
from mrkd.evaluation.classifiers.class_means import centre_and_normalise, draw_each_class, nearest_mean_weights
from mrkd.evaluation.evaluators.few_shot import EVALUATOR
from tests.helpers.feature_sets import feature_set


def clouds(count, *, spread, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    return 5 * torch.eye(8)[labels] + spread * torch.randn(count, 8, generator=generator), labels


def test_the_score_orders_classes_by_the_distance_to_their_means():
    features = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 6.0], [0.0, 10.0]])
    labels = torch.tensor([0, 0, 2, 2])
    rows = torch.tensor([[[0, 1], [2, 3]]])
    weights = nearest_mean_weights(features, labels, rows, classes=3)
    # The means are (1, 0) and (0, 8): (1, 3.9) is 3.9 and 4.2 away, (1, 4.1) is 4.1 and 4.03; class 1 has no image.
    scores = linear.predict(torch.tensor([[1.0, 3.9], [1.0, 4.1]]), weights)[0]
    assert scores.argmax(dim=1).tolist() == [0, 2]
    assert scores[:, 1].tolist() == [-torch.inf, -torch.inf]


def test_a_draw_has_different_images_of_each_class_and_another_draw_others():
    labels = torch.tensor([2, 0, 2, 0, 0, 2, 2])
    rows = draw_each_class(labels, 3, draws=10, seed=0)
    assert rows.shape == (10, 2, 3)
    assert (labels[rows] == torch.tensor([0, 2])[:, None]).all()
    assert all(len(set(drawn)) == 3 for drawn in rows[:, 1].tolist())
    assert len({frozenset(drawn) for drawn in rows[:, 1].tolist()}) > 1
    torch.testing.assert_close(rows, draw_each_class(labels, 3, draws=10, seed=0))


def test_more_images_than_the_smallest_class_has_are_refused():
    with pytest.raises(ValueError, match="at most the 1 images of the smallest class, got 2"):
        draw_each_class(torch.tensor([0, 0, 1]), 2, draws=1, seed=0)


def test_features_are_centred_by_the_reference_and_of_unit_length():
    found = centre_and_normalise(torch.tensor([[4.0, 1.0]]), torch.tensor([[0.0, 0.0], [2.0, 2.0]]))
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.0]]))


def test_classes_far_apart_are_told_apart_with_one_label_and_more_labels_help_with_overlapping_ones(tiny_config):
    train, test = (feature_set(*clouds(count, spread=0.1, seed=seed)) for count, seed in ((60, 1), (30, 2)))
    value = EVALUATOR.measure(None, train, test, tiny_config)
    assert {name: (part["acc1"], part["acc1_std"]) for name, part in value.items()} == {
        "1_label": (100.0, 0.0),
        "5_labels": (100.0, 0.0),
        "10_labels": (100.0, 0.0),
    }
    train, test = (feature_set(*clouds(count, spread=3.0, seed=seed)) for count, seed in ((300, 1), (3000, 2)))
    value = EVALUATOR.measure(None, train, test, tiny_config)
    one, five, ten = (part["acc1"] for part in value.values())
    assert one < five < ten < 100
    assert value["1_label"]["acc1_std"] > value["10_labels"]["acc1_std"] > 0


def test_scale_shift_and_rotation_of_all_features_change_nothing(tiny_config):
    rotation = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(0))).Q
    plain, moved = (
        [feature_set(change(features), labels) for features, labels in (clouds(90, spread=3.0), clouds(60, spread=3.0))]
        for change in (lambda features: features, lambda features: 7 * features @ rotation + 2)
    )
    before, after = (EVALUATOR.measure(None, *sets, tiny_config) for sets in (plain, moved))
    for name, part in before.items():
        assert after[name]["acc1"] == pytest.approx(part["acc1"], abs=0.5)


def test_what_the_smallest_class_is_too_small_for_is_left_out(tiny_config):
    features, labels = clouds(19, spread=1.0)
    train = feature_set(features, labels, classes=4)
    assert list(EVALUATOR.measure(None, train, train, tiny_config)) == ["1_label", "5_labels"]


def test_collapsed_features_are_at_chance(tiny_config):
    same = feature_set(torch.ones(30, 8), torch.arange(30) % 3)
    assert EVALUATOR.measure(None, same, same, tiny_config)["5_labels"]["acc1"] == pytest.approx(100 / 3, abs=0.01)
