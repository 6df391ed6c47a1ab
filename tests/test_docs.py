from pathlib import Path

import pytest

from mrkd.losses.divergences import DIVERGENCES
from mrkd.losses.methods import METHODS
from mrkd.losses.relation_potentials import POTENTIALS

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize("name", [*METHODS, *POTENTIALS, *DIVERGENCES])
def test_the_page_of_methods_names_every_method_potential_and_divergence(name):
    assert f"`{name}`" in (DOCS / "methods.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [name for name in METHODS if name != "random"])
def test_the_page_of_methods_shows_the_equation_in_the_code(name):
    assert METHODS[name].equation in (DOCS / "methods.md").read_text(encoding="utf-8")
