"""Where the time of a step goes."""

import json

import pytest
import torch
import torch.nn.functional as F

import mrkd
from mrkd.train import profiling
from mrkd.train.profiling import Clock, count_operations


@pytest.fixture
def ticking(monkeypatch):
    """A clock on which time passes only by asking: one second for each look at it."""
    ticks = iter(range(100))
    monkeypatch.setattr(profiling.time, "perf_counter", lambda: float(next(ticks)))
    return Clock(torch.device("cpu"))


def test_a_part_inside_another_counts_for_itself_alone(ticking):
    with ticking.part("step"):
        with ticking.part("loss"):
            pass
        with ticking.part("loss"):
            pass
    assert ticking.seconds == {"step": 3.0, "loss": 2.0}


def test_a_clock_without_a_device_stands_still():
    clock = Clock()
    with clock.part("step"):
        pass
    assert clock.seconds == {}


def test_operations_of_products_and_of_attention_are_counted():
    left, right = torch.randn(5, 7), torch.randn(7, 3)
    assert count_operations(lambda: left @ right) == 2 * 5 * 7 * 3
    query = torch.randn(2, 4, 16, 8, requires_grad=True)  # B, H, N, D / H
    product = 2 * 2 * 4 * 16 * 16 * 8

    def attend():
        return F.scaled_dot_product_attention(query, query, query)

    assert count_operations(attend) == 2 * product
    assert count_operations(lambda: attend().sum().backward()) == 7 * product


def test_a_profiled_run_says_where_its_time_went(tiny_config, tmp_path, capsys):
    mrkd.pretrain(tiny_config, tmp_path / "run", profile=True)
    report = json.loads((tmp_path / "run" / "profile.json").read_text())
    assert {"data", "augment", "student", "teacher", "losses", "backward", "optimizer"} <= set(report["milliseconds"])
    assert all(spent >= 0 for spent in report["milliseconds"].values())
    together = sum(report["milliseconds"].values())
    assert report["images_per_second"] == pytest.approx(1000 * tiny_config.train.batch / together)
    assert report["gflops"] == pytest.approx(report["gflop_per_image"] * report["images_per_second"])
    assert 0 < report["utilisation"] == pytest.approx(report["gflops"] / report["matrix_gflops"])
    shown = capsys.readouterr().out
    assert "where the time went" in shown
    assert f"{report['images_per_second']:.0f} images/s" in shown


def test_too_few_steps_are_said_to_be_too_few():
    clock = Clock(torch.device("cpu"))
    profile = profiling.Profile(clock, images=8, dtype=torch.float32)
    profile.take(lambda: None)
    assert "more than 3 steps" in profiling.table(profile.report(), "0 MiB")
