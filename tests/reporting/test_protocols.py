import json

from mrkd.reporting.protocols import protocols
from mrkd.reporting.read import read_runs
from tests.helpers.made_up_runs import make_run


def test_a_rate_that_was_chosen_for_each_run_is_told_for_each_run(tmp_path):
    runs = []
    for method, seed, rate in (("ibot", 0, 0.1), ("ibot", 1, 0.3), ("rkd-d", 0, 0.1)):
        run = make_run(tmp_path / f"{method}{seed}", method, seed)
        evaluation = json.loads((run / "evaluation.json").read_text())
        evaluation["linear_sgd"]["10_epochs"]["protocol"] = {
            "learning_rate": rate,
            "candidates": [0.1, 0.3],
            "batch": 256,
        }
        (run / "evaluation.json").write_text(json.dumps(evaluation))
        runs.append(run)
    by_name = {protocol["name"]: protocol for protocol in protocols(read_runs(runs))}
    probe = by_name["linear SGD, 10 epochs"]
    assert probe["shared"] == "candidates 0.1 / 0.3, batch 256"
    assert probe["chosen"] == ["learning rate 0.1 (ibot seed 0, rkd-d seed 0); 0.3 (ibot seed 1)"]
    assert by_name["k-NN"] == {"name": "k-NN", "shared": "k 20", "chosen": []}


def test_runs_without_an_evaluation_have_no_protocols(tmp_path):
    assert protocols(read_runs([make_run(tmp_path / "run", finished=False)])) == []
