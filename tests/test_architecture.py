"""Who may import whom, read from the source."""

import ast
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "mrkd"

LAYERS = (
    ("api",),
    ("cli",),
    ("studies",),
    ("downstream", "train"),
    ("attention", "exporting", "reporting", "surveying"),
    ("evaluation",),
    ("runs",),
    ("model",),
    ("distributed",),
    ("objective",),
    ("data",),
    ("losses", "optim"),
    ("config", "system"),
    ("errors",),
)
"""The package from the top down. A folder may import what stands in lower lines, and nothing beside or above it."""

ONLY = {
    "losses": {"losses", "errors"},
    "evaluation": {"config", "data", "evaluation", "model", "optim", "runs", "system"},
}
"""Folders that know still less than their line allows, besides `errors`."""

WITHOUT_TORCH = (
    "api",
    "config",
    "evaluation/__init__.py",
    "evaluation/evaluator.py",
    "evaluation/evaluators",
    "reporting",
    "runs/comparability.py",
    "runs/npz.py",
    "runs/run.py",
    "system",
)
"""What opens instantly: the command line's help and refusals, runs and comparisons in Python, and the report."""

RANK = {folder: number for number, line in enumerate(LAYERS) for folder in line}


def files(place: str) -> list[Path]:
    path = PACKAGE / place
    return sorted(path.rglob("*.py")) if path.is_dir() else [path if path.suffix else path.with_suffix(".py")]


def imports(path: Path) -> set[str]:
    """What a file imports anywhere in it."""
    return names_imported(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def imports_at_once(path: Path) -> set[str]:
    """What a file imports when it is imported itself: not in functions, nor for type checkers."""
    return names_imported(ast.parse(path.read_text(encoding="utf-8")).body)


def names_imported(nodes: Iterable[ast.AST]) -> set[str]:
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"mrkd.{alias.name}" for alias in node.names if node.module == "mrkd"}
    return found


def folders_imported(path: Path) -> set[str]:
    """Our own folders that a file imports; the package's version is nobody's."""
    return {name.split(".")[1] for name in imports(path) if name.startswith("mrkd.")} - {"__version__"}


@pytest.mark.parametrize("folder", RANK)
def test_imports_only_point_down(folder):
    for path in files(folder):
        for other in folders_imported(path) - {folder}:
            assert RANK[other] > RANK[folder], f"{path} imports mrkd.{other}, which does not stand below mrkd.{folder}"
            assert other in ONLY.get(folder, RANK) or other == "errors", f"{path} imports mrkd.{other}"


def test_every_folder_has_its_line():
    places = {path.stem for path in PACKAGE.iterdir() if path.name not in ("py.typed", "recipes", "__pycache__")}
    assert places - {"__init__", "__main__"} == set(RANK)


def test_what_must_open_instantly_imports_no_torch():
    for path in (path for place in WITHOUT_TORCH for path in files(place)):
        assert not {name.split(".")[0] for name in imports_at_once(path)} & {"torch", "timm", "lightning_fabric"}, path
    opened = "import sys, mrkd.api.verbs; assert not {'torch', 'timm', 'sklearn'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", opened], check=True)


def test_losses_and_gathering_for_other_loops_open_without_lightning_and_timm():
    opened = "import sys, mrkd.losses, mrkd.distributed; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", opened], check=True, capture_output=True, text=True).stdout.split()
    assert not {"lightning", "lightning_fabric", "timm", "sklearn"} & set(modules)


def test_losses_use_no_distributed_calls():
    for path in files("losses"):
        assert "torch.distributed" not in path.read_text(encoding="utf-8"), path
