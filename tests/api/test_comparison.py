import json

import numpy as np
import pytest

import mrkd
from mrkd.errors import UserError
from mrkd.reporting.conclusion import conclusion
from mrkd.reporting.difference import paired_difference
from mrkd.reporting.read import read_run
from mrkd.reporting.table import make_table
from tests.helpers.made_up_runs import make_run

SCORES = {"random": (30.0, 31.0), "ibot": (80.0, 82.0), "structural": (85.0, 86.0)}


@pytest.fixture
def comparison(tmp_path) -> mrkd.Comparison:
    """Made-up runs of three methods with two seeds, and one that is in no table."""
    runs = [
        make_run(tmp_path / "runs" / f"{method}-seed{seed}", method, seed, accuracy=score)
        for method, scores in SCORES.items()
        for seed, score in enumerate(scores)
    ]
    make_run(tmp_path / "runs" / "dino-seed0", "dino")
    table = make_table([read_run(run) for run in runs])
    table |= {"conclusion": conclusion(table["rows"]), "failures": {"dino-seed1": "killed"}}
    (tmp_path / "table.json").write_text(json.dumps(table))
    return mrkd.Comparison(tmp_path)


def test_the_table_has_a_mean_and_a_std_for_each_method(comparison):
    table = comparison.table
    assert table["method"].tolist() == ["random", "ibot", "structural"]
    assert table["seeds"].tolist() == [2, 2, 2]
    np.testing.assert_allclose(table["knn"], [31.0, 81.5, 86.0])  # a made-up run of seed 1 scores one point more
    np.testing.assert_allclose(table["knn_std"], [2**0.5, 1.5 * 2**0.5, 2**0.5])
    assert {len(column) for column in table.values()} == {3}


def test_one_seed_has_no_std_and_a_row_may_lack_a_column(comparison):
    results = comparison.results
    del results["rows"][0]["knn"]
    results["rows"][1]["knn"] = {"mean": 80.0, "std": None, "values": [80.0]}
    (comparison / "table.json").write_text(json.dumps(results))
    np.testing.assert_array_equal(comparison.table["knn"][:2], [np.nan, 80.0])
    assert np.isnan(comparison.table["knn_std"][:2]).all()


def test_a_difference_is_paired_by_seed(comparison):
    found = comparison.difference("structural", "ibot")
    assert found.mean == pytest.approx(4.5)
    assert found.seeds == 2
    rows = {row["method"]: row for row in comparison.results["rows"]}
    assert found == paired_difference(rows["structural"], rows["ibot"], "knn")
    assert comparison.difference("ibot", "structural", "linear_acc1").mean == pytest.approx(-4.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("structurl", "ibot"), "no method 'structurl': did you mean 'structural'"),
        (("structural", "ibot", "kn"), "structural has no column 'kn': did you mean 'knn'"),
    ],
)
def test_unknown_methods_and_columns_are_refused(comparison, arguments, message):
    with pytest.raises(UserError, match=message):
        comparison.difference(*arguments)


def test_methods_without_a_common_seed_have_no_difference(comparison):
    results = comparison.results
    results["rows"][1]["seeds"] = [7, 8]
    (comparison / "table.json").write_text(json.dumps(results))
    with pytest.raises(UserError, match="no seed in common"):
        comparison.difference("structural", "ibot")


def test_runs_are_those_of_the_table_in_its_order(comparison):
    runs = comparison.runs
    assert [run.path.name for run in runs] == [f"{name}-seed{seed}" for name in SCORES for seed in (0, 1)]
    assert runs[0] == comparison / "runs" / "random-seed0"
    assert comparison.failures == {"dino-seed1": "killed"}


def test_a_comparison_says_in_short_what_it_is(comparison):
    assert repr(comparison) == f"Comparison({str(comparison.path)!r}: random, ibot, structural)"
    shown = comparison._repr_html_()
    assert "<td>86.0 ± 1.4</td>" in shown
    assert comparison.results["conclusion"].split(".")[0] in shown


def test_there_must_be_a_table(tmp_path):
    with pytest.raises(UserError, match="no finished comparison at"):
        mrkd.Comparison(tmp_path)
    (tmp_path / "table.json").write_text("[]")
    with pytest.raises(UserError, match="must be a JSON object with rows"):
        mrkd.Comparison(tmp_path).table  # noqa: B018
