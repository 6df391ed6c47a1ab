"""`evaluation.json` of one small run, number by number: files of earlier versions must stay readable."""

import dataclasses
import json
from pathlib import Path

import pytest

import mrkd
from mrkd.runs.run import EVALUATION

PINNED = Path(__file__).parent / "pinned_evaluation.json"
"""Of an untrained network; measured on an x86 CPU with one thread, commit 54371df."""


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
    assert {name: value for name, value in evaluated.items() if name in expected} == expected
    assert evaluated.keys() - expected.keys() == {"seconds", "measured_with"}
