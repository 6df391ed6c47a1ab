"""Fixtures: a headless Chromium, and runs to show in it."""

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mrkd.config import Config

CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(item.fspath).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def chromium(tmp_path_factory) -> Iterator[object]:
    """One browser for all tests; each test opens a new page."""
    from selenium import webdriver

    if not (CHROMIUM and DRIVER):
        pytest.skip("no Chromium here: 'make chromium' installs Debian's where apt-get may")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_script_timeout(60)
    yield driver
    driver.quit()


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> list[Path]:
    """Short runs on shapes, of two methods, one with two seeds, with all data that the page shows."""
    from mrkd.attention import attend
    from mrkd.config.overrides import build, load_recipe
    from mrkd.evaluation.evaluate_run import evaluate
    from mrkd.train.pretrain import pretrain

    config = build(
        {
            **load_recipe("quick"),
            "data.source": "shapes",
            "data.train_images": 120,
            "data.test_images": 60,
            "train.epochs": 2,
            "train.batch": 40,
            "train.log_steps": 1,
            "train.monitor_times": 3,
            "train.relation_images": 12,
            "model.width": 16,
            "model.depth": 2,
            "model.heads": 2,
            "evaluation.linear_epochs": [2],
            "evaluation.finetune_epochs": 0,
            "evaluation.cluster_restarts": 1,
            "evaluation.cluster_head_epochs": 0,
            "attention.images": 3,
            "attention.scale": 2,
        }
    )
    folder, paths = tmp_path_factory.mktemp("runs"), []
    for method, seed in (("random", 0), ("ibot", 0), ("ibot", 1), ("rkd-d", 0)):
        path = pretrain(_variant(config, method, seed), folder / f"{method}-seed{seed}")
        evaluate(path)
        attend(path)
        paths.append(path)
    return paths


def _variant(config: Config, method: str, seed: int) -> Config:
    return dataclasses.replace(
        config,
        objective=dataclasses.replace(config.objective, method=method),
        train=dataclasses.replace(config.train, seed=seed),
    )


@pytest.fixture(scope="session")
def page_file(trained, tmp_path_factory) -> Path:
    """The page about these runs, without figures."""
    from mrkd.reporting.content import page_content
    from mrkd.reporting.html import render
    from mrkd.reporting.read import read_runs

    target = tmp_path_factory.mktemp("page") / "report.html"
    target.write_text(render(page_content(read_runs(trained), "mrkd compare")))
    return target


class Page:
    """The page in the browser, with actions of a user."""

    def __init__(self, driver) -> None:
        self.driver = driver

    def open(self, url: str, *, width: int = 1280, height: int = 900, scheme: str = "light") -> "Page":
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.driver.get("about:blank")
        self.driver.get_log("browser")
        self.driver.get_log("performance")
        self.driver.get(url)
        self.wait("return document.getElementById('tabs')?.children.length === 5")
        return self

    def js(self, script: str, *arguments):
        return self.driver.execute_script(script, *arguments)

    def wait(self, condition: str, *arguments) -> None:
        from selenium.webdriver.support.ui import WebDriverWait

        message = f"still not: {condition}"
        WebDriverWait(self.driver, 30, 0.05).until(lambda driver: driver.execute_script(condition, *arguments), message)

    def find(self, selector: str):
        return self.driver.find_element("css selector", selector)

    def all(self, selector: str) -> list:
        return self.driver.find_elements("css selector", selector)

    def view(self, name: str) -> None:
        self.find(f"#tab-{name}").click()

    def control(self, key: str):
        return self.find(f'#panels [role="tabpanel"]:not([hidden]) [data-key="{key}"]')

    def slide(self, key: str, value: float) -> None:
        """Drag a slider to a value."""
        script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}))"
        self.js(script, self.control(key), value)

    def pixels(self, selector: str) -> str:
        """The content of a canvas, to detect changes."""
        return self.js("return document.querySelector(arguments[0]).toDataURL()", selector)

    def saved(self, kind: str, name: str) -> tuple[str, int, str]:
        """Press the button that saves the figure `name...` as SVG or PNG: type, size in bytes, and text of the file."""
        script = """
            const [kind, name, done] = arguments, make = URL.createObjectURL;
            URL.createObjectURL = (blob) => {
                URL.createObjectURL = make;
                blob.text().then((text) => done([blob.type, blob.size, text]));
                return make(blob);
            };
            document.querySelector(`[role="tabpanel"]:not([hidden]) [data-key^="save-${kind}-${name}"]`).click();
        """
        return tuple(self.driver.execute_async_script(script, kind, name))

    def errors(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]

    def requests(self) -> list[str]:
        """All URLs requested since the page was opened, except data URLs of the page."""
        import json

        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [entry for entry in messages if entry["method"] == "Network.requestWillBeSent"]
        urls = [entry["params"]["request"]["url"] for entry in sent]
        return [url for url in urls if not url.startswith(("data:", "blob:", "about:"))]


@pytest.fixture
def browser(chromium) -> Page:
    return Page(chromium)


@pytest.fixture
def page(browser, page_file) -> Iterator[Page]:
    """The opened report. At the end there must be no errors in the console and no network requests."""
    opened = browser.open(page_file.as_uri())
    yield opened
    assert opened.errors() == []
    assert opened.requests() == [page_file.as_uri()]
