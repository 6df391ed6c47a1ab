"""The rows by which the methods of a comparison are judged."""

import json

import pytest

import mrkd
from mrkd.reporting.content import page_content
from mrkd.reporting.read import read_runs
from mrkd.reporting.table import make_table
from mrkd.runs.run import PIXELS
from mrkd.studies import compare as module
from tests.helpers.made_up_runs import make_run


@pytest.mark.usefixtures("without_figures")
def test_pixels_and_random_weights_stand_in_every_comparison(tiny_config, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(
        module, "_run_all", lambda planned, out, jobs: [train(variant, out) for variant in planned] and {}
    )

    def train(variant, out):
        path = out / "runs" / module.run_name(variant)
        return path.exists() or make_run(path, method=variant.objective.method)

    out = tmp_path / "table"
    table = mrkd.compare(tiny_config, ["rkd-d"], [0], out).results
    assert [row["method"] for row in table["rows"]] == ["pixels", "random", "rkd-d"]
    assert "random weights are compared, too: --no-references leaves them" in capfd.readouterr().out
    measured = json.loads((out / PIXELS).read_text())
    assert table["rows"][0]["knn"]["mean"] == measured["knn"]["acc1"]
    assert table["rows"][0]["linear_acc1"]["mean"] == measured["linear"]["acc1"]
    assert "| pixels |" in (out / "table.md").read_text()
    assert "pixels" in (out / "report.html").read_text()
    written = (out / PIXELS).stat().st_mtime_ns
    mrkd.compare(tiny_config, ["rkd-d"], [0], out)
    assert (out / PIXELS).stat().st_mtime_ns == written
    table = mrkd.compare(tiny_config, ["rkd-d"], [0], out, references=False).results
    assert [row["method"] for row in table["rows"]] == ["rkd-d"]


def test_a_report_of_one_comparison_has_its_pixels_and_one_of_several_has_none(tmp_path):
    runs = [make_run(tmp_path / name / "runs" / "ibot-seed0", method="ibot") for name in ("a", "b")]
    for name in ("a", "b"):
        (tmp_path / name / PIXELS).write_text(json.dumps({"knn": {"acc1": 40.0, "protocol": {}}}))
    content = page_content(read_runs(runs[:1]), "")
    assert [(row["method"], row["learnt"]) for row in content["table"]["rows"]] == [("pixels", False), ("ibot", True)]
    assert [row["method"] for row in make_table(read_runs(runs))["rows"]] == ["ibot, ibot-seed0"]
