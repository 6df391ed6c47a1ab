"""Blocks of code in the pages that are run as they stand, but for recipes made tiny.

A fenced block is run when the line before it is `<!-- test -->`, or, with the slow tests, `<!-- test: slow -->`. The
blocks of a page share a folder, and those in Python one namespace, so that one can go on where the other ended. In bash
blocks every line is an `mrkd` command, or one that torchrun starts. It is run in this process, or, when it starts
processes that repeat its command line, in one of its own: `python tests/helpers/docs_blocks.py RECIPES ARGUMENTS`.
"""

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import mrkd.config.overrides
from mrkd.cli import main

BLOCK = re.compile(
    r"<!-- test(?P<slow>: slow)? -->\n```(?P<language>\w+)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE
)

TINY: dict[str, dict[str, Any]] = {
    "data": {"train_images": 120, "test_images": 60, "size": 32},
    "model": {"name": None, "patch": 8, "width": 16, "depth": 1, "heads": 2},
    "head": {"prototypes": 32, "hidden": 32, "bottleneck": 16, "layers": 2},
    "views": {"local_views": 0},
    "train": {"epochs": 1, "batch": 60},
    "evaluation": {
        "linear_epochs": [1],
        "finetune_epochs": 1,
        "finetune_learning_rates": [0.001],
        "cluster_restarts": 1,
        "cluster_head_epochs": 1,
    },
    "attention": {"images": 2},
}


@dataclass(frozen=True, kw_only=True)
class Block:
    """One block that is meant to be run."""

    language: str
    code: str
    slow: bool


def blocks(page: Path) -> list[Block]:
    """Those of a page, in order."""
    return [
        Block(language=found["language"], code=found["code"], slow=found["slow"] is not None)
        for found in BLOCK.finditer(page.read_text(encoding="utf-8"))
    ]


def shrink_recipes(folder: Path) -> None:
    """Copies of the packaged recipes that take seconds, for `mrkd.config.overrides.RECIPES`."""
    folder.mkdir()
    for recipe in mrkd.config.overrides.RECIPES.glob("*.yaml"):
        tree = yaml.safe_load(recipe.read_text(encoding="utf-8"))
        for section, values in TINY.items():
            tree[section] = {**tree.get(section, {}), **values}
        (folder / recipe.name).write_text(yaml.safe_dump(tree), encoding="utf-8")


def run_block(block: Block, namespace: dict[str, Any]) -> None:
    """Run one in the current folder."""
    if block.language == "python":
        exec(compile(block.code, "<docs>", "exec"), namespace)
        return
    assert block.language == "bash", block.language
    for line in block.code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            assert words[0] in ("mrkd", "torchrun"), f"only mrkd commands are run: {line}"
            launcher, arguments = words[: words.index("mrkd")], words[words.index("mrkd") + 1 :]
            assert _run(launcher, arguments) == 0, line


def _run(launcher: list[str], arguments: list[str]) -> int:
    """Exit status of an `mrkd` command, which `torchrun … -m` starts where it is given."""
    if not launcher and "--train.devices" not in arguments:
        return main(arguments)
    torchrun = ["-m", "torch.distributed.run", *launcher[1:-1]] if launcher else []
    command = [sys.executable, *torchrun, __file__, str(mrkd.config.overrides.RECIPES), *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
    return subprocess.run(command, env=environment, timeout=240, check=False).returncode


if __name__ == "__main__":
    mrkd.config.overrides.RECIPES = Path(sys.argv[1])
    raise SystemExit(main(sys.argv[2:]))
