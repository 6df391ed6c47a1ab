import json
import re

import numpy as np
import pytest

from mrkd.cli import main
from mrkd.errors import UserError
from mrkd.reporting import report
from mrkd.reporting.content import page_content, to_json
from mrkd.reporting.html import render
from mrkd.reporting.link import EXPORT, IMPORT, link, page_file
from mrkd.reporting.read import read_run, read_runs
from mrkd.reporting.table import make_table, table_markdown
from tests.helpers.made_up_runs import add_arrays, finish_run, make_run

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&\"'$x_1$"


def page_of(*runs, command=""):
    """The page without figures, which take longer to draw."""
    return render(page_content(read_runs(runs), command))


def content_of(page: str) -> dict:
    [found] = re.findall(r'<script type="application/json" id="content">(.*?)</script>', page, re.DOTALL)
    return json.loads(found)


def test_a_report_holds_every_view_of_its_runs(tmp_path):
    for seed in (0, 1):
        add_arrays(make_run(tmp_path / "table" / "runs" / f"rkd-d-seed{seed}", seed=seed))
    make_run(tmp_path / "table" / "runs" / "random-seed0", method="random", accuracy=30.0)
    page = page_of(tmp_path / "table")
    content = content_of(page)
    assert [run["name"] for run in content["runs"]][:2] == ["rkd-d-seed0", "rkd-d-seed1"]
    assert content["table"]["rows"][0]["cells"]["knn"] == {
        "mean": 80.5,
        "std": pytest.approx(0.7071, abs=1e-4),
        "values": [80.0, 81.0],
    }
    assert content["table"]["rows"][0]["cells"]["jaccard"]["mean"] == 30.0
    for view in ("attention", "maps", "relations"):
        assert len(content[view]["views"]) == 1  # one seed of each method
    assert len(content["runs"][0]["metrics"]["step"]) == 5
    assert "80.5 ± 0.7" in page  # without JavaScript, too


def test_runs_that_differ_in_more_than_the_seed_are_separate_rows(tmp_path):
    first, second, longer = (make_run(tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 1), ("c", 1)))
    config = json.loads((longer / "config.yaml").read_text())
    config["train"]["epochs"] = 9
    (longer / "config.yaml").write_text(json.dumps(config))
    methods = [run.method for run in read_runs([first, second, longer])]
    assert methods == ["rkd-d, epochs 4", "rkd-d, epochs 4", "rkd-d, epochs 9"]
    assert [run.method for run in read_runs([first, second])] == ["rkd-d", "rkd-d"]
    again = make_run(tmp_path / "again", seed=0)
    assert [run.method for run in read_runs([first, again])] == ["rkd-d, a", "rkd-d, again"]


def test_a_report_replaces_a_report_and_nothing_else(tmp_path):
    run = make_run(tmp_path / "run")
    (tmp_path / "mine.html").write_text("<title>mine</title>")
    for name, message in (("e.parquet", "ending in .html"), ("mine.html", "not a report of mrkd")):
        with pytest.raises(UserError, match=message):
            report(run, tmp_path / name)
    assert (tmp_path / "mine.html").read_text() == "<title>mine</title>"
    page = report(run)
    assert report(run) == page


def test_another_page_in_the_folder_has_its_own_figures(tmp_path, monkeypatch):
    import mrkd.reporting.figures

    folders = []
    monkeypatch.setattr(mrkd.reporting.figures, "write_figures", lambda runs, folder: folders.append(folder.name))
    make_run(tmp_path / "run")
    for name in ("report.html", "early.html"):
        report(tmp_path / "run", tmp_path / "out" / name)
    assert folders == ["figures", "early-figures"]


def test_names_and_verdicts_are_escaped_in_the_page(tmp_path):
    run = make_run(tmp_path / "a&b<i>", method=HOSTILE, sentence=HOSTILE)
    add_arrays(run, class_names=[HOSTILE, "dog"])
    page = page_of(run, command=HOSTILE)
    assert page.count("<script") == 2
    assert "<img" not in page
    content = content_of(page)
    assert content["methods"] == [HOSTILE]
    assert content["command"] == HOSTILE
    assert content["maps"]["sets"][0]["classNames"][0] == HOSTILE


def test_of_very_many_classes_the_map_has_those_with_images(tmp_path):
    run = make_run(tmp_path / "run")
    add_arrays(run)
    arrays = dict(np.load(run / "embedding.npz"))
    arrays["class_names"] = np.array([str(number) for number in range(70_000)])
    arrays["labels"] = arrays["labels"] + 69_990
    np.savez(run / "embedding.npz", **arrays)
    names = content_of(page_of(run))["maps"]["sets"][0]["classNames"]
    assert names == [str(number) for number in np.unique(arrays["labels"])]


def test_names_cannot_steer_the_terminal_of_whoever_prints_the_page_or_the_table(tmp_path):
    run = make_run(tmp_path / "run", method="ibot\x1b[2J\n\u202e")
    add_arrays(run, class_names=["cat\x1b]0;x\x07", "dog\n"])
    page = report(run, tmp_path / "out" / "report.html").read_text()
    content = content_of(page)
    assert content["methods"] == [r"ibot\x1b[2J\n\u202e"]
    assert content["maps"]["sets"][0]["classNames"] == [r"cat\x1b]0;x\x07", r"dog\n"]
    svgs = [path.read_text() for path in (tmp_path / "out" / "figures").glob("*.svg")]
    assert r"dog\n" in "".join(svgs)
    assert not set("\x1b\x07\u202e") & set(page + "".join(svgs) + table_markdown(make_table([read_run(run)])))


@pytest.mark.parametrize("name", ["summary.json", "evaluation.json", "attention.json"])
@pytest.mark.parametrize("content", ["[]", "{}", "null", "7", '{"data": 3}', "[" * 100_000, "\x00"])
def test_a_damaged_file_of_a_run_is_named_in_one_line(tmp_path, capsys, name, content):
    run = make_run(tmp_path / "run")
    (run / name).write_text(content)
    assert main(["report", str(run)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"mrkd: {run / name} ")
    assert error.count("\n") == 1


def test_numbers_that_are_not_finite_are_left_out(tmp_path):
    run = make_run(tmp_path / "run")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 50, "loss": NaN, "rankme": Infinity, "terms": {"a": "text"}, "agreement": true}\n')
    content = json.loads(to_json(page_content([read_run(run)], "")))
    values = content["runs"][0]["metrics"]
    assert values["step"][-1] == 50
    assert values["values"]["loss"][-1] is None
    assert values["terms"]["a"] == [None] * 6


def test_a_curve_that_is_zero_throughout_is_shown(tmp_path):
    run = make_run(tmp_path / "a")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    (run / "metrics.jsonl").write_text("".join(json.dumps({**row, "feature_std": 0.0}) + "\n" for row in rows))
    [shown] = page_content(read_runs([run]), "")["runs"]
    assert shown["metrics"]["values"]["feature_std"] == [0.0] * len(rows)


def test_a_run_in_training_is_shown_with_the_available_data(tmp_path):
    run = make_run(tmp_path / "run", finished=False)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 50, "lo')  # being written
    content = content_of(page_of(run))
    [shown] = content["runs"]
    assert not shown["finished"]
    assert (shown["step"], shown["steps"]) == (40, 40)
    assert content["table"]["rows"] == []


def test_a_run_that_has_not_begun_to_log_is_shown(tmp_path):
    run = make_run(tmp_path / "run", finished=False)
    (run / "metrics.jsonl").unlink()
    assert content_of(page_of(run))["runs"][0]["step"] == 0


def test_older_runs_without_arrays_are_shown(tmp_path):
    content = content_of(page_of(make_run(tmp_path / "run")))
    assert content["attention"]["views"] == content["maps"]["views"] == content["relations"]["views"] == []


def test_long_runs_keep_all_measurements(tmp_path):
    run = make_run(tmp_path / "run")
    rows = [{"step": step, "loss": 1.0} | ({"rankme": 2.0} if step == 4321 else {}) for step in range(10_000)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    metrics = page_content([read_run(run)], "")["runs"][0]["metrics"]
    assert 500 <= len(metrics["step"]) <= 1002
    assert 4321 in metrics["step"]
    assert metrics["step"][-1] == 9999


def test_five_methods_stay_below_fifteen_megabytes(tmp_path):
    methods = ("random", "ibot", "rkd-d", "rkd-a", "structural")
    for method in methods:  # noise with as many heads as ViT-B, on the finest supported grid
        add_arrays(make_run(tmp_path / method, method), images=6, heads=12, grid=16, mapped=1000, batch=64, moments=9)
    page = page_of(*(tmp_path / method for method in methods))
    assert len(page.encode()) < 15e6
    assert all(view["patches"] for view in content_of(page)["attention"]["views"])


def test_the_page_loads_no_external_resources(tmp_path):
    page = page_of(make_run(tmp_path / "run"))
    outside = [url for url in re.findall(r"https?://[^\s\"'<)]+", page) if not url.startswith("http://www.w3.org/")]
    assert outside == []
    assert "default-src 'none'" in page
    assert "connect-src 'none'" in page
    assert not re.search(r"\son\w+=", re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL))


def test_the_modules_of_the_page_become_one_script():
    script = link()
    assert not re.search(r"^(import|export)\b", script, re.MULTILINE)
    names = re.findall(r"^(?:async )?(?:function|const|let|class) (\w+)", script, re.MULTILINE)
    assert len(names) == len(set(names)), sorted(name for name in names if names.count(name) > 1)


def test_every_import_of_the_page_is_exported_where_it_comes_from():
    seen, left = set(), ["main"]
    while left:
        module = left.pop()
        if module in seen:
            continue
        seen.add(module)
        for names, source in IMPORT.findall(page_file(f"{module}.js")):
            declared = EXPORT.pattern + r"(?:async )?(?:function|const|class) (\w+)"
            exported = re.findall(declared, page_file(f"{source}.js"), re.MULTILINE)
            for name in filter(None, (part.strip() for part in names.split(","))):
                assert name in exported, f"{module}.js imports {name} from {source}.js"
                assert re.search(rf"\b{name}\b", IMPORT.sub("", page_file(f"{module}.js"))), f"{module}.js: {name}"
            left.append(source)


def test_errors_are_reported_in_one_line(tmp_path):
    with pytest.raises(UserError, match="no run at"):
        report(tmp_path)
    run = make_run(tmp_path / "run")
    finish_run(run, "rkd-d", 0)
    (run / "embedding.npz").write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"embedding.npz is damaged"):
        report(run)
    (run / "config.yaml").write_text("train: {}")
    with pytest.raises(UserError, match="must name objective"):
        report(run)
