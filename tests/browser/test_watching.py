import json

from tests.helpers.made_up_runs import add_arrays, finish_run


def test_updates_arrive_without_changing_what_the_user_looks_at(browser, served):
    server, run = served
    page = browser.open(server.url, height=500)
    page.wait("return document.getElementById('live').textContent.includes('step 40 of 40')")
    page.view("curves")
    page.control("curves-preset-all").click()
    page.control("curves-log").click()
    page.js("scrollTo(0, 300)")
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 45, "epoch": 4.5, "loss": 0.01, "seconds": 9.0}) + "\n")
    page.wait("return document.getElementById('live').textContent.includes('step 45')")
    assert page.control("curves-preset-all").get_attribute("aria-pressed") == "true"
    assert page.control("curves-log").get_attribute("aria-pressed") == "true"
    assert page.js("return document.activeElement.dataset.key") == "curves-log"
    assert page.js("return scrollY") == 300
    label = page.find('#panel-curves [data-curve="loss"] svg.chart').get_attribute("aria-label")
    assert "rkd-d 0.01" in label
    add_arrays(run)
    finish_run(run, "rkd-d", 0)
    page.wait("return document.getElementById('live').textContent.includes('finished')")
    assert page.errors() == []
    assert {url.removeprefix(server.url) for url in page.requests()} <= {"", "version", "content"}


def test_a_lost_server_is_reported(browser, served):
    server, _ = served
    page = browser.open(server.url)
    page.wait("return document.getElementById('live').textContent.includes('step 40')")
    server.socket.close()
    page.wait("return document.getElementById('live').textContent.includes('No updates')")
