"""What the site does to its pages: equations become MathML, and the notebook a page."""

import base64
import json
import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
METHODS_PAGE = (DOCS / "methods.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^\$\$\n(.+?)\n\$\$$", METHODS_PAGE, re.DOTALL | re.MULTILINE)
INLINE = re.findall(r"(?<!\$)\$([^$\n]+)\$(?!\$)", METHODS_PAGE)


def hook(name):
    specification = spec_from_file_location(name, DOCS / "hooks" / f"{name}.py")
    module = module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def equations():
    pytest.importorskip("latex2mathml")
    return hook("equations")


@pytest.mark.parametrize("latex", sorted({*BLOCKS, *INLINE}))
def test_each_equation_of_the_page_of_methods_converts(latex, equations):
    assert equations.mathml(latex, block=latex in BLOCKS).startswith("<math ")


def test_the_page_of_methods_has_a_block_for_each_method_and_for_the_derivations():
    assert len(BLOCKS) > 30
    assert len(INLINE) > 100


def test_a_command_that_the_converter_does_not_know_is_named(equations):
    with pytest.raises(ValueError, match=r"does not know \\qquadp in the equation"):
        equations.mathml(r"a\qquadp", block=False)


def test_marked_equations_of_a_page_are_replaced(equations):
    page = r'<p>if <span class="arithmatex">\(a &lt; b\)</span></p><div class="arithmatex">\[a^2\]</div>'
    made = equations.on_page_content(page)
    assert "arithmatex" not in made
    assert made.count("<math ") == 2
    assert '<div class="equation"><math' in made
    assert "&#x0003C;" in made or "&lt;" in made


@pytest.fixture(scope="module")
def notebook():
    pytest.importorskip("mkdocs")
    return hook("notebook")


def cell(source, *outputs):
    return {"cell_type": "code", "source": [source], "outputs": list(outputs)}


def test_pictures_and_printed_text_of_a_cell_follow_its_code(notebook):
    picture = {"data": {"image/png": base64.b64encode(b"png").decode(), "text/plain": ["<Figure>"]}}
    cells = [
        {"cell_type": "markdown", "source": ["# Title"]},
        cell("draw()", {"name": "stdout", "text": ["one\n"]}, picture),
    ]
    text, pictures = notebook.to_markdown({"cells": cells})
    assert text == (
        "# Title\n\n```python\ndraw()\n```\n\n```text\none\n```\n\n![output of the cell above](tutorial-1.png)\n"
    )
    assert pictures == {"tutorial-1.png": b"png"}


def test_of_many_printed_lines_the_last_are_shown(notebook):
    lines = [{"name": "stdout", "text": [f"\x1b[2Kstep {step}\r\n"]} for step in range(9)]
    text, _ = notebook.to_markdown({"cells": [cell("train()", *lines)]})
    assert text.endswith("```text\n…\nstep 6\nstep 7\nstep 8\n```\n")


def test_warnings_of_a_cell_are_left_out(notebook):
    text, _ = notebook.to_markdown({"cells": [cell("train()", {"name": "stderr", "text": ["TqdmWarning\n"]})]})
    assert "TqdmWarning" not in text


def test_the_notebook_of_the_site_becomes_a_page_with_its_title(notebook):
    text, pictures = notebook.to_markdown(json.loads((DOCS / notebook.NOTEBOOK).read_text(encoding="utf-8")))
    assert text.startswith("# Ten minutes on digits")
    assert "mrkd.pretrain" in text
    assert pictures == {}
