import json
import os
import re
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import mrkd.config.overrides
import mrkd.downstream.finetune
import mrkd.runs.run
import mrkd.surveying.doctor
from mrkd.losses.divergences import DIVERGENCES
from mrkd.losses.potentials import POTENTIALS
from mrkd.objective.methods import METHODS
from tests.helpers.docs_blocks import Block, blocks, run_block, shrink_recipes
from tests.helpers.photographs import make_photographs

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
COMMANDS = re.compile(r"^```(?:bash)?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]


@pytest.mark.parametrize("name", [*METHODS, *POTENTIALS, *DIVERGENCES])
def test_the_page_of_methods_names_every_method_potential_and_divergence(name):
    assert f"`{name}`" in (DOCS / "methods.md").read_text(encoding="utf-8")


def script(name: str, monkeypatch) -> Any:
    """A module of experiments/, which is no package."""
    monkeypatch.syspath_prepend(ROOT / "experiments")
    loader = SourceFileLoader(name, str(ROOT / "experiments" / f"{name}.py"))
    module = ModuleType(name)
    module.__file__ = loader.path
    loader.exec_module(module)
    return module


def test_the_page_of_methods_is_the_one_that_its_script_writes(monkeypatch):
    text = (DOCS / "methods.md").read_text(encoding="utf-8")
    assert script("methods_table", monkeypatch).filled(text) == text, "python experiments/methods_table.py"


def test_the_equations_in_latex_are_those_of_the_methods(monkeypatch):
    equations = script("methods_table", monkeypatch).EQUATIONS
    assert {name: equation.plain for name, equation in equations.items()} == {
        name: method.equation for name, method in METHODS.items() if method.terms
    }, "change experiments/tables/equations.py as well"


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """Somebody who types what the pages say, with recipes that take seconds and some photographs."""
    shrink_recipes(tmp_path / "recipes")
    monkeypatch.setattr(mrkd.config.overrides, "RECIPES", tmp_path / "recipes")
    monkeypatch.setattr(mrkd.downstream.finetune, "LEAST_STEPS", 2)
    monkeypatch.setattr(mrkd.surveying.doctor, "SECONDS", 0.01)
    monkeypatch.setattr(mrkd.surveying.doctor, "ROWS", 16)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    make_photographs(Path("photos"), step=96)


def read(page: Path, slow: bool) -> None:
    namespace: dict[str, object] = {}
    for block in blocks(page):
        if slow or not block.slow:
            run_block(block, namespace)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.name)
def test_every_marked_block_of_a_page_runs(page, reader):
    read(page, slow=False)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(b.slow for b in blocks(page))], ids=lambda page: page.name
)
def test_every_marked_block_of_a_page_runs_also_the_slow_ones(page, reader):
    read(page, slow=True)


def test_a_block_that_fails_is_noticed(tmp_path):
    (tmp_path / "page.md").write_text("text\n<!-- test -->\n```bash\nmrkd evaluate /nope\n```\n")
    [block] = blocks(tmp_path / "page.md")
    with pytest.raises(AssertionError, match="mrkd evaluate /nope"):
        run_block(block, {})
    assert blocks(tmp_path / "page.md") == [Block(language="bash", code="mrkd evaluate /nope\n", slow=False)]


def test_the_cells_of_the_notebook_run(reader):
    notebook = json.loads((DOCS / "tutorial.ipynb").read_text(encoding="utf-8"))
    namespace: dict[str, object] = {"display": print}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            exec("".join(cell["source"]), namespace)


def test_every_bash_block_of_a_page_is_run_by_a_test():
    """Commands for a shell, not for mrkd alone, are in `sh` blocks."""
    for page in PAGES:
        shown = re.findall(r"^```bash$", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert len(shown) == sum(block.language == "bash" for block in blocks(page)), page.name


def test_commands_shown_in_pages_name_verbs_and_options_that_exist():
    import shlex

    from mrkd.cli.options import parse_overrides
    from mrkd.cli.parser import make_parser
    from mrkd.cli.verbs import VERBS

    parser = make_parser(VERBS)
    for page in [*PAGES, *DOCS.glob("results/*.md")]:
        for code in COMMANDS.findall(page.read_text(encoding="utf-8")):
            for line in code.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True) if line.startswith("mrkd ") else []
                if "|" in words:
                    words = words[: words.index("|")]
                if words:
                    options, extra = parser.parse_known_args(words[1:])
                    assert not extra or VERBS[options.verb].takes_settings, line
                    parse_overrides(extra)


def four_commands() -> Block:
    return blocks(ROOT / "README.md")[0]


def test_the_readme_and_the_page_show_the_same_four_commands():
    shown = four_commands().code
    assert shown == blocks(DOCS / "own-images.md")[0].code
    assert shown.count("\n") == 4


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_new_user_goes_from_photographs_to_maps_vectors_and_a_timm_model(tmp_path, monkeypatch):
    """The four commands of the README as they stand, the recipe included."""
    import timm
    import torch

    monkeypatch.chdir(tmp_path)
    assert make_photographs(Path("photos")) > 500
    run_block(four_commands(), {})
    assert (tmp_path / "runs" / "photos" / "attention.png").stat().st_size > 10_000
    rows = mrkd.runs.run.RunDirectory("runs/photos").metrics()
    losses = [row["loss"] for row in rows if "loss" in row]
    assert losses[-1] < 0.8 * losses[0]
    assert rows[-1]["verdict"] in ("healthy", "flat")
    found = mrkd.embed("runs/photos")
    assert len(found) > 500
    assert (tmp_path / "embeddings.parquet").is_file()
    said = mrkd.export("runs/photos", "again.safetensors")
    model = eval(said.load, {"timm": timm})
    assert model(torch.zeros(1, 3, 48, 48)).shape == (1, found.vectors.shape[1])


SAMPLES = ("api/relational-losses", "methods", "tutorial")


def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs")
    pytest.importorskip("latex2mathml")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    page = {name: (tmp_path / name / "index.html").read_text(encoding="utf-8") for name in SAMPLES}
    assert 'id="mrkd.losses.angle.rkd_angle"' in page["api/relational-losses"]
    assert page["api/relational-losses"].count(">Raises:</span>") > 3
    assert page["methods"].count('<math xmlns="http://www.w3.org/1998/Math/MathML" display="block"') > len(METHODS)
    assert "arithmatex" not in page["methods"]
    assert "mrkd.pretrain" in re.sub(r"<[^>]+>", "", page["tutorial"])


def test_the_tables_of_the_result_pages_are_those_of_the_json_beside_them(monkeypatch):
    tables = script("results_tables", monkeypatch)
    pages = [page for page in tables.pages() if "<!-- table: " in page.read_text(encoding="utf-8")]
    assert len(pages) >= 3
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert tables.filled(text) == text, f"python experiments/results_tables.py makes {page.name} anew"
