import contextlib
import http.client
import json
import socket
import sys
import threading
import time

import pytest

from mrkd.errors import UserError
from mrkd.reporting.watch import MOST_REQUESTS, WatchServer
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


def connect(server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.server_port), timeout=20)


def test_half_sent_and_drop_by_drop_requests_end_and_do_not_make_it_deaf(served, monkeypatch):
    monkeypatch.setattr(sys.modules[WatchServer.__module__], "REQUEST_SECONDS", 0.5)
    server, _ = served
    threads = threading.active_count()
    clients = [connect(server) for _ in range(3 * MOST_REQUESTS)]
    for client in clients:
        client.sendall(b"GET / HT")
    time.sleep(0.2)
    assert threading.active_count() <= threads + 2 * MOST_REQUESTS, "a thread and its timer each"
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and threading.active_count() > threads:
        for client in clients:
            with contextlib.suppress(OSError):
                client.sendall(b"T")  # each byte would begin a timeout of one read anew
        time.sleep(0.05)
    assert threading.active_count() <= threads
    for client in clients:
        client.close()
    assert ask(server, "/")[0] == 200


def test_one_more_than_are_served_at_a_time_is_told_so(served):
    server, _ = served
    clients = [connect(server) for _ in range(MOST_REQUESTS)]
    time.sleep(0.3)
    assert ask(server, "/version")[0] == 503
    for client in clients:
        client.close()
    deadline = time.monotonic() + 10
    while ask(server, "/version")[0] != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_client_that_leaves_is_nothing_to_tell(served, capfd):
    server, run = served
    rows = "".join(json.dumps({"step": step, "rankme": step / 7, "loss": step / 3}) + "\n" for step in range(900))
    (run / "metrics.jsonl").write_text(rows)
    for _ in range(5):
        client = connect(server)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # leave with a reset
        client.sendall(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\n\r\n".encode())
        client.close()
    time.sleep(0.5)
    assert ask(server, "/version")[0] == 200
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["summary.json", "evaluation.json", "attention.json", "embedding.npz", "config.yaml"])
@pytest.mark.parametrize("content", ["[]", "{}", "null", "7", '{"data": 3}', "[" * 100_000, '{"a": 1e999}', "\x00"])
def test_a_half_written_run_is_503_or_the_page_and_never_silence(served, name, content, capfd):
    server, run = served
    finish_run(run, "rkd-d", 0)
    (run / name).write_text(content)
    status, text, _ = ask(server, "/content")
    assert status in (200, 503)
    assert text
    assert "\n" not in text
    assert capfd.readouterr() == ("", "")


def test_a_page_of_a_long_run_reads_only_what_is_new(served):
    server, run = served

    def rows(first: int, end: int) -> str:
        return "".join(json.dumps({"step": step, "loss": 1.0}) + "\n" for step in range(first, end))

    (run / "metrics.jsonl").write_text(rows(0, 20_000))
    assert json.loads(ask(server, "/content")[1])["runs"][0]["step"] == 19_999
    metrics = run / "metrics.jsonl"
    with metrics.open("r+b") as file:  # what was read is not read again
        file.write(b"x" * 1000)
    with metrics.open("a") as file:
        file.write(rows(20_000, 20_010))
    assert json.loads(ask(server, "/content")[1])["runs"][0]["step"] == 20_009
