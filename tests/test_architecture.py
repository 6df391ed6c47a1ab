"""Who may import whom, read from the source."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "mrkd"
SHARED = {"mrkd", "mrkd.arrays", "mrkd.config", "mrkd.cores", "mrkd.errors", "mrkd.settings", "mrkd.tokens"}

# Room -> prefixes of the project's modules it may import, besides its own room and what is shared.
ALLOWED = {
    "config": set(),
    "cores": set(),
    "settings": set(),
    "errors": set(),
    "tokens": set(),
    "progress": set(),
    "profiling": set(),
    "losses": set(),
    "optim": set(),
    "gathering": set(),
    "sharding": set(),
    "data": {"mrkd.progress", "mrkd.run"},
    "run": set(),
    "alike": {"mrkd.run"},
    "arrays": {"mrkd.run"},
    "loggers": {"mrkd.run"},
    "model": {"mrkd.checkpoint", "mrkd.gathering", "mrkd.run", "mrkd.sharding"},
    "evaluation": {"mrkd.alike", "mrkd.data", "mrkd.model", "mrkd.optim", "mrkd.progress", "mrkd.run"},
    "embedding": {"mrkd.data", "mrkd.evaluation", "mrkd.model", "mrkd.progress", "mrkd.run"},
    "finetuning": {
        "mrkd.data",
        "mrkd.evaluation",
        "mrkd.exporting",
        "mrkd.model",
        "mrkd.progress",
        "mrkd.run",
    },
    "doctor": {"mrkd.losses"},
    "exporting": {"mrkd.data", "mrkd.losses", "mrkd.model", "mrkd.run"},
    "attention": {"mrkd.data", "mrkd.model", "mrkd.run"},
    "reporting": {"mrkd.run"},
    "surveying": {"mrkd.data", "mrkd.model", "mrkd.run"},
    "signals": set(),
    "checkpoint": {"mrkd.run"},
    "finite": {"mrkd.run"},
    "monitor": {"mrkd.data", "mrkd.evaluation", "mrkd.model"},
    "learner": {
        "mrkd.checkpoint",
        "mrkd.data",
        "mrkd.gathering",
        "mrkd.losses",
        "mrkd.model",
        "mrkd.optim",
        "mrkd.profiling",
        "mrkd.sharding",
    },
    "budget": {
        "mrkd.checkpoint",
        "mrkd.data",
        "mrkd.gathering",
        "mrkd.learner",
        "mrkd.monitor",
        "mrkd.optim",
        "mrkd.run",
    },
    "relations_seen": {"mrkd.data", "mrkd.model", "mrkd.run"},
    "training": {
        "mrkd.budget",
        "mrkd.checkpoint",
        "mrkd.data",
        "mrkd.evaluation",
        "mrkd.finite",
        "mrkd.gathering",
        "mrkd.learner",
        "mrkd.loggers",
        "mrkd.losses",
        "mrkd.model",
        "mrkd.monitor",
        "mrkd.profiling",
        "mrkd.progress",
        "mrkd.relations_seen",
        "mrkd.run",
        "mrkd.signals",
    },
    "children": {"mrkd.run", "mrkd.signals"},
    "comparison": {
        "mrkd.alike",
        "mrkd.budget",
        "mrkd.children",
        "mrkd.data",
        "mrkd.losses",
        "mrkd.reporting",
        "mrkd.run",
        "mrkd.signals",
    },
    "sweeping": {"mrkd.alike", "mrkd.budget", "mrkd.children", "mrkd.losses", "mrkd.run", "mrkd.signals"},
}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names if node.module == "mrkd"}
    return found


def room_files(room: str) -> list[Path]:
    folder = PACKAGE / room
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [PACKAGE / f"{room}.py"]


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_only_the_rooms_it_may_know(room):
    allowed = ALLOWED[room] | {f"mrkd.{room}"}
    for path in room_files(room):
        for name in imports(path):
            if name.split(".")[0] == "mrkd" and name not in SHARED and name != "mrkd.__version__":
                assert any(name == prefix or name.startswith(prefix + ".") for prefix in allowed), f"{path}: {name}"


def test_every_room_has_a_rule():
    rooms = {path.stem for path in PACKAGE.iterdir() if path.name not in ("py.typed", "recipes", "__pycache__")}
    assert rooms - {"__init__", "__main__", "cli"} == set(ALLOWED)


def test_the_report_and_the_config_import_no_torch():
    for room in ("reporting", "config", "settings", "run", "progress", "signals"):
        for path in room_files(room):
            assert not {name for name in imports(path) if name.split(".")[0] in ("torch", "timm", "lightning")}, path


def test_losses_use_no_distributed_calls():
    for path in room_files("losses"):
        assert "torch.distributed" not in path.read_text(encoding="utf-8"), path
