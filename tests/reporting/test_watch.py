import http.client
import json

import pytest

from mrkd.errors import UserError
from mrkd.reporting.watch import WatchServer
from tests.helpers.made_up_runs import finish_run


def ask(server, path, host=None, method="GET"):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    connection.putrequest(method, path, skip_host=True)
    for name in [host] if isinstance(host, str) else host or [f"127.0.0.1:{server.server_port}"]:
        connection.putheader("Host", name)
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, answer.read().decode(), answer.headers


def test_the_page_of_a_running_job_is_served_and_updated(served):
    server, run = served
    status, page, headers = ask(server, "/")
    assert status == 200
    assert "connect-src 'self'" in page
    assert headers["Cache-Control"] == "no-store"
    before = ask(server, "/version")[1]
    assert ask(server, "/version")[1] == before
    finish_run(run, "rkd-d", 0)
    assert ask(server, "/version")[1] != before
    content = json.loads(ask(server, "/content")[1])
    assert content["live"]
    assert content["runs"][0]["finished"]


def test_only_requests_with_this_machine_as_host_are_answered(served):
    server, _ = served
    assert server.server_address[0] == "127.0.0.1"
    port = server.server_port
    assert ask(server, "/", f"localhost:{port}")[0] == 200
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1:{port + 1}", ""):
        status, text, _ = ask(server, "/content", host)
        assert status == 403
        assert "rkd-d" not in text
    assert ask(server, "/content", [f"127.0.0.1:{port}", "evil.example"])[0] == 403


def test_nothing_else_is_served(served):
    server, _ = served
    for path in ("/../run/config.yaml", "/config.yaml", "/content?x", "/%2e%2e/"):
        assert ask(server, path)[0] == 404
    assert ask(server, "/", method="POST")[0] == 501


def test_a_damaged_file_is_reported_and_the_server_continues(served):
    server, run = served
    (run / "evaluation.json").write_text("{")
    status, text, _ = ask(server, "/content")
    assert status == 503
    assert "not valid JSON" in text
    (run / "evaluation.json").unlink()
    assert ask(server, "/content")[0] == 200


def test_a_used_port_and_a_missing_run_are_reported_in_one_line(served, tmp_path):
    server, run = served
    with pytest.raises(UserError, match="--port 0 takes a free one"):
        WatchServer([run], server.server_port)
    with pytest.raises(UserError, match="no run at"):
        WatchServer([tmp_path / "nothing"], 0)
    with pytest.raises(UserError, match="--port 99999 cannot be used"):
        WatchServer([run], 99999)
