import json

import numpy as np
import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from mrkd.reporting.content import page_content
from mrkd.reporting.html import render
from mrkd.reporting.read import read_runs
from tests.helpers.made_up_runs import add_arrays, make_run

VIEWS = ("overview", "curves", "attention", "map", "relations")


def test_the_table_is_sorted_by_a_click_and_back_by_another(page):
    def rows():
        return page.all("#panel-overview tbody tr")

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
    assert page.find('#panel-overview th[aria-sort="ascending"]').text.startswith("k-NN")
    page.control("sort-method").send_keys(Keys.ENTER)
    assert order() == sorted(order())
    assert page.js("return document.activeElement.dataset.key") == "sort-method"  # the focus stays


def test_means_have_their_spread_and_a_dot_per_seed(page):
    row = page.find('#panel-overview tr[data-method="ibot"] td')
    assert "±" in row.text
    assert len(row.find_elements("css selector", "circle")) == 2


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


def test_log_scale_smoothing_seeds_and_axis_change_the_curves(page):
    page.view("curves")
    page.control("curves-preset-health").click()
    assert len(page.all("#panel-curves figure")) >= 5

    def line():
        return page.find('#panel-curves [data-curve="rankme"] polyline').get_attribute("points")

    before = line()
    page.slide("curves-smooth", 0.9)
    assert line() != before
    page.slide("curves-smooth", 0)
    assert line() == before
    page.control("curves-log").click()
    assert line() != before
    page.control("curves-seeds-lines").click()
    assert len(page.all('#panel-curves [data-curve="rankme"] polyline')) == 3
    page.js(
        "const c = arguments[0]; c.value = 'seconds'; c.dispatchEvent(new Event('change'))", page.control("curves-x")
    )
    assert "seconds" in page.find("#panel-curves figure").text


def test_the_curves_are_those_in_the_metrics(page, trained):
    rows = [json.loads(line) for line in (trained[-1] / "metrics.jsonl").read_text().splitlines()]
    last = [row for row in rows if "rankme" in row][-1]["rankme"]
    page.view("curves")
    page.control("curves-preset-health").click()
    label = page.find('#panel-curves [data-curve="rankme"] svg.chart').get_attribute("aria-label")
    assert f"rkd-d {float(f'{last:.3g}'):g}" in label


def test_clicking_a_patch_shows_attention_from_there(page):
    page.view("attention")
    page.wait("return document.querySelector('#panel-attention .explorer')?.dataset.drawn === '1'")
    shown = '#panel-attention [data-method="rkd-d"] .cells figure:nth-child(2) canvas'
    token = page.pixels(shown)
    picker = page.find("#panel-attention [data-picker]")
    ActionChains(page.driver).move_to_element_with_offset(picker, -40, 30).click().perform()
    page.wait("return document.querySelector('#panel-attention .picker h3').textContent.includes('row')")
    page.wait("return document.querySelector('#panel-attention .explorer')?.dataset.drawn === '1'")
    patch = page.pixels(shown)
    assert patch != token
    heading = page.find("#panel-attention .picker h3").text
    page.control("attention-picker").send_keys(Keys.ARROW_RIGHT)
    assert page.find("#panel-attention .picker h3").text != heading
    page.control("attention-picker").send_keys(Keys.ESCAPE)
    assert page.find("#panel-attention .picker h3").text == "From the class token"


def test_the_slider_changes_the_mask_and_its_overlap_with_the_object(page):
    page.view("attention")
    page.control("attention-mode-mask").click()
    number = '#panel-attention [data-method="ibot"] .number'
    text = "return document.querySelector(arguments[0]).textContent"
    page.slide("attention-mass", 0.2)
    page.wait(f"{text}.includes('hold 20 %')".replace("return", "return ", 1), number)
    small = page.js(text, number)
    canvas = page.pixels('#panel-attention [data-method="ibot"] canvas')
    page.slide("attention-mass", 1)
    page.wait(f"{text}.includes('64 of 64 patches hold 100 %')", number)
    whole = page.js(text, number)
    assert page.pixels('#panel-attention [data-method="ibot"] canvas') != canvas
    assert "Jaccard with the object" in small
    assert small.split("Jaccard")[1] != whole.split("Jaccard")[1]


def test_the_overlap_of_the_full_mask_is_the_objects_fraction_of_the_image(page, trained):
    from mrkd.runs.npz import read_npz
    from mrkd.runs.run import ATTENTION

    share = 100 * read_npz(trained[0] / ATTENTION)["objects"][0].mean()
    page.view("attention")
    page.slide("attention-mass", 1)
    number = '#panel-attention [data-method="random"] .number'
    wanted = f"Jaccard with the object {share:.1f} %"
    page.wait("return document.querySelector(arguments[0]).textContent.includes(arguments[1])", number, wanted)


def test_figure_three_is_drawn_and_saved(page):
    page.view("attention")
    page.control("attention-preset-fig-3").click()
    page.wait("return document.querySelectorAll('#panel-attention .poster svg image').length === 3 * 5")
    saved = """
        const done = arguments[0], make = URL.createObjectURL;
        URL.createObjectURL = (blob) => {
            URL.createObjectURL = make;
            blob.text().then((text) => done([blob.type, blob.size, text.slice(0, 900)]));
            return make(blob);
        };
        document.querySelector('#panel-attention [data-key^="save-KIND-fig3"]').click();
    """
    kind, size, text = page.driver.execute_async_script(saved.replace("KIND", "SVG"))
    assert kind == "image/svg+xml"
    assert text.startswith("<svg ")
    assert 'xmlns="http://www.w3.org/2000/svg"' in text
    kind, size, _ = page.driver.execute_async_script(saved.replace("KIND", "PNG"))
    assert kind == "image/png"
    assert size > 10_000


def test_random_weights_are_shown_beside_every_jaccard_index(page):
    page.view("attention")
    table = page.find("#panel-attention table.jaccard").text
    assert "random weights" in table
    assert "rkd-d" in table


def test_a_point_of_the_map_shows_its_image_and_a_click_its_neighbours(page):
    page.view("map")
    page.wait("return document.querySelector('#panel-map .clouds')?.dataset.drawn === 'yes'")
    cloud = page.control("map-cloud-rkd-d")
    cloud.send_keys(Keys.ARROW_RIGHT)
    page.wait("return !document.getElementById('tip').hidden && document.querySelector('#tip canvas')")
    first = page.find("#tip").text
    page.control("map-cloud-rkd-d").send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert page.find("#tip").text != first
    page.control("map-cloud-rkd-d").send_keys(Keys.ENTER)
    page.wait("return document.querySelectorAll('#panel-map .neighbours figure').length === 3 * 9")
    page.control("map-colour-cluster").click()
    page.wait("return document.querySelector('#panel-map .clouds')?.dataset.drawn === 'yes'")
    assert "cluster 1" in page.find("#panel-map .legend").text
    page.control("map-layout-pca").click()
    page.wait("return document.querySelector('#panel-map .number').textContent.includes('of the variance')")


def test_the_mouse_finds_points_of_the_map(page, trained):
    from mrkd.runs.npz import read_npz
    from mrkd.runs.run import EMBEDDING

    points = read_npz(trained[1] / EMBEDDING)["tsne"]
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1) + 1e9 * np.eye(len(points))
    lonely = int(apart.min(axis=1).argmax())
    low, high = points.min(axis=0), points.max(axis=0)
    from_middle = (points[lonely] - (low + high) / 2) / (high - low).max() * (640 - 2 * 22) / 640
    page.view("map")
    page.wait("return document.querySelector('#panel-map .clouds')?.dataset.drawn === 'yes'")
    cloud = page.control("map-cloud-ibot")
    page.js("arguments[0].scrollIntoView({block: 'center'})", cloud)
    across, up = (from_middle * cloud.size["width"]).round()
    place = ActionChains(page.driver).move_to_element_with_offset(cloud, int(across), int(-up))
    place.perform()
    assert f"image {lonely + 1} " in page.find("#tip").text
    place.click().perform()
    page.wait("return document.querySelectorAll('#panel-map .neighbours figure').length === 3 * 9")


def test_relations_are_shown_early_and_late(page, trained):
    from mrkd.runs.npz import read_npz
    from mrkd.runs.run import RELATIONS

    page.view("relations")
    page.control("relations-method-rkd-d").click()
    page.wait("return document.querySelectorAll('#panel-relations .moment[data-drawn]').length === 2")
    arrays = read_npz(trained[-1] / RELATIONS)
    for name, moment in (("Early", 0), ("Late", -1)):
        wanted = np.corrcoef(arrays["teacher"][moment], arrays["student"][moment])[0, 1]
        text = page.find(f'#panel-relations [data-moment="{name}"]').text
        assert f"Correlation of distances {wanted:.3f}" in text
    page.slide("relations-Early", 1)
    page.wait("return document.querySelector('#panel-relations .moment h3').textContent === 'Early: step 2'")


def test_the_losses_below_the_relations_equal_those_of_training(page, trained):
    import torch

    from mrkd.runs.npz import read_npz
    from mrkd.runs.run import RELATIONS
    from tests.helpers.explicit_relations import explicit_angle, explicit_distance

    arrays = read_npz(trained[-1] / RELATIONS)
    images = arrays["views"].shape[1]
    sides = []
    for side in ("student", "teacher"):  # any points with these distances do: classical scaling gives some
        squared = torch.zeros(images, images, dtype=torch.float64)
        pairs = torch.from_numpy(arrays[side][-1].astype("float64"))
        squared[tuple(torch.triu_indices(images, images, 1))] = pairs**2
        centring = torch.eye(images, dtype=torch.float64) - 1 / images
        values, vectors = torch.linalg.eigh(-0.5 * centring @ (squared + squared.T) @ centring)
        sides.append(vectors * values.clamp(min=0).sqrt())
    page.view("relations")
    page.control("relations-method-rkd-d").click()
    page.wait("return document.querySelectorAll('#panel-relations .moment[data-drawn]').length === 2")
    text = page.find('#panel-relations [data-moment="Late"]').text
    shown = [float(part.split()[1]) for part in text.split(" · ")[1:3]]
    assert shown[0] == pytest.approx(explicit_distance(*sides).item(), rel=0.01)
    assert shown[1] == pytest.approx(explicit_angle(*sides).item(), rel=0.01)


def test_tabs_are_driven_by_the_keyboard(page):
    page.find("#tab-overview").click()
    for name in (*VIEWS[1:], VIEWS[0]):
        page.js("return document.activeElement").send_keys(Keys.ARROW_RIGHT)
        assert page.js("return document.activeElement.id") == f"tab-{name}"
        assert page.js("return document.querySelectorAll('[role=tabpanel]:not([hidden])').length") == 1
    assert page.find("#tab-overview").get_attribute("aria-selected") == "true"


def test_every_control_and_picture_has_a_name(page):
    script = """
        const kinds = ["button", "input", "select", "canvas[tabindex]", "svg[tabindex]"];
        const named = (one) => (one.getAttribute("aria-label") ?? one.textContent).trim();
        const found = [...document.querySelectorAll(kinds.map((kind) => `#panels ${kind}`))];
        return found.filter((one) => !named(one)).map((one) => one.outerHTML.slice(0, 120));
    """
    for name in VIEWS:
        page.view(name)
        assert page.js(script) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_every_view_fits_its_width_in_both_themes(browser, page_file, width, scheme):
    page = browser.open(page_file.as_uri(), width=width, scheme=scheme)
    assert page.js("return document.documentElement.dataset.theme") == scheme
    shade = page.js("return getComputedStyle(document.body).backgroundColor")
    assert (sum(int(part) for part in shade[4:-1].split(",")) > 384) == (scheme == "light")
    for name in VIEWS:
        page.js("document.getElementById(arguments[0]).click()", f"tab-{name}")
        page.js("return new Promise((done) => setTimeout(done, 100))")
        assert page.js("return document.documentElement.scrollWidth") <= width, name
    assert page.errors() == []


def test_the_theme_can_be_chosen(page):
    page.find('[data-key="theme-dark"]').click()
    assert page.js("return document.documentElement.dataset.theme") == "dark"


def test_on_paper_every_view_is_printed(page):
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    page.js("dispatchEvent(new Event('beforeprint'))")
    heights = page.js("return [...document.querySelectorAll('[role=tabpanel]')].map((panel) => panel.offsetHeight)")
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert all(height > 100 for height in heights)


def test_the_page_opens_at_once(browser, tmp_path):
    methods = ("random", "ibot", "rkd-d", "rkd-a", "structural")
    for method in methods:
        add_arrays(make_run(tmp_path / method, method), images=6, heads=6, grid=12, mapped=1000, batch=64, moments=9)
    file = tmp_path / "report.html"
    file.write_text(render(page_content(read_runs([tmp_path / method for method in methods]), "")))
    opened = browser.open(file.as_uri())
    script = (
        "const [entry] = performance.getEntriesByType('navigation'); return entry.loadEventEnd || entry.domComplete"
    )
    assert 0 < opened.js(script) < 2000


def test_hostile_names_are_shown_as_text(browser, tmp_path):
    name = "</script><img src=x onerror='window.owned = 1'><svg onload='window.owned = 1'>${window.owned = 1}"
    run = make_run(tmp_path / "<b>run</b>", method=name, sentence=name)
    add_arrays(run, class_names=[name, "__proto__"])
    file = tmp_path / "report.html"
    file.write_text(render(page_content(read_runs([run]), name)))
    page = browser.open(file.as_uri())
    for view in VIEWS:
        page.view(view)
        page.js("return new Promise((done) => setTimeout(done, 150))")
        assert page.js("return window.owned") is None
        assert page.all("#panels img") == []
        assert name in page.find(f"#panel-{view}").text
    assert page.errors() == []
    assert page.requests() == [file.as_uri()]
