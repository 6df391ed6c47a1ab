"""Reading `metrics.jsonl`."""

import itertools
import json
import time
import tracemalloc

import pytest

from mrkd.errors import UserError
from mrkd.runs.metrics import ThinnedMetrics, complete_lines
from mrkd.runs.run import RunDirectory


def lines(first: int, end: int, measured: int = 10**9) -> str:
    return "".join(
        json.dumps(
            {"step": step, "loss": 1 / (step + 1)} | ({"rankme": 2.0, "knn": 50.0} if step % measured == 0 else {})
        )
        + "\n"
        for step in range(first, end)
    )


def test_a_short_run_is_whole_and_a_line_that_is_being_written_is_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    metrics = ThinnedMetrics(path)
    assert metrics.read() == []
    path.write_text(lines(0, 30) + '{"step": 30, "lo')
    assert [row["step"] for row in metrics.read()] == list(range(30))
    with path.open("a") as file:
        file.write('ss": 1.0}\n')
    assert [row["step"] for row in metrics.read()] == list(range(31))


def test_a_long_run_is_thinned_evenly_and_keeps_its_ends_and_what_was_measured(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(lines(0, 20_001, measured=1999))
    metrics = ThinnedMetrics(path, limit=100)
    steps = [row["step"] for row in metrics.read()]
    assert steps == sorted(steps)
    assert 100 <= len(steps) <= 212
    assert max(later - earlier for earlier, later in itertools.pairwise(steps)) <= 200
    assert {0, 20_000, *range(0, 20_001, 1999)} <= set(steps)


def test_more_lines_later_give_the_same_as_all_lines_at_once(tmp_path):
    path, whole = tmp_path / "metrics.jsonl", tmp_path / "whole.jsonl"
    metrics = ThinnedMetrics(path, limit=50)
    for first in range(0, 3000, 137):
        with path.open("a") as file:
            file.write(lines(first, first + 137, measured=7))
        metrics.read()
    whole.write_bytes(path.read_bytes())
    assert metrics.read() == ThinnedMetrics(whole, limit=50).read()


def test_a_file_that_a_resumed_run_wrote_anew_is_read_from_its_start(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(lines(0, 100))
    metrics = ThinnedMetrics(path)
    assert metrics.read()[-1]["step"] == 99
    (tmp_path / "new").write_text(lines(0, 60))
    (tmp_path / "new").replace(path)
    assert metrics.read()[-1]["step"] == 59
    path.write_text(lines(500, 700))  # in its place, and longer
    assert [row["step"] for row in metrics.read()] == list(range(500, 700))


def test_a_repaired_file_is_read_again(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(lines(0, 3) + "damaged\n" + lines(4, 6))
    metrics = ThinnedMetrics(path)
    with pytest.raises(UserError, match="line 4"):
        metrics.read()
    path.write_text(lines(0, 6))
    assert [row["step"] for row in metrics.read()] == list(range(6))


@pytest.mark.parametrize(
    "damaged", ['{"step": 1, "lo', "[]", '{"loss": 1}', "[" * 100_000,
                '{"step": 1e999}', '{"step": 1' + "0" * 5000 + "}",
                '{"step": true}', '{"step": -1}', "\udcff", "{" + " " * 2**21 + "}"]
)  # fmt: skip
def test_a_damaged_line_is_named(tmp_path, damaged):
    (tmp_path / "metrics.jsonl").write_text(lines(0, 1) + damaged + "\n", errors="surrogateescape")
    for read in (ThinnedMetrics(tmp_path / "metrics.jsonl").read, RunDirectory(tmp_path).metrics):
        with pytest.raises(UserError, match=r"metrics\.jsonl line 2 must be a JSON object with a step"):
            read()


def test_two_hundred_thousand_rows_need_little_memory_and_nothing_new_needs_no_time(tmp_path):
    path = tmp_path / "metrics.jsonl"
    text = json.dumps({"step": 0, "terms": {"rkd-d [cls]": 1.0, "ibot [patch]": 2.0}, "loss": 1.0, "more": "x" * 200})
    path.write_text("".join(text.replace('"step": 0', f'"step": {step}') + "\n" for step in range(200_000)))
    metrics = ThinnedMetrics(path)
    tracemalloc.start()
    try:
        assert metrics.read()[-1]["step"] == 199_999
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * 2**20
    before = time.process_time()
    for _ in range(10):
        metrics.read()
    assert time.process_time() - before < 0.2


def test_a_pipe_in_the_place_of_the_metrics_is_not_waited_for(tmp_path):
    import os

    os.mkfifo(tmp_path / "metrics.jsonl")
    assert list(complete_lines(tmp_path / "metrics.jsonl")) == []
