"""What `import mrkd` shows, and what it loads."""

import ast
import os
import pydoc
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import mrkd

ROOT = Path(__file__).parent.parent.parent


def test_every_name_is_listed_and_can_be_had():
    assert set(mrkd.__all__) <= set(dir(mrkd))
    assert {"pretrain", "compare", "Run", "Comparison", "embed", "losses", "UserError"} <= set(dir(mrkd))
    assert "import_module" not in dir(mrkd)
    for name in mrkd.__all__:
        assert getattr(mrkd, name) is not None
    with pytest.raises(AttributeError, match="module 'mrkd' has no attribute 'pretrian'"):
        mrkd.pretrian  # noqa: B018


def test_type_checkers_are_told_the_same_names_and_modules_as_python():
    [block] = [node for node in ast.parse(Path(mrkd.__file__).read_text()).body if isinstance(node, ast.If)][:1]
    told = {alias.name: node.module for node in block.body for alias in node.names}
    assert told.pop("losses") == "mrkd"
    assert told == mrkd._LAZY


def test_help_describes_the_verbs():
    text = pydoc.render_doc(mrkd, renderer=pydoc.plaintext)
    assert "pretrain(config:" in text
    assert "Train one method on one data set, without labels" in text
    assert "class Run(" in text


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import mrkd; dir(mrkd)", ("torch", "numpy", "yaml", "mrkd.api", "mrkd.config")),
        ("import mrkd; mrkd.Run; mrkd.Comparison; mrkd.compare", ("torch", "timm", "matplotlib", "pandas")),
        ("import mrkd; mrkd.losses.rkd_angle", ("numba", "timm", "lightning_fabric", "mrkd.config")),
    ],
)
def test_only_what_is_used_is_loaded(code, absent):
    check = f"import sys; {code}; print([name for name in {absent!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


USER = """
from pathlib import Path
from typing import assert_type

import mrkd

run = mrkd.pretrain(data="photos", method="structural", out="runs/a", epochs=3)
assert_type(run, mrkd.Run)
assert_type(run / "metrics.jsonl", Path)
assert_type(run.report(), Path)
mrkd.evaluate(run)
mrkd.report([run, "runs/b"])
steps, loss = run.curve("loss")
print(run.embed("photos").vectors[steps], loss.mean())
run.metric  # type: ignore[attr-defined]
mrkd.pretrian  # type: ignore[attr-defined]
comparison = mrkd.compare(data="photos", methods=["ibot", "structural"], seeds=[0, 1], out="runs/table")
assert_type(comparison.runs, list[mrkd.Run])
assert_type(comparison.difference("ibot", "structural").mean, float)
try:
    mrkd.losses.rkd_distance
except mrkd.UserError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_users_program_passes_a_strict_type_checker(tmp_path):
    pytest.importorskip("mypy")
    (tmp_path / "user.py").write_text(textwrap.dedent(USER))
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--cache-dir", "cache", "user.py"]
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
