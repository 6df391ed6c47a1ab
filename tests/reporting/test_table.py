"""The comparison table has the columns of all evaluators."""

import json

from mrkd.evaluation.evaluators import EVALUATORS
from mrkd.reporting.columns import COLUMNS, COSTS
from mrkd.reporting.content import page_content
from mrkd.reporting.read import read_run
from mrkd.reporting.table import format_cell, make_table, table_markdown
from tests.helpers.made_up_runs import make_run


def write_every_column(run):
    """Write an evaluation in which the number of each column is its position in the registry."""
    evaluation = json.loads((run / "evaluation.json").read_text())
    numbers = {}
    for evaluator in EVALUATORS:
        value = evaluation[evaluator.name] = {}
        for column in evaluator.columns:
            numbers[column.key] = float(len(numbers))
            part = value
            for key in column.path[:-1]:
                part = part.setdefault(key, {})
            part |= {column.path[-1]: numbers[column.key], "protocol": {"of": evaluator.name}}
    (run / "evaluation.json").write_text(json.dumps(evaluation))
    return numbers


def test_every_column_of_every_evaluator_is_in_the_table_and_on_the_page(tmp_path):
    run = make_run(tmp_path / "run")
    numbers = write_every_column(run)
    record = read_run(run)
    table = make_table([record])
    assert {key: table["rows"][0][key]["mean"] for key in numbers} == numbers
    text = table_markdown(table)
    content = page_content([record], "")
    for evaluator in EVALUATORS:
        assert any(protocol["name"].startswith(evaluator.title) for protocol in content["protocols"])
        for column in evaluator.columns:
            assert f"| {column.heading} |" in text
    assert [column["key"] for column in content["table"]["columns"]] == [key for key in COLUMNS if key != "jaccard"]


def test_percentages_come_first_and_costs_last():
    units = [column.unit for column in COLUMNS.values()]
    assert units == sorted(units, key=lambda unit: unit != "%")
    assert list(COLUMNS)[-len(COSTS) :] == [column.key for column in COSTS]


def test_a_number_missing_from_an_evaluation_is_a_dash(tmp_path):
    runs = [make_run(tmp_path / name, method=name) for name in ("ibot", "rkd-d")]
    evaluation = json.loads((runs[0] / "evaluation.json").read_text())
    del evaluation["kmeans"]
    (runs[0] / "evaluation.json").write_text(json.dumps(evaluation))
    first, second = make_table([read_run(run) for run in runs])["rows"]
    assert "kmeans_acc" not in first
    assert second["kmeans_acc"]["mean"] == 50.0
    assert "| ibot | 80.0 | 80.0 | 99.0 | 80.0 | 99.0 | – |" in table_markdown(
        make_table([read_run(run) for run in runs])
    )


def test_a_cell_has_the_decimals_of_its_column():
    assert format_cell({"mean": 1.26, "std": 0.5, "values": []}, 0) == "1 ± 0"
    assert format_cell({"mean": 1.26, "std": None, "values": []}) == "1.3"
    assert format_cell(None) == "–"
