"""The page as a whole: tabs, themes, widths, printing, speed and hostile names."""

import pytest
from selenium.webdriver.common.keys import Keys

from mrkd.reporting.content import page_content
from mrkd.reporting.html import render
from mrkd.reporting.read import read_runs
from tests.helpers.made_up_runs import add_arrays, make_run

VIEWS = ("overview", "curves", "attention", "map", "relations")


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
