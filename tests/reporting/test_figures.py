"""PNG and SVG figures: which there are, and that each can stand alone."""

import json

from mrkd.reporting.figures import write_figures
from mrkd.reporting.html import report
from mrkd.reporting.read import read_runs
from tests.helpers.made_up_runs import add_arrays, make_run

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&\"'$x_1$"


def test_figures_are_saved_beside_the_page(tmp_path):
    add_arrays(make_run(tmp_path / "run", method=HOSTILE))
    report(tmp_path / "run", tmp_path / "out" / "report.html")
    names = sorted(path.name for path in (tmp_path / "out" / "figures").iterdir())
    assert len(names) == 10
    for start in ("curves", "health", "attention-", "map-", "relations-"):
        assert sum(name.startswith(start) for name in names) == 2
    for path in (tmp_path / "out" / "figures").iterdir():
        assert path.read_bytes().startswith(b"\x89PNG" if path.suffix == ".png" else b"<?xml")
    assert "<script" not in "".join(path.read_text() for path in (tmp_path / "out" / "figures").glob("*.svg"))


def test_every_figure_names_its_data_method_seed_and_scale(tmp_path):
    run = make_run(tmp_path / "run", "ibot", seed=7)
    add_arrays(run)
    config = json.loads((run / "config.yaml").read_text())
    config |= {"data": {"source": "digits", "size": 16}, "model": {"name": None, "patch": 8}}
    (run / "config.yaml").write_text(json.dumps(config))
    svgs = {path.stem: path.read_text() for path in write_figures(read_runs([run]), tmp_path) if path.suffix == ".svg"}
    for name, text in svgs.items():
        assert "digits" in text, name
        assert "ibot seed 7" in text, name
    assert "4 × 4 patches where training had 2 × 2: images are enlarged" in svgs["attention-ibot"]
    assert "maximum of the map" in svgs["attention-ibot"]
    assert "2.2 times the mean, or more" in svgs["relations-ibot"]
    assert "lines between classes" in svgs["relations-ibot"]
    assert "thin: single batches, thick: smoothed over 5% of the run" in svgs["curves"]


def test_curves_that_no_run_has_logged_leave_no_empty_axes(tmp_path):
    run = make_run(tmp_path / "run")  # no teacher entropy, and of the health curves three
    svgs = {path.stem: path.read_text() for path in write_figures(read_runs([run]), tmp_path) if path.suffix == ".svg"}
    assert svgs.keys() == {"curves", "health"}
    for name, axes in (("curves", 2), ("health", 3)):
        assert svgs[name].count('id="axes_') == axes
        assert "teacher entropy" not in svgs[name]
