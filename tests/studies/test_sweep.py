import contextlib
import dataclasses
import json
import shutil
import sqlite3
import subprocess
import sys

import optuna
import pytest
import yaml

from mrkd.cli import main
from mrkd.errors import UserError
from mrkd.runs.run import METRICS, RunDirectory
from mrkd.studies.optuna_studies import STUDY, TRIALS, Claim, Studies
from mrkd.studies.space import check_space, parse_space
from mrkd.studies.sweep import _Follow, sweep
from mrkd.studies.sweep_results import sweep_markdown, sweep_record, tuned_settings

SPACE = parse_space(["optim.learning_rate=0.002..0.02:log", "mask.ratio=[0.1,0.4],[0.0,0.2]"])


@pytest.fixture
def labelled(tiny_config):
    return dataclasses.replace(tiny_config, train=dataclasses.replace(tiny_config.train, monitor_times=2))


@pytest.mark.usefixtures("trains_in_this_process", "without_figures")
def test_every_method_gets_the_same_trials_and_the_first_is_the_config_itself(labelled, tmp_path):
    record = sweep(labelled, ["rkd-d", "ibot"], SPACE, tmp_path / "s", trials=2, jobs=2)
    for method in ("rkd-d", "ibot"):
        trials = record["methods"][method]["trials"]
        assert [trial["number"] for trial in trials] == [0, 1]
        assert trials[0]["settings"] == {
            "optim.learning_rate": labelled.optim.learning_rate,
            "mask.ratio": labelled.mask.ratio,
        }
        values = [trial["knn"] for trial in trials if trial["knn"] is not None]
        best = yaml.safe_load((tmp_path / "s" / f"best-{method}.yaml").read_text())
        chosen = trials[record["methods"][method]["best"]]
        assert chosen["knn"] == max(values)
        assert best["optim"]["learning_rate"] == chosen["settings"]["optim.learning_rate"]
        assert best["objective"]["method"] == method
        run = RunDirectory(tmp_path / "s" / "trials" / f"{method}-{chosen['number']:03d}")
        assert run.finished
        assert run.config().optim.learning_rate == chosen["settings"]["optim.learning_rate"]
    assert "| rkd-d | " in (tmp_path / "s" / "sweep.md").read_text()
    assert tuned_settings(tmp_path / "s", ["random", "ibot"]).keys() == {"ibot"}
    copy = shutil.copy(tmp_path / "s" / "sweep.json", tmp_path / "kept.json")
    assert tuned_settings(copy, ["ibot"]) == tuned_settings(tmp_path / "s", ["ibot"])

    assert sweep(labelled, ["rkd-d", "ibot"], SPACE, tmp_path / "s", trials=2)["methods"] == record["methods"]
    with pytest.raises(UserError, match="another space"):
        sweep(labelled, ["rkd-d"], parse_space(["optim.ema=0.9,0.8"]), tmp_path / "s", trials=2)
    with pytest.raises(UserError, match=r"other settings \(train.batch"):
        sweep(changed(labelled, batch=20), ["simclr"], SPACE, tmp_path / "s", trials=2)
    # What was refused left nothing behind, and another method joins the record.
    record = sweep(labelled, ["simclr"], SPACE, tmp_path / "s", trials=1)
    assert {name: len(found["trials"]) for name, found in record["methods"].items()} == {
        "ibot": 2,
        "rkd-d": 2,
        "simclr": 1,
    }


def changed(config, **train):
    return dataclasses.replace(config, train=dataclasses.replace(config.train, **train))


def test_every_trial_has_settings_of_its_own_whoever_asks_and_however_often_it_begins_anew(labelled, tmp_path):
    space = check_space(SPACE, labelled)
    drawn = []
    for _ in range(4):  # each as a new process would
        studies = Studies(labelled, ["rkd-d"], space, tmp_path / "s", 8, prune=True)
        claim = studies.claim()
        drawn.append(claim.values(space)["optim.learning_rate"])
        studies.tell(claim, "fail", None)
        studies.let_go(claim)
    assert drawn[0] == labelled.optim.learning_rate
    assert len(set(drawn)) == 4


def test_a_trial_that_was_stopped_is_not_the_best_and_says_so(labelled, tmp_path):
    space = check_space(SPACE, labelled)
    studies = Studies(labelled, ["rkd-d"], space, tmp_path / "s", 2, prune=True)
    for state, value, last in (("complete", 30.0, 30.0), ("pruned", None, 50.0)):
        claim = studies.claim()
        claim.trial.report(last, 0)
        studies.tell(claim, state, value, seconds=1.0)
        studies.let_go(claim)
    record = sweep_record(studies.by_method, space, labelled, "")
    assert record["methods"]["rkd-d"]["best"] == 0
    assert "| rkd-d 1 | 50.0 (not at its end) | pruned |" in sweep_markdown(record)


def test_a_trial_is_nobody_elses_while_its_training_lives(labelled, tmp_path):
    space = check_space(SPACE, labelled)
    first = Studies(labelled, ["rkd-d"], space, tmp_path / "s", 1, prune=True)
    claim = first.claim()
    training = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[claim.lock.fileno()]
    )
    first.let_go(claim)  # as when the sweep is killed and its training goes on
    second = Studies(labelled, ["rkd-d"], space, tmp_path / "s", 1, prune=True)
    assert second.claim() is None
    assert second.running() == 1
    training.communicate(b"\n", timeout=30)
    found = second.claim()
    assert found.trial.number == claim.trial.number
    assert found.values(space) == claim.values(space)


def test_a_trial_behind_the_others_is_stopped_and_one_ahead_is_not(tmp_path):
    study = optuna.create_study(
        direction="maximize", pruner=optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=2)
    )
    for _ in range(2):
        trial = study.ask()
        for step, value in enumerate([20.0, 30.0, 40.0]):
            trial.report(value, step)
        study.tell(trial, 40.0)
    for curve, wanted in (([20.0, 35.0], True), ([20.0, 25.0], True), ([20.0, 26.0, 27.0], False)):
        path = tmp_path / str(len(curve)) / str(curve[1])
        path.mkdir(parents=True)
        (path / METRICS).write_text("".join(json.dumps({"step": s, "knn": v}) + "\n" for s, v in enumerate(curve)))
        with (path / METRICS).open("a") as file:
            file.write('{"step": 9, "kn')  # half written
        follow = _Follow(Claim(study.ask(), "m", None, -1), path)
        assert follow.worth_going_on() is wanted
        assert follow.last == curve[-1]


@pytest.mark.usefixtures("trains_in_this_process", "without_figures")
def test_a_trial_that_fails_is_told_and_the_others_go_on(labelled, tmp_path):
    space = parse_space(["optim.learning_rate=0.001,1.0e+30"])
    labelled = dataclasses.replace(labelled, optim=dataclasses.replace(labelled.optim, learning_rate=0.001, clip=0.0))
    record = sweep(labelled, ["rkd-d"], space, tmp_path / "s", trials=3, jobs=2)
    states = {t["settings"]["optim.learning_rate"]: t["state"] for t in record["methods"]["rkd-d"]["trials"]}
    assert states[0.001] == "complete"
    assert states[1e30] == "fail"
    assert record["methods"]["rkd-d"]["trials"][record["methods"]["rkd-d"]["best"]]["settings"] == {
        "optim.learning_rate": 0.001
    }
    assert (tmp_path / "s" / STUDY).is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--vary", "optim.ema=0.9,0.8", "--trials", "0"], "trials must be at least 1"),
        (["--vary", "optim.ema=0.9,0.8", "--minutes", "1"], "trials need the same length"),
        ([], "nothing to vary"),
    ],
)
def test_a_sweep_that_cannot_be_is_one_line_and_status_two(arguments, message, tmp_path, capsys):
    line = ["sweep", "--recipe", "quick", "--methods", "rkd-d", "--out", str(tmp_path / "s"), *arguments]
    assert main(line) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_a_sweep_leaves_a_folder_of_other_things_alone(labelled, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    with pytest.raises(UserError, match="holds something else"):
        sweep(labelled, ["rkd-d"], SPACE, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


def test_comparisons_of_images_without_labels_are_refused_before_anything_is_trained(labelled, tmp_path):
    from mrkd.studies.compare import compare

    unlabelled = dataclasses.replace(labelled, data=dataclasses.replace(labelled.data, use_labels=False))
    with pytest.raises(UserError, match="compare scores every method by labels"):
        compare(unlabelled, ["rkd-d"], [0], tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_methods_without_training_and_images_without_labels_are_refused(labelled, tmp_path):
    with pytest.raises(UserError, match="random trains nothing"):
        sweep(labelled, ["random"], SPACE, tmp_path / "s")
    unlabelled = dataclasses.replace(labelled, data=dataclasses.replace(labelled.data, use_labels=False))
    with pytest.raises(UserError, match=r"needs labels, but of digits no training image has one: data.use_labels is"):
        sweep(unlabelled, ["rkd-d"], SPACE, tmp_path / "u", trials=1)
    assert not (tmp_path / "u").exists()


@pytest.mark.usefixtures("trains_in_this_process", "without_figures")
def test_compare_takes_the_settings_that_a_sweep_found(labelled, tmp_path):
    from mrkd.studies.compare import compare

    labelled = dataclasses.replace(labelled, evaluation=dataclasses.replace(labelled.evaluation, finetune_epochs=0))
    tuned = {"rkd-d": {"optim.learning_rate": 0.0123}}
    table = compare(labelled, ["rkd-d"], [0], tmp_path / "c", tuned=tuned, references=False)
    assert table["tuned"] == tuned
    assert RunDirectory(tmp_path / "c" / "runs" / "rkd-d-seed0").config().optim.learning_rate == 0.0123
    assert "Only rkd-d: optim.learning_rate 0.0123." in (tmp_path / "c" / "table.md").read_text()
    with pytest.raises(UserError, match=r"leave train\.epochs to all of them"):
        compare(labelled, ["rkd-d"], [0], tmp_path / "d", tuned={"rkd-d": {"train.epochs": 3}})


def test_settings_that_an_older_version_found_have_the_names_of_today(labelled, tmp_path):
    found = {"number": 0, "settings": {"objective.relation_share": 0.3, "optim.ema": 0.9}}
    (tmp_path / "sweep.json").write_text(json.dumps({"methods": {"ibot+rkd-d": {"best": 0, "trials": [found]}}}))
    today = {"objective.relation_grad_norm_ratio": 0.3, "optim.ema": 0.9}
    assert tuned_settings(tmp_path, ["ibot+rkd-d"]) == {"ibot+rkd-d": today}

    def studies() -> Studies:
        return Studies(labelled, ["rkd-d"], check_space(SPACE, labelled), tmp_path / "s", 1, prune=False)

    study = studies().by_method["rkd-d"]
    config = study.user_attrs["config"]
    config["train"]["checkpoint_activations"] = config["train"].pop("activation_checkpointing")
    study.set_user_attr("config", config)
    assert list(studies().by_method) == ["rkd-d"]


def test_settings_of_no_sweep_or_of_another_method_are_refused(tmp_path):
    with pytest.raises(UserError, match="no finished sweep"):
        tuned_settings(tmp_path, ["rkd-d"])
    record = {"methods": {"ibot": {"best": 0, "trials": [{"number": 0, "settings": {}}]}}}
    (tmp_path / "sweep.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="no best settings of rkd-d; it has ibot"):
        tuned_settings(tmp_path, ["rkd-d"])
    (tmp_path / "table.json").write_text('{"rows": []}')
    with pytest.raises(UserError, match="not the record of a sweep"):
        tuned_settings(tmp_path / "table.json", ["rkd-d"])


def one_study(labelled, out, trials=2):
    return Studies(labelled, ["rkd-d"], check_space(SPACE, labelled), out, trials, prune=True)


@pytest.mark.parametrize("name", ["what?", "50%20off", "{0}", "a#b&c=d", "x:y@z"])
def test_the_database_lies_in_the_folder_that_was_named(labelled, tmp_path, monkeypatch, name):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for _ in range(2):  # made, and opened again
        studies = one_study(labelled, tmp_path / name)
    assert studies.missing() == 2
    assert (tmp_path / name / STUDY).stat().st_size > 0
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_damaged_or_half_made_database_is_named_in_one_line(labelled, tmp_path):
    one_study(labelled, tmp_path / "s")
    database = tmp_path / "s" / STUDY
    whole = database.read_bytes()
    half_made = tmp_path / "half"
    shutil.copy(database, half_made)
    with contextlib.closing(sqlite3.connect(half_made)) as connection:
        connection.execute("DROP TABLE studies")
        connection.execute("DROP TABLE alembic_version")
        connection.execute("DELETE FROM version_info")
        connection.commit()
    for content in (b"not a database" * 100, whole[: len(whole) // 2], b"\0" * 5000):
        database.write_bytes(content)
        with pytest.raises(UserError, match=r"study\.db cannot be used \(.+\): .* move .* aside") as caught:
            one_study(labelled, tmp_path / "s")
        assert "\n" not in str(caught.value)
        assert database.read_bytes() == content
    shutil.copy(half_made, database)
    with contextlib.suppress(UserError):  # Optuna makes what is missing, or says that it cannot
        one_study(labelled, tmp_path / "s")
    database.write_bytes(whole)
    assert one_study(labelled, tmp_path / "s").missing() == 2


@pytest.mark.parametrize("left", [(), ("config",), ("space",)])
def test_a_study_whose_maker_was_killed_before_it_described_it_is_continued(labelled, tmp_path, left):
    one_study(labelled, tmp_path / "s")
    with contextlib.closing(sqlite3.connect(tmp_path / "s" / STUDY)) as connection:
        kept = ", ".join(f"'{name}'" for name in left)
        connection.execute(f"DELETE FROM study_user_attributes WHERE key NOT IN ({kept})")
        connection.execute("DELETE FROM trials")
        connection.commit()
    studies = one_study(labelled, tmp_path / "s")
    assert set(studies.by_method["rkd-d"].user_attrs) == {"config", "space"}
    claim = studies.claim()
    assert claim.values(studies.space)["optim.learning_rate"] == labelled.optim.learning_rate
    studies.let_go(claim)
    one_study(labelled, tmp_path / "s")
    with pytest.raises(UserError, match="another space"):
        Studies(
            labelled,
            ["rkd-d"],
            check_space(parse_space(["optim.ema=0.9,0.8"]), labelled),
            tmp_path / "s",
            2,
            prune=True,
        )


def test_a_trial_that_another_study_left_behind_does_not_count(labelled, tmp_path):
    other = dataclasses.replace(labelled, optim=dataclasses.replace(labelled.optim, learning_rate=0.0033))
    other = dataclasses.replace(other, objective=dataclasses.replace(other.objective, method="rkd-d"))
    (tmp_path / "s").mkdir()
    RunDirectory.start(tmp_path / "s" / TRIALS / "rkd-d-000", other).close()
    with pytest.raises(UserError, match=r"rkd-d-000 already holds an unfinished run with other settings \(optim"):
        sweep(labelled, ["rkd-d"], SPACE, tmp_path / "s", trials=1)
