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
    *("onnxruntime", "onnxscript", "optuna", "pandas", "pydantic", "tensorboard", "tensorboardX", "wandb"),
)
TINY = (
    *("--data.size", "16", "--patch", "4", "--model.width", "16", "--model.depth", "2", "--model.heads", "2"),
    *("--epochs", "1", "--batch-size", "10", "--train.monitor_times", "1", "--train.monitor_images", "20"),
    *("--evaluation.linear_epochs", "[1]", "--evaluation.finetune_epochs", "1", "--evaluation.cluster_restarts", "1"),
    *("--evaluation.cluster_head_epochs", "1", "--attention.images", "2"),
)


def mrkd(*words: object, status: int = 0) -> str:
    """The output of a verb in a process in which these packages cannot be imported."""
    code = f"{without(*MISSING)}\nfrom mrkd.cli import main; sys.exit(main({[str(word) for word in words]!r}))"
    environment = {name: value for name, value in os.environ.items() if name != "_ARGCOMPLETE"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout[-2000:] + done.stderr[-4000:]
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
    run = tmp_path / "run"
    shown = mrkd("pretrain", "--recipe", "quick", "--data", parquet, "--method", "ibot+rkd-d", *TINY, "--out", run)
    assert shown.count("no TensorBoard files") == 1
    mrkd("evaluate", run)
    assert "knn" in json.loads((run / "evaluation.json").read_text())
    mrkd("attend", run)
    mrkd("report", run)
    mrkd("embed", run, "--out", tmp_path / "vectors.parquet")


@pytest.mark.slow
def test_comparing_needs_no_extra(parquet, tmp_path):
    out = tmp_path / "compared"
    mrkd("compare", "--methods", "rkd-d,random", "--recipe", "quick", "--data", parquet, *TINY, "--out", out)
    assert list(out.rglob("evaluation.json"))


def test_a_feature_that_needs_an_extra_names_it(tmp_path):
    assert 'pip install "mrkd[hub]"' in mrkd("data", "owner/name", "--out", tmp_path / "look", status=2)
    assert "pip install argcomplete" in mrkd("completion", "bash", status=2)
    assert "mrkd[sweep]" in mrkd("sweep", "--methods", "rkd-d", "--out", tmp_path / "sweep", status=2)
    shown = mrkd("doctor", tmp_path)
    assert "WRONG" not in shown
    for extra in ("hub", "sweep", "tensorboard", "onnx"):
        assert f'pip install "mrkd[{extra}]"' in shown


def test_help_needs_no_extra():
    for words in ((), ("methods",), ("settings",), ("pretrain", "--help"), ("--help", "all")):
        assert mrkd(*words)
