import json
import os
import site
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

import mrkd

ROOT = Path(__file__).parent.parent


def test_one_version_everywhere():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert declared == mrkd.__version__
    assert f"version: {declared}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"## {declared}\n" in (ROOT / "CHANGELOG.md").read_text()


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    pytest.importorskip("build")
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return out


@pytest.mark.slow
def test_wheel_and_sdist_hold_what_belongs_in_them(built):
    [wheel] = built.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "mrkd").rglob("*.py")}
    recipes = {str(path.relative_to(ROOT)) for path in (ROOT / "mrkd" / "recipes").glob("*.yaml")}
    page = {f"mrkd/reporting/page/{path.name}" for path in (ROOT / "mrkd" / "reporting" / "page").iterdir()}
    assert len(page) > 5
    assert modules | recipes | page | {"mrkd/py.typed"} <= inside
    assert all(name.startswith(("mrkd/", "mrkd-")) for name in inside)
    [sdist] = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[-1] for name in archive.getnames()}
    expected = {"LICENSE", "CITATION.cff", "CONTRIBUTING.md", "constraints.txt", "docs/index.md", "tests/conftest.py"}
    assert expected <= names


@pytest.mark.slow
def test_the_wheel_runs_the_quick_recipe_in_an_environment_of_its_own(built, tmp_path):
    """Nothing of the checkout is in reach; the libraries come from this environment, which saves gigabytes."""
    venv.create(tmp_path / "venv", with_pip=False)
    [own] = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (own / "libraries.pth").write_text("\n".join(site.getsitepackages()))
    [wheel] = built.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(own)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*words: str) -> str:
        command = [str(tmp_path / "venv" / "bin" / "python"), "-m", "mrkd", *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    settings = ["--train.epochs", "1", "--data.train_images", "200", "--evaluation.finetune_epochs", "0"]
    run("pretrain", "--recipe", "quick", "--data", "digits", *settings, "--out", "run", "--then", "evaluate,report")
    assert "knn" in json.loads((tmp_path / "run" / "evaluation.json").read_text())
    python = [str(tmp_path / "venv" / "bin" / "python"), "-c", "import mrkd; print(mrkd.__file__)"]
    where = subprocess.run(python, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert where.stdout.startswith(str(tmp_path))
