"""The comparison table has the columns of all evaluators."""

import json

from mrkd.evaluation.evaluators import EVALUATORS
from mrkd.reporting.columns import COLUMNS, COSTS
from mrkd.reporting.content import page_content
from mrkd.reporting.read import read_run, read_runs
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


def test_the_columns_of_a_group_are_adjacent_and_each_has_a_name_of_its_own():
    groups = [column.group for column in COLUMNS.values()]
    assert len([one for one, before in zip(groups, [None, *groups], strict=False) if one != before]) == len(set(groups))
    assert len({(column.group, column.score) for column in COLUMNS.values()}) == len(COLUMNS)
    assert [key for key, column in COLUMNS.items() if column.primary] == [
        "knn",
        "linear_acc1",
        "linear_100_acc1",
        "finetune_acc1",
        "kmeans_acc",
        "rankme",
        "seconds",
        "peak_memory_mib",
    ]


def test_only_scores_have_a_best_method_and_a_seed_without_a_number_is_named(tmp_path):
    runs = [
        make_run(tmp_path / f"{method}{seed}", method, seed, accuracy=accuracy)
        for method, accuracy in (("ibot", 80.0), ("rkd-d", 82.0))
        for seed in range(3)
    ]
    for number, run in enumerate(runs):  # rkd-d, the last three, has more directions and takes less time and memory
        evaluation, summary = (json.loads((run / name).read_text()) for name in ("evaluation.json", "summary.json"))
        evaluation["health"]["rankme"] += 5 * (number >= 3)
        if number == 0:
            del evaluation["kmeans"]
        summary |= {"seconds": 9.0 - (number >= 3), "peak_memory_mib": 300.0 - (number >= 3)}
        (run / "evaluation.json").write_text(json.dumps(evaluation))
        (run / "summary.json").write_text(json.dumps(summary))
    content = page_content(read_runs(runs), "")["table"]
    best = {column["key"]: column["best"] for column in content["columns"]}
    assert best["knn"] == "rkd-d"
    assert best["seconds"] is best["peak_memory_mib"] is best["rankme"] is best["kmeans_acc"] is None
    assert content["rows"][0]["cells"]["kmeans_acc"]["seeds"] == [1, 2]
    assert content["differences"] == [
        {"leader": "rkd-d", "other": "ibot", "mean": 2.0, "interval": [2.0, 2.0], "seeds": 3, "clear": True}
    ]


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
