"""The one call on a GPU, tried without one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_one_call_on_a_gpu_runs_dry_and_writes_what_every_stage_measured(tmp_path):
    script = ROOT / "experiments" / "gpu_all.py"
    command = [sys.executable, str(script), "--data", "digits", "--out", str(tmp_path), "--dry-run", "--seconds", "800"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
    assert len(json.loads((tmp_path / "kernels.json").read_text())["kernels"]["rows"]) == 11
    assert all("failed" not in row for row in json.loads((tmp_path / "steps.json").read_text())["steps"]["rows"])
    for name in ("scan", "training"):
        runs = json.loads((tmp_path / f"{name}.json").read_text())["runs"]
        assert runs
        assert [run["exit_status"] for run in runs] == [0] * len(runs)
    assert runs[0]["evaluation"]["knn"]["acc1"] > 0
