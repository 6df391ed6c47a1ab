"""The interface of evaluators, and their registry."""

import dataclasses

import pytest
import torch

import mrkd
from mrkd.config import EvaluationConfig
from mrkd.data.resident import ResidentDataset
from mrkd.errors import UserError
from mrkd.evaluation.evaluator import Column, Evaluator, main_results
from mrkd.evaluation.evaluators import EVALUATORS, wanted
from mrkd.evaluation.features import FeatureSet
from mrkd.model.backbone import create_vit

ALSO_IN_THE_FILE = {"data", "seconds", "measured_with"}


def test_names_and_keys_of_evaluators_are_unique():
    names = [evaluator.name for evaluator in EVALUATORS]
    keys = [column.key for evaluator in EVALUATORS for column in evaluator.columns]
    assert len(set(names)) == len(names)
    assert len(set(keys)) == len(keys)
    assert not set(names) & ALSO_IN_THE_FILE


def test_an_evaluator_is_defined_in_the_module_of_its_name():
    for evaluator in EVALUATORS:
        assert evaluator.measure.__module__ == f"mrkd.evaluation.evaluators.{evaluator.name}"


def test_a_number_that_was_not_measured_is_none():
    column = Column(key="x", path=("10_epochs", "acc1"), heading="x")
    assert column.number({"10_epochs": {"acc1": 50.0}}) == 50.0
    for value in (None, {}, {"10_epochs": {}}, {"10_epochs": 3}):
        assert column.number(value) is None


@pytest.fixture
def probe() -> Evaluator:
    columns = (Column(key="probe_2", path=("2_epochs", "acc1"), heading="probe", decimals=2),)
    return Evaluator(name="probe", title="probe", columns=columns, measure=lambda *_: None)


def test_a_value_of_several_parts_has_a_main_result_for_each(probe):
    value = {"2_epochs": {"acc1": 50.0, "protocol": {"rate": 1}}, "7_epochs": {"acc1": 60.0, "protocol": {}}}
    found = [(result.title, result.figure, result.protocol) for result in main_results([probe], {"probe": value})]
    assert found == [("probe, 2 epochs", "50.00 %", {"rate": 1}), ("probe, 7 epochs", "60.00 %", {})]


def test_a_value_of_one_part_has_one_main_result_and_an_absent_one_none():
    columns = (Column(key="probe", path=("acc1",), heading="probe"),)
    probe = Evaluator(name="probe", title="probe", columns=columns, measure=lambda *_: None)
    [result] = main_results([probe], {"probe": {"acc1": 50.0, "acc5": 70.0}})
    assert (result.title, result.number, result.protocol) == ("probe", 50.0, {})
    assert main_results([probe], {"data": {}}) == []
    assert main_results([probe], {"probe": {"acc": 1.0}}) == []


def test_the_probes_of_an_older_version_are_read_as_what_they_were():
    older = {"linear": {"10_epochs": {"acc1": 50.0, "acc5": 70.0, "protocol": {"batch": 256}}}}
    found = [(result.title, result.figure, result.protocol) for result in main_results(EVALUATORS, older)]
    assert found == [("linear SGD, 10 epochs", "50.0 %", {"batch": 256})]
    newer = {"linear": {"acc1": 60.0, "acc5": 80.0, "protocol": {"strength": 1.0}}}
    found = [(result.title, result.figure, result.protocol) for result in main_results(EVALUATORS, newer)]
    assert found == [("linear", "60.0 %", {"strength": 1.0})]


@pytest.mark.parametrize("evaluator", EVALUATORS, ids=lambda evaluator: evaluator.name)
def test_an_evaluator_declares_whether_it_needs_labels(evaluator, tiny_config):
    pixels, masks = torch.zeros(20, 3, 32, 32, dtype=torch.uint8), torch.zeros(20, 32, 32, dtype=torch.bool)
    masks[:, :16] = True
    images = ResidentDataset(images=pixels, labels=None, class_names=(), masks=masks)
    features = FeatureSet(images=images, features=torch.randn(20, 16))
    vit = create_vit(tiny_config.model, 32)
    if evaluator.needs_labels:
        with pytest.raises(UserError, match="needs labels"):
            evaluator.measure(vit, features, features, tiny_config)
    else:
        assert evaluator.measure(vit, features, features, tiny_config)


def test_optional_evaluators_are_measured_only_where_they_are_named():
    optional = [evaluator for evaluator in EVALUATORS if evaluator.optional]
    assert [*wanted(())] == [evaluator for evaluator in EVALUATORS if not evaluator.optional]
    assert optional[0] in wanted((optional[0].name,))
    assert wanted([evaluator.name for evaluator in optional]) == EVALUATORS


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("retreival", "unknown measurement 'retreival' in evaluation.more: did you mean 'retrieval'"),
        ("knn", "evaluation.more names 'knn', which is always measured: leave it out"),
    ],
)
def test_a_wrong_name_of_an_optional_evaluator_is_refused(name, message):
    with pytest.raises(UserError, match=message):
        wanted((name,))


def test_a_measurement_named_twice_is_refused():
    with pytest.raises(UserError, match="must name each measurement once"):
        EvaluationConfig(more=("retrieval", "retrieval"))


def test_a_wrong_name_is_refused_before_anything_is_trained(tiny_config, tmp_path):
    evaluation = dataclasses.replace(tiny_config.evaluation, more=("retreival",))
    config = dataclasses.replace(tiny_config, evaluation=evaluation)
    with pytest.raises(UserError, match="did you mean 'retrieval'"):
        mrkd.pretrain(config, tmp_path / "run")
    with pytest.raises(UserError, match="did you mean 'retrieval'"):
        mrkd.compare(config, ["rkd-d"], [0], tmp_path / "table")
    assert not list(tmp_path.iterdir())
