"""The script that keeps tables for the result pages."""

from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parent.parent.parent / "experiments" / "keep_table.py"


@pytest.fixture(scope="module")
def keep() -> Any:
    module: Any = ModuleType("keep_table")
    module.__file__ = str(SCRIPT)
    SourceFileLoader("keep_table", str(SCRIPT)).exec_module(module)
    return module


def table(commit: str, images: int = 10, **knn: dict[int, float]) -> dict[str, Any]:
    """Of methods by name, each with its k-NN by seed."""
    rows = []
    for method, by_seed in knn.items():
        values = list(by_seed.values())
        figures = {"mean": sum(values) / len(values), "std": None, "values": values}
        rows.append({"method": method, "seeds": list(by_seed), "knn": figures, "peak_memory_mib": figures})
    return {"rows": rows, "data": {"name": "x", "train_images": images, "device": commit}, "commit": commit}


def test_methods_and_seeds_of_a_second_table_come_in_order_with_their_commits(keep):
    both = keep.joined(table("old", ibot={0: 1.0, 2: 3.0}), table("new", ibot={1: 5.0}, simclr={0: 7.0}))
    ibot, simclr = both["rows"]
    assert both["commit"] == "old and new"
    assert (ibot["seeds"], ibot["commits"]) == ([0, 1, 2], ["old", "new", "old"])
    assert ibot["knn"] == {"mean": 3.0, "std": 2.0, "values": [1.0, 5.0, 3.0]}
    assert ibot["peak_memory_mib"]["values"] == [5.0]
    assert (simclr["method"], simclr["commits"]) == ("simclr", ["new"])
    third = keep.joined(both, table("third", ibot={3: 3.0}))
    assert third["rows"][0]["commits"] == ["old", "new", "old", "third"]


def test_tables_that_do_not_go_together_are_refused(keep):
    with pytest.raises(SystemExit, match="ibot: seed 0 is in both"):
        keep.joined(table("a", ibot={0: 1.0}), table("b", ibot={0: 1.0}))
    with pytest.raises(SystemExit, match="of the same data"):
        keep.joined(table("a", ibot={0: 1.0}), table("b", images=11, ibot={1: 1.0}))
    without_knn = table("b", ibot={1: 1.0})
    del without_knn["rows"][0]["knn"]
    with pytest.raises(SystemExit, match=r"same figures, only one has \{'knn'\}"):
        keep.joined(table("a", ibot={0: 1.0}), without_knn)
