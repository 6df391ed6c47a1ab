import tomllib
from pathlib import Path

import pytest
import torch

import mrkd.surveying.doctor
from mrkd.cli import main
from mrkd.surveying.doctor import EXTRAS, angle_kernel, examine


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(mrkd.surveying.doctor, "SECONDS", 0.01)
    monkeypatch.setattr(mrkd.surveying.doctor, "ROWS", 24)


def test_a_sound_machine_gets_a_line_on_everything(tmp_path, capsys):
    assert main(["doctor", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    for topic in ("packages", "extra onnx", "folder", "cpu", "rkd-a on cpu"):
        assert topic in shown
    assert "WRONG" not in shown
    assert f"torch {torch.__version__.split('+')[0]}" in shown


def test_a_kernel_that_computes_something_else_is_found(monkeypatch):
    monkeypatch.setattr(
        "mrkd.losses.kernels.angle_cpu.exact", lambda s, t, w, d: (s.sum(dim=(1, 2)), torch.zeros_like(s))
    )
    finding = angle_kernel("numba", torch.device("cpu"))
    assert finding.state == "wrong"
    assert angle_kernel("torch", torch.device("cpu")).state == "ok"


def test_a_kernel_that_raises_is_reported_and_the_status_is_two(monkeypatch, tmp_path, capsys):
    def broken(*_):
        raise RuntimeError("no compiler\nfound")

    monkeypatch.setattr("mrkd.losses.kernels.angle_cpu.exact", broken)
    assert main(["doctor", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert "numba fails: RuntimeError: no compiler found" in captured.out
    assert captured.err == "mrkd: not in order: rkd-a on cpu\n"


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    findings = {finding.topic: finding for finding in examine(tmp_path / "nothing")}
    assert findings["folder"].state == "wrong"


def test_the_extras_are_those_of_the_package():
    declared = tomllib.loads((Path(__file__).parent.parent.parent / "pyproject.toml").read_text())
    assert set(declared["project"]["optional-dependencies"]) - {"dev", "docs", "benchmarks"} == set(EXTRAS)


def test_weights_that_a_teacher_can_be_named_by_are_listed(tmp_path):
    assert mrkd.surveying.doctor._timm_weights(tmp_path).state == "absent"
    for name in ("models--timm--resnet18.a1_in1k", "models--other--x", "datasets--timm--y"):
        (tmp_path / name).mkdir()
    found = mrkd.surveying.doctor._timm_weights(tmp_path)
    assert (found.state, found.text) == ("ok", "resnet18.a1_in1k")
