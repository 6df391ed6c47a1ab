"""Overview and curves: tables, claims, and metrics over time."""

import json

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from mrkd.reporting.conclusion import conclusion
from mrkd.reporting.content import page_content
from mrkd.reporting.curves import smoothed
from mrkd.reporting.html import render
from mrkd.reporting.read import read_runs
from mrkd.reporting.table import make_table
from tests.helpers.made_up_runs import make_run


def test_the_table_is_sorted_by_a_click_and_back_by_another(page):
    def rows():
        return page.all("#panel-overview .comparison tbody tr")

    def order():
        return [row.get_attribute("data-method") for row in rows()]

    def values(column):
        cells = [row.find_elements("css selector", "th, td")[column] for row in rows()]
        return [float(cell.get_attribute("data-value")) for cell in cells]

    assert order() == ["random", "ibot", "rkd-d"]
    page.control("sort-knn").click()
    assert values(1) == sorted(values(1), reverse=True)
    page.control("sort-knn").click()
    assert values(1) == sorted(values(1))
    assert page.find('#panel-overview th[aria-sort="ascending"] button').get_attribute("data-key") == "sort-knn"
    page.control("sort-method").send_keys(Keys.ENTER)
    assert order() == sorted(order())
    assert page.js("return document.activeElement.dataset.key") == "sort-method"  # the focus stays


def test_means_have_their_spread_and_a_dot_per_seed(page):
    row = page.find('#panel-overview tr[data-method="ibot"] td')
    assert "±" in row.text
    assert len(row.find_elements("css selector", "circle")) == 2


def test_the_first_sentence_is_that_of_the_terminal_and_one_seed_shades_nothing(page, trained):
    rows = make_table(read_runs(trained))["rows"]
    sentence = page.find("#panel-overview .conclusion").text
    assert sentence == conclusion(rows)
    assert "one seed cannot decide" in sentence
    assert page.all("#panel-overview td.best") == []


def test_further_columns_wait_behind_a_button(page):
    shown = page.all("#panel-overview .comparison thead tr:nth-child(2) th")
    page.control("table-all").click()
    assert len(page.all("#panel-overview .comparison thead tr:nth-child(2) th")) > len(shown)
    assert page.js("return document.activeElement.dataset.key") == "table-all"


def test_three_seeds_shade_the_better_method_and_random_weights_lie_outside_the_axis(browser, tmp_path):
    for method, accuracy in (("random", 30.0), ("ibot", 80.0), ("rkd-d", 82.0)):
        for seed in range(3):
            make_run(tmp_path / "runs" / f"{method}-seed{seed}", method, seed, accuracy=accuracy)
    page = browser.open(_written(tmp_path / "report.html", tmp_path), width=390)
    assert page.find(".conclusion").text.startswith("rkd-d leads ibot by 2.0 points of k-NN (95 % interval 2.0 to 2.0")
    shaded = [cell.get_attribute("data-value") for cell in page.all('tr[data-method="rkd-d"] td.best')]
    assert len(page.all("td.best")) == len(shaded) == 2  # k-NN and linear
    assert len(page.all('tr[data-method="random"] .outside')) == 2
    assert page.find('.differences tr[data-other="ibot"]').text.endswith("told apart")
    assert page.find('.scroller[data-more="right"] .hint').is_displayed()
    assert "random weights; nothing was trained" in page.find(".verdicts").text
    assert page.errors() == []


def test_a_single_run_has_words_of_its_own(browser, tmp_path):
    page = browser.open(_written(tmp_path / "report.html", make_run(tmp_path / "run", "ibot")))
    assert page.find("h1").text == "ibot on digits"
    assert page.find('.results tr[data-column="knn"]').text == "k-NN, top-1 80.0 %"
    text = page.find("body").text
    for word in ("leads", "best", "methods", "shaded"):
        assert word not in text.replace("mrkd compare' trains several methods", "")


def _written(target, *runs) -> str:
    target.write_text(render(page_content(read_runs(runs), "")))
    return target.as_uri()


def test_a_curve_is_toggled(page):
    page.view("curves")
    drawn = '#panel-curves [data-curve="relative"] [data-series="ibot"]'
    assert len(page.all(drawn)) == 1
    page.find('#panel-curves [data-method="ibot"]').click()
    assert page.all(drawn) == []
    assert page.find('#panel-curves [data-method="ibot"]').get_attribute("aria-pressed") == "false"
    page.find('#panel-curves [data-method="ibot"]').click()
    assert len(page.all(drawn)) == 1


def test_hovering_over_a_chart_shows_step_time_and_values(page):
    page.view("curves")
    chart = page.find('#panel-curves [data-curve="relative"] svg.chart')
    ActionChains(page.driver).move_to_element(chart).perform()
    page.wait("return !document.getElementById('tip').hidden")
    tip = page.find("#tip").text
    assert "step " in tip
    assert " s\n" in tip
    assert "rkd-d" in tip
    assert "±" in tip
    # The cursors of the other charts move along.
    assert page.js("return document.querySelectorAll('#panel-curves g[visibility=visible]').length") >= 2
    chart.send_keys(Keys.END)
    page.wait("return document.getElementById('announcer').textContent.startsWith('step 6')")


def test_log_scale_seeds_and_axis_change_the_curves(page):
    page.view("curves")
    page.control("curves-preset-health").click()
    assert len(page.all("#panel-curves figure")) >= 5

    def line():
        return page.find('#panel-curves [data-curve="rankme"] polyline').get_attribute("points")

    before = line()
    page.control("curves-log").click()
    assert line() != before
    page.control("curves-seeds-lines").click()
    assert len(page.all('#panel-curves [data-curve="rankme"] polyline')) == 3
    page.js(
        "const c = arguments[0]; c.value = 'seconds'; c.dispatchEvent(new Event('change'))", page.control("curves-x")
    )
    assert "seconds" in page.find("#panel-curves figure").text


def test_single_batches_stand_beside_a_smoothed_line_and_fixed_sets_are_not_smoothed(page, trained):
    page.view("curves")
    page.control("curves-preset-health").click()

    def line(curve):
        return page.find(f'#panel-curves [data-curve="{curve}"] [data-series="rkd-d"]').get_attribute("points")

    before = line("cls_cosine"), line("rankme")
    page.slide("curves-smooth", 0.2)
    assert line("cls_cosine") != before[0]
    assert line("rankme") == before[1]
    assert len(page.all('#panel-curves [data-curve="cls_cosine"] polyline')) == 2 + 3  # ibot's mean, rkd-d; each run
    rows = [json.loads(line) for line in (trained[-1] / "metrics.jsonl").read_text().splitlines()]
    steps, values = zip(*((row["step"], row["cls_cosine"]) for row in rows if "cls_cosine" in row), strict=True)
    label = page.find('#panel-curves [data-curve="cls_cosine"] svg.chart').get_attribute("aria-label")
    shown = float(label.split("rkd-d ")[1].split()[0].rstrip("."))
    assert shown == pytest.approx(smoothed(steps, values, 0.2)[-1], rel=0.005)
    page.slide("curves-smooth", 0)
    assert len(page.all('#panel-curves [data-curve="cls_cosine"] polyline')) == 2


def test_a_saved_curve_has_its_legend_data_and_seeds(page):
    page.view("curves")
    text = page.saved("SVG", "shapes loss")[2]
    assert "shapes · seeds: random 0; ibot 0, 1; rkd-d 0" in text
    assert ">rkd-d</text>" in text


def test_the_curves_are_those_in_the_metrics(page, trained):
    rows = [json.loads(line) for line in (trained[-1] / "metrics.jsonl").read_text().splitlines()]
    last = [row for row in rows if "rankme" in row][-1]["rankme"]
    page.view("curves")
    page.control("curves-preset-health").click()
    label = page.find('#panel-curves [data-curve="rankme"] svg.chart').get_attribute("aria-label")
    assert f"rkd-d {float(f'{last:.3g}'):g}" in label


def test_runs_are_laid_against_each_other(browser, trained, tmp_path):
    content = page_content(read_runs(trained), "mrkd compare")
    names = content["across"]["similarity"]["runs"]
    number = next(one for one in content["across"]["predictors"]["numbers"] if one["key"] == "rankme")
    equal = {**number, "title": "LiDAR", "spearman": None}
    content["across"]["predictors"]["numbers"] = [{**number, "spearman": -0.5}, equal]
    target = tmp_path / "report.html"
    target.write_text(render(content))
    page = browser.open(target.as_uri())
    assert [row.text for row in page.all('[aria-label="Rank correlations with the linear probe"] tbody tr')] == [
        "RankMe -0.50 4",
        "LiDAR all equal 4",
    ]
    assert len(page.all(".scatters circle")) == 4
    assert len(page.all(".alike tbody td")) == len(names) ** 2
