"""The linear probe against scikit-learn's logistic regression."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

import mrkd
from mrkd.config.overrides import build, load_recipe
from mrkd.data.load import load
from mrkd.data.resident import ResidentDataset
from mrkd.data.sources.splits import stratified
from mrkd.evaluation.classifiers import linear, logistic
from mrkd.evaluation.evaluators.linear import EVALUATOR
from mrkd.evaluation.features import FeatureSet, extract_features
from mrkd.model.backbone import create_vit
from mrkd.runs.run import RunDirectory
from mrkd.runs.weights import load_backbone

CLASSES = 5


def clusters(count, *, spread, width=24, seed=0):
    """Classes as overlapping clouds, along directions of very different size."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    centers = torch.randn(CLASSES, width, generator=torch.Generator().manual_seed(9))
    sizes = torch.logspace(0, -3, width)
    mixing = torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(8))).Q
    return ((centers[labels] + spread * torch.randn(count, width, generator=generator)) * sizes) @ mixing, labels


def as_set(features, labels, classes=CLASSES):
    images = torch.zeros(len(features), 3, 1, 1, dtype=torch.uint8)
    names = tuple(map(str, range(classes)))
    return FeatureSet(images=ResidentDataset(images=images, labels=labels, class_names=names), features=features)


def reference(strength, inputs, labels):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of solvers that stop early at strengths that are not chosen
        return LogisticRegression(C=strength, max_iter=3000, tol=1e-5).fit(inputs, labels)


def best_of_scikit_learn(train, test):
    """Percent, with C chosen on the same fifth."""
    inputs, queries = (linear.standardize(part.features, train.features).double().numpy() for part in (train, test))
    labels, truth = train.labels("test").numpy(), test.labels("test").numpy()
    fit, choose = (index.numpy() for index in stratified(train.labels("test"), 0.2))
    strengths = np.logspace(-4, 2, 7)
    scores = [reference(c, inputs[fit], labels[fit]).score(inputs[choose], labels[choose]) for c in strengths]
    return 100 * reference(strengths[int(np.argmax(scores))], inputs, labels).score(queries, truth)


def probe(train, test, config):
    return EVALUATOR.measure(None, train, test, config)["acc1"]


@pytest.mark.parametrize("strength", [1e-3, 1.0, 100.0])
def test_weights_are_those_of_scikit_learn_in_float64(strength):
    features, labels = clusters(400, spread=1.0)
    inputs = linear.standardize(features, features).double()
    [weights] = logistic.fit_logistic(inputs, labels, classes=CLASSES, strengths=(strength,))
    expected = reference(strength, inputs.numpy(), labels.numpy())
    probs = linear.predict(inputs, weights[None])[0].softmax(dim=1)
    torch.testing.assert_close(probs, torch.from_numpy(expected.predict_proba(inputs.numpy())), rtol=0, atol=5e-3)


def test_float32_ends_where_float64_does():
    features, labels = clusters(400, spread=1.0)
    inputs = linear.standardize(features, features)
    strengths = (1e-3, 1.0, 100.0)
    single, double = (
        logistic.fit_logistic(kind, labels, classes=CLASSES, strengths=strengths) for kind in (inputs, inputs.double())
    )
    probs = [linear.predict(inputs.to(weights.dtype), weights).softmax(-1).double() for weights in (single, double)]
    torch.testing.assert_close(*probs, rtol=0, atol=5e-3)


def test_with_fewer_images_than_channels_the_optimum_is_the_same():
    features, labels = clusters(60, spread=1.0, width=40)
    wide = torch.cat([features, features @ torch.randn(40, 40)], dim=1).double()
    wide = linear.standardize(wide, wide)
    [weights] = logistic.fit_logistic(wide, labels, classes=CLASSES, strengths=(1.0,))
    expected = reference(1.0, wide.numpy(), labels.numpy()).predict_proba(wide.numpy())
    probs = linear.predict(wide, weights[None])[0].softmax(dim=1)
    torch.testing.assert_close(probs, torch.from_numpy(expected), rtol=0, atol=5e-3)


def test_strengths_come_back_in_the_order_in_which_they_were_asked_for():
    features, labels = clusters(100, spread=1.0)
    weights = logistic.fit_logistic(features, labels, classes=CLASSES, strengths=(10.0, 1e-3, 0.1))
    sizes = weights[:, :-1].square().sum(dim=(1, 2)).tolist()
    assert sizes[0] > sizes[2] > sizes[1]


def test_rows_may_come_piece_by_piece(monkeypatch):
    features, labels = clusters(100, spread=1.0)
    whole = logistic.fit_logistic(features.double(), labels, classes=CLASSES, strengths=(1.0,))
    monkeypatch.setattr(logistic, "MAX_SCORES", 7 * CLASSES)
    pieces = logistic.fit_logistic(features.double(), labels, classes=CLASSES, strengths=(1.0,))
    torch.testing.assert_close(whole, pieces, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "features", [torch.zeros(60, 8), torch.ones(60, 1).expand(60, 8) * torch.arange(60.0)[:, None]]
)
def test_collapsed_features_get_a_finite_answer(features, tiny_config):
    labels = torch.arange(60) % 3
    assert 0 <= probe(as_set(features, labels, 3), as_set(features, labels, 3), tiny_config) <= 100


def test_a_class_without_images_is_no_obstacle(tiny_config):
    features, labels = clusters(100, spread=0.1)
    train = as_set(features, labels, CLASSES + 1)
    assert probe(train, train, tiny_config) == 100.0


def test_with_one_image_of_each_class_the_strength_is_fixed_and_said_to_be(tiny_config):
    features, labels = clusters(CLASSES, spread=0.1)
    value = EVALUATOR.measure(None, as_set(features, labels), as_set(features, labels), tiny_config)
    assert value["protocol"]["chosen_on"] == "fixed: too few labels"
    assert value["acc1"] == 100.0


@pytest.mark.parametrize("spread", [0.3, 0.6, 2.0], ids=["near-separable", "between", "overlapping"])
def test_the_probe_is_within_half_a_point_of_scikit_learn(spread, tiny_config):
    train, test = (as_set(*clusters(count, spread=spread, seed=seed)) for count, seed in ((800, 1), (2000, 2)))
    assert probe(train, test, tiny_config) == pytest.approx(best_of_scikit_learn(train, test), abs=0.5)


def quick_config():
    return build({**load_recipe("quick"), "train.epochs": 3, "objective.method": "structural"})


@pytest.mark.slow
def test_the_probe_of_a_random_network_is_within_half_a_point_of_scikit_learn():
    config = quick_config()
    torch.manual_seed(0)
    vit, splits = create_vit(config.model, config.data.size).eval(), load(config.data)
    train, test = extract_features(vit, splits.train), extract_features(vit, splits.require_test())
    assert probe(train, test, config) == pytest.approx(best_of_scikit_learn(train, test), abs=0.5)


@pytest.mark.slow
def test_the_probe_of_a_trained_network_is_within_half_a_point_of_scikit_learn(tmp_path):
    config = quick_config()
    vit = load_backbone(RunDirectory.open(mrkd.pretrain(config, tmp_path / "run")))
    splits = load(config.data)
    train, test = extract_features(vit, splits.train), extract_features(vit, splits.require_test())
    assert probe(train, test, config) == pytest.approx(best_of_scikit_learn(train, test), abs=0.5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_finds_the_same_probe(tiny_config):
    train, test = (as_set(*clusters(count, spread=1.0, seed=seed)) for count, seed in ((800, 1), (500, 2)))
    on_gpu = [
        FeatureSet(images=part.images.to(torch.device("cuda")), features=part.features.cuda()) for part in (train, test)
    ]
    assert probe(*on_gpu, tiny_config) == pytest.approx(probe(train, test, tiny_config), abs=0.5)
