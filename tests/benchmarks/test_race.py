"""The clock and the score of the race against other projects' trainings."""

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mrkd.config import Config
from mrkd.evaluation.evaluators.knn import EVALUATOR
from mrkd.evaluation.features import FeatureSet

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"
BUSY = "import time\nwhile time.process_time() < 0.6: pass\n"
WITH_A_STUB = f"""
import subprocess, sys, time
sys.path.insert(0, {str(BENCHMARKS)!r})
from contestants import CONTESTANTS
import race

def stub(task, observe):
    def slow(images):
        until = time.process_time() + 1.0
        while time.process_time() < until: pass
        return images.flatten(1).float()
    observe(slow)
    subprocess.run([sys.executable, "-c", {BUSY!r}], check=True)
    observe(slow)

CONTESTANTS["stub"] = stub
race.main()
"""


@pytest.fixture
def race(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("race")


def test_the_clock_counts_this_process_and_children_that_run_or_have_ended(race):
    before = race.tree_seconds()
    with subprocess.Popen(
        [sys.executable, "-c", BUSY + "print(flush=True)\ninput()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        child.stdout.readline()
        assert race.tree_seconds() - before > 0.55
        child.communicate(b"\n")
    after = race.tree_seconds() - before
    assert after > 0.55
    until = time.process_time() + 0.2
    while time.process_time() < until:
        pass
    assert race.tree_seconds() - before - after > 0.15
    assert race.tree_seconds() >= sum(os.times()[:4]) - 0.05


def test_the_score_is_that_of_the_evaluation(race):
    task = race.Task(source="digits", images=300, epochs=1, seed=0)
    judge = race.Judge.of(task, limit=1e9)
    assert len(judge.train) == 300
    assert len(judge.held_out) > 100
    judge.observe(lambda images: images.flatten(1).float())
    sets = [FeatureSet(images=one, features=one.images.flatten(1).float()) for one in (judge.train, judge.held_out)]
    expected = EVALUATOR.measure(None, *sets, Config())["acc1"]
    assert judge.curve[0]["knn"] == pytest.approx(expected, abs=0.01)
    assert 50 < expected < 100


def test_a_contestant_that_has_used_its_core_seconds_is_stopped_with_its_last_point(race):
    judge = race.Judge.of(race.Task(source="digits", images=100, epochs=1, seed=0), limit=0.01)
    with pytest.raises(race.LimitReachedError):
        judge.observe(lambda images: images.flatten(1).float())
    assert len(judge.curve) == 1


def test_a_target_is_reached_at_the_first_point_that_has_it(race):
    curve = [{"core_seconds": 1.0, "knn": 30.0}, {"core_seconds": 2.0, "knn": 41.0}, {"core_seconds": 3.0, "knn": 42.0}]
    assert race.first_reaching(40.0, curve) == 2.0
    assert race.first_reaching(45.0, curve) is None


@pytest.mark.slow
def test_a_race_with_a_contestant_of_a_script_counts_its_children_but_no_evaluation_and_goes_on_later(tmp_path):
    (tmp_path / "with_a_stub.py").write_text(WITH_A_STUB)
    command = [sys.executable, "with_a_stub.py", "--data", "digits", "--images", "100", "--only", "stub"]
    command += ["--out", "race.json", "--runs", "1"]

    def ended(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *more], capture_output=True, text=True, check=False, cwd=tmp_path)

    first = ended()
    assert first.returncode == 0, first.stderr
    [row] = json.loads((tmp_path / "race.json").read_text())["rows"]
    start, end = row["curve"]
    assert start["core_seconds"] > 1  # imports
    assert 0.5 < end["core_seconds"] - start["core_seconds"] < 1.2  # two evaluations of 1 s each are left out
    assert row["core_seconds_to"]["40"] == start["core_seconds"]
    assert "stub" not in ended().stdout  # there is nothing left to run
    assert ended("--epochs", "2").returncode == 1
    assert json.loads((tmp_path / "race.json").read_text())["rows"] == [row]
