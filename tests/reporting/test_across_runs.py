"""Similarity of the features of several runs, and predictors of the linear probe."""

import json

import numpy as np
import pytest

from mrkd.reporting.across_runs import LABEL_FREE, LOGGED, across_runs, linear_cka, predictors, similarity
from mrkd.reporting.read import read_run
from mrkd.runs.npz import read_npz, write_npz
from mrkd.runs.run import EMBEDDING
from tests.helpers.made_up_runs import add_arrays, make_run


def noise(width=5, seed=0):
    return np.random.default_rng(seed).normal(size=(40, width))


def test_alignment_is_that_of_the_formula_of_features():
    first, second = noise(), noise(3, seed=1) + noise()[:, :3]
    x, y = (part - part.mean(axis=0) for part in (first, second))
    expected = np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    assert linear_cka(first, second) == pytest.approx(expected)
    # By hand: Gram matrices of (1, -1, 0) and (1, 0, -1) have the norm 2, and the inner product (1)² of their vectors.
    assert linear_cka(np.array([[1.0], [-1], [0]]), np.array([[1.0], [0], [-1]])) == pytest.approx(0.25)


def test_rotation_scale_and_shift_have_no_influence_on_alignment():
    first, second = noise(), noise() + noise(seed=1)
    rotation = np.linalg.qr(noise(40, seed=2)[:5, :5])[0]
    assert linear_cka(first, 3 * second @ rotation + 7) == pytest.approx(linear_cka(first, second))
    assert linear_cka(first, first @ rotation) == pytest.approx(1.0)
    assert linear_cka(first, np.ones((40, 2))) == 0.0


def with_map(path):
    run = make_run(path)
    add_arrays(run)
    return run


def with_features(path, features):
    run = with_map(path)
    arrays = read_npz(run / EMBEDDING)
    count = len(arrays["labels"])
    write_npz(run / EMBEDDING, {**arrays, "features": features[:count].astype(np.float16)})
    return read_run(run)


def test_runs_are_compared_on_the_same_images_pair_by_pair(tmp_path):
    runs = [with_features(tmp_path / "a", noise()), with_features(tmp_path / "b", noise(7, seed=1))]
    runs.append(read_run(with_map(tmp_path / "older")))  # its map has no features
    found = similarity(runs)
    assert found["runs"] == ["a", "b"]
    np.testing.assert_allclose(np.diag(found["cka"]), 1)
    assert found["cka"][0][1] == found["cka"][1][0]
    count = found["images"]
    assert found["cka"][0][1] == pytest.approx(linear_cka(noise()[:count], noise(7, seed=1)[:count]), abs=1e-2)


def test_a_run_on_other_images_and_a_single_run_are_not_compared(tmp_path):
    runs = [with_features(tmp_path / "a", noise()), with_features(tmp_path / "b", noise(seed=1))]
    arrays = read_npz(runs[1].path / EMBEDDING)
    write_npz(runs[1].path / EMBEDDING, {**arrays, "images": 255 - arrays["images"]})
    assert similarity(runs) is None
    assert similarity([]) is None


def measured(path, *, probe, rankme, relations):
    run = make_run(path)
    evaluation = json.loads((run / "evaluation.json").read_text())
    evaluation["linear"] = {"acc1": probe, "acc5": 99.0, "protocol": {}}
    evaluation["health"] = {"rankme": rankme}
    evaluation["relations"] = {"spearman": relations, "protocol": {}}
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    return read_run(run)


def test_numbers_without_labels_are_ranked_by_their_correlation_with_the_probe(tmp_path):
    runs = [
        measured(tmp_path / f"run{number}", probe=float(probe), rankme=float(rank), relations=0.5)
        for number, (probe, rank) in enumerate([(10, 1), (20, 2), (30, 4), (40, 3)])
    ]
    found = predictors(runs)
    assert found["predicted"] == "linear_acc1"
    numbers = {number["key"]: number for number in found["numbers"]}
    assert numbers["rankme"]["spearman"] == pytest.approx(1 - 6 * 2 / (4 * 15))  # ranks 1 2 4 3: squares 0 0 1 1
    assert numbers["rankme"]["values"] == [1.0, 2.0, 4.0, 3.0]
    assert numbers["rankme"]["probe"] == [10.0, 20.0, 30.0, 40.0]
    assert numbers["rankme"]["runs"] == ["run0", "run1", "run2", "run3"]
    assert numbers["relations_spearman"]["spearman"] is None
    assert found["numbers"][0]["spearman"] is not None
    assert "lidar" not in numbers
    assert predictors(runs[:3]) is None


def test_predictors_are_measured_without_labels_and_masks():
    assert {"rankme", "lidar", "relations_spearman", "relations_same_neighbour"} == set(LABEL_FREE)
    assert not set(LABEL_FREE) & set(LOGGED)


def test_what_is_written_is_json(tmp_path):
    runs = [
        measured(tmp_path / f"run{number}", probe=10.0 * number, rankme=5.0, relations=0.1 * number)
        for number in range(4)
    ]
    found = across_runs(runs)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
