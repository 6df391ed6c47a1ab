"""The keys and numbers of `evaluation.json` are pinned, because files of earlier versions must stay readable."""

import dataclasses
import json
from pathlib import Path

import pytest

import mrkd
from mrkd.runs.run import EVALUATION

PINNED = Path(__file__).parent / "pinned_evaluation.json"
"""Values for an untrained network; measured on an x86 CPU with one thread, commit 54371df."""


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    from tests.conftest import make_tiny_config

    config = make_tiny_config()
    objective = dataclasses.replace(config.objective, method="random")
    evaluation = dataclasses.replace(config.evaluation, linear_epochs=(2, 10))
    config = dataclasses.replace(config, objective=objective, evaluation=evaluation)
    run = mrkd.pretrain(config, tmp_path_factory.mktemp("pinned") / "run")
    mrkd.evaluate(run)
    return json.loads((run / EVALUATION).read_text())


def test_an_evaluation_has_the_pinned_keys_and_numbers(evaluated):
    expected = json.loads(PINNED.read_text())
    assert_similar({name: evaluated[name] for name in expected}, expected)
    assert evaluated.keys() - expected.keys() == {"seconds", "measured_with"}


def assert_similar(found, expected, key=""):
    """Compare keys and settings exactly, and scores with a tolerance for rounding on other processors."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for inner in expected.keys() - {"learning_rate"}:  # the best of several on 40 images
            assert_similar(found[inner], expected[inner], inner)
    elif key.startswith(("acc", "nmi", "ari", "same")):
        assert found == pytest.approx(expected, abs=5)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-3)
    else:
        assert found == expected
