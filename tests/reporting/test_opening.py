import json

from mrkd.reporting.opening import opening
from mrkd.reporting.read import read_runs
from tests.helpers.made_up_runs import make_run


def test_methods_with_equal_settings_differ_in_the_loss_only(tmp_path):
    runs = [make_run(tmp_path / method, method) for method in ("random", "ibot", "rkd-d")]
    opened = opening(read_runs(runs))
    assert opened["title"] == "2 methods on digits"
    assert "only the loss differs" in opened["lead"]
    assert opened["several"]
    assert [method["name"] for method in opened["methods"]] == ["ibot", "rkd-d"]
    assert "also different" not in dict(opened["facts"])


def test_a_setting_that_differs_is_named_with_its_values(tmp_path):
    runs = [make_run(tmp_path / method, method) for method in ("ibot", "rkd-d")]
    config = json.loads((runs[1] / "config.yaml").read_text())
    config["train"]["epochs"] = 9
    (runs[1] / "config.yaml").write_text(json.dumps(config))
    opened = opening(read_runs(runs))
    assert "not only the loss differs" in opened["lead"]
    assert dict(opened["facts"])["also different"] == "train.epochs 4 (ibot), 9 (rkd-d)"


def test_a_single_run_says_what_its_training_changed(tmp_path):
    run = make_run(tmp_path / "run", "ibot")
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 50, "knn": 44.0}) + "\n")
    opened = opening(read_runs([run]))
    assert opened["title"] == "ibot on digits"
    assert not opened["several"]
    assert opened["result"] == (
        "k-NN on held-out training images: 20.0 % before training, with random weights; 44.0 % at step 50."
    )


def test_random_weights_alone_are_called_untrained(tmp_path):
    opened = opening(read_runs([make_run(tmp_path / "run", "random")]))
    assert opened["lead"].startswith("An untrained network")


def test_facts_that_a_run_does_not_tell_are_left_out(tmp_path):
    facts = dict(opening(read_runs([make_run(tmp_path / "run", finished=False)]))["facts"])
    assert facts == {"images": "digits", "seeds": "0"}


def test_the_parts_of_a_method_are_described_once_and_an_unknown_one_not(tmp_path):
    runs = [make_run(tmp_path / name, method) for name, method in (("a", "ibot+rkd-d"), ("b", "rkd-d"), ("c", "mine"))]
    described = opening(read_runs(runs))["methods"]
    assert [method["name"] for method in described] == ["ibot", "rkd-d"]
    assert described[1]["source"].startswith("Park et al.")
