"""Training and evaluation need only the required packages of pyproject.toml, no extras."""

import io
import json
import os
import subprocess
import sys

import pytest
from PIL import Image

from tests.helpers.blocked import without

MISSING = (
    *("argcomplete", "datasets", "docstring_parser", "huggingface_hub", "jsonargparse", "mlflow", "onnx"),
    *("onnxruntime", "onnxscript", "optuna", "pandas", "pydantic", "tensorboard"),
    *("tensorboardX", "wandb"),
)
TINY = (
    *("--data.size", "16", "--patch", "4", "--model.width", "16", "--model.depth", "2", "--model.heads", "2"),
    *("--epochs", "1", "--batch-size", "10", "--train.monitor_times", "1", "--train.monitor_images", "20"),
    *("--evaluation.linear_epochs", "[1]", "--evaluation.finetune_epochs", "1", "--evaluation.cluster_restarts", "1"),
    *("--evaluation.cluster_head_epochs", "1", "--attention.images", "2"),
)


def mrkd(*commands: tuple[object, ...], status: int = 0) -> str:
    """The output of some verbs, in one process in which these packages cannot be imported."""
    lines = [[str(word) for word in command] for command in commands]
    code = f"""{without(*MISSING)}
from mrkd.cli import main
for line in {lines!r}:
    try:
        status = main(line)
    except SystemExit as stop:
        status = stop.code or 0
    if status != {status}:
        sys.exit(f"{{line}}: {{status}}")
"""
    environment = {name: value for name, value in os.environ.items() if name != "_ARGCOMPLETE"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def parquet(tmp_path_factory):
    """Sixty images of two colours."""
    import pyarrow
    import pyarrow.parquet

    def png(row: int) -> bytes:
        buffer = io.BytesIO()
        Image.new("RGB", (16, 16), (4 * row, 200, 0) if row % 2 else (0, 4 * row, 200)).save(buffer, "PNG")
        return buffer.getvalue()

    rows = range(60)
    images = [{"bytes": png(row), "path": None} for row in rows]
    path = tmp_path_factory.mktemp("data") / "colours.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"image": images, "label": [row % 2 for row in rows]}), path)
    return path


def test_training_measuring_and_the_report_need_no_extra(parquet, tmp_path):
    run, vectors = tmp_path / "run", tmp_path / "vectors.parquet"
    shown = mrkd(
        ("pretrain", "--recipe", "quick", "--data", parquet, "--method", "ibot+rkd-d", *TINY, "--out", run),
        ("evaluate", run),
        ("attend", run),
        ("report", run),
        ("embed", run, "--out", vectors),
    )
    assert shown.count("no TensorBoard files") == 1
    assert "knn" in json.loads((run / "evaluation.json").read_text())
    assert (run / "report.html").is_file()
    assert vectors.is_file()


@pytest.mark.slow
def test_comparing_needs_no_extra(parquet, tmp_path):
    out = tmp_path / "compared"
    mrkd(("compare", "--methods", "rkd-d,random", "--recipe", "quick", "--data", parquet, *TINY, "--out", out))
    assert list(out.rglob("evaluation.json"))


def test_a_feature_that_needs_an_extra_names_it(tmp_path):
    shown = mrkd(
        ("data", "owner/name", "--out", tmp_path / "look"),
        ("completion", "bash"),
        ("sweep", "--methods", "rkd-d", "--out", tmp_path / "sweep"),
        status=2,
    )
    for hint in ('pip install "mrkd[hub]"', "pip install argcomplete", "mrkd[sweep]"):
        assert hint in shown
    shown = mrkd(("doctor", tmp_path))
    assert "WRONG" not in shown
    for extra in ("hub", "sweep", "tensorboard", "onnx"):
        assert f'pip install "mrkd[{extra}]"' in shown


def test_help_needs_no_extra():
    assert "mrkd pretrain" in mrkd((), ("methods",), ("settings",), ("pretrain", "--help"), ("--help", "all"))
