"""The dashboard's service over sockets, on every binding: what it shows, what it does, and whom it refuses."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from prometheus_client.parser import text_string_to_metric_families
from schemathesis.specs.openapi.checks import positive_data_acceptance

from proxycore.config import Admin, Config, from_dict
from proxycore.program import banner
from proxycore.program.commands.hash_password import hash_password
from proxycore.program.files import Disk, Source
from proxycore.program.service import Service
from tests.certificates import client_context, leaf
from tests.program.programs import Origin, Program, Request, call, get, until
from tests.sockets.served import BINDINGS, Served, serving

ACTION = {"X-Proxycore-Action": "1", "Content-Type": "application/json"}


class Client:
    """Asks one service, each time on a connection of its own."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.host, self.port = str(parts.hostname), int(parts.port or 0)

    def ask(self, method: str, path: str, content: Any = None, **headers: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=10)
        try:
            body = None if content is None else json.dumps(content)
            connection.request(method, path, body, headers={name.replace("_", "-"): v for name, v in headers.items()})
            response = connection.getresponse()
            data = response.read()
            return response.status, json.loads(data) if "json" in response.headers.get_content_type() else data.decode()
        finally:
            connection.close()

    def status(self) -> Any:
        return self.ask("GET", "/api/v1/status")[1]


@pytest.fixture(params=BINDINGS)
def binding(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def origins() -> Iterator[list[Origin]]:
    with Origin() as first, Origin() as second:
        yield [first, second]


def config_for(origins: list[Origin]) -> Config:
    return from_dict(
        {
            "admin": {"bind": "127.0.0.1:0"},
            "listeners": [{"name": "web", "bind": "127.0.0.1:0"}],
            "upstreams": {"api": {"servers": [{"name": f"s{n}", "url": o.url} for n, o in enumerate(origins)]}},
            "routes": [
                {"name": "bad", "match": {"path": "/bad"}, "respond": {"status": 500}},
                {"name": "rest", "upstream": "api"},
            ],
        }
    )


def clients(served: Served) -> tuple[Client, Client]:
    assert served.server.dashboard is not None
    return Client(url_of(served.server)), Client(url_of(served.server.dashboard))


def url_of(service: Service) -> str:
    return banner.url_of(service.address, is_secure=False)


def test_it_shows_traffic_and_steers_servers(binding: str, origins: list[Origin]) -> None:
    with serving(binding, config_for(origins)) as served:
        traffic, admin = clients(served)
        for _ in range(4):
            assert traffic.ask("GET", "/x")[0] == 200
        assert traffic.ask("GET", "/bad")[0] == 500
        until(lambda: admin.status()["totals"]["requests"] == 5)
        status = admin.status()
        assert status["totals"]["failed"] == 1
        assert [(route["name"], route["requests"]) for route in status["routes"]] == [("bad", 1), ("rest", 4)]
        assert [server["requests"] for server in status["upstreams"][0]["servers"]] == [2, 2]
        failed = status["failures"][0]
        assert failed["target"] == "/bad"
        why = admin.ask("GET", f"/api/v1/failures/{failed['request_id']}/explanation")[1]
        assert (why["request"], why["route"]) == (f"GET http://{traffic.host}:{traffic.port}/bad", "bad")
        assert [step["verdict"] for step in why["steps"][:3]] == ["ended", "asked again", "took"]
        assert admin.ask("GET", "/api/v1/failures/none/explanation")[0] == 404
        assert status["binding"] == ("asyncio" if binding == "uvloop" else binding)

        assert admin.ask("PATCH", "/api/v1/upstreams/api/servers/s0", {"mode": "drained"}, **ACTION)[0] == 204
        assert admin.ask("GET", "/api/v1/upstreams/api/servers/s0")[1]["state"] == "drained"
        for _ in range(3):
            traffic.ask("GET", "/x")
        until(lambda: admin.status()["totals"]["requests"] == 8)
        first, second = admin.status()["upstreams"][0]["servers"]
        assert (first["state"], first["requests"], second["requests"]) == ("drained", 2, 5)
        assert admin.ask("GET", "/api/v1/changes")[1][0]["state"] == "drained"

        families = {f.name: f for f in text_string_to_metric_families(admin.ask("GET", "/metrics")[1])}
        assert sum(sample.value for sample in families["proxycore_requests"].samples) == 8
        assert {s.labels["server"]: s.value for s in families["proxycore_server_up"].samples} == {"s0": 0.0, "s1": 1.0}
        assert admin.ask("GET", "/readyz") == (200, "ready\n")


def test_servers_come_and_go(origins: list[Origin]) -> None:
    with serving("asyncio", config_for(origins[:1])) as served:
        traffic, admin = clients(served)
        new = {"name": "new", "url": origins[1].url, "weight": 3}
        servers = "/api/v1/upstreams/api/servers"
        assert admin.ask("POST", servers, new, **ACTION)[0] == 204
        status, problem = admin.ask("POST", servers, new, **ACTION)
        assert (status, problem["detail"]) == (409, 'there is a server "new" already')
        for _ in range(4):
            traffic.ask("GET", "/x")
        until(lambda: admin.status()["totals"]["requests"] == 4)
        shares = {s["name"]: s["requests"] for s in admin.status()["upstreams"][0]["servers"]}
        assert shares == {"s0": 1, "new": 3}
        assert admin.ask("DELETE", f"{servers}/new", **ACTION)[0] == 204
        until(lambda: [s["name"] for s in admin.status()["upstreams"][0]["servers"]] == ["s0"])


def test_a_server_just_added_takes_orders_at_once(origins: list[Origin]) -> None:
    with serving("asyncio", config_for(origins[:1])) as served:
        _, admin = clients(served)
        servers = "/api/v1/upstreams/api/servers"
        assert admin.ask("POST", servers, {"name": "new", "url": origins[1].url}, **ACTION)[0] == 204
        assert admin.ask("PATCH", f"{servers}/new", {"weight": 2}, **ACTION)[0] == 204
        assert admin.ask("DELETE", f"{servers}/new", **ACTION)[0] == 204


def test_the_program_serves_it_and_changes_its_configuration(origins: list[Origin], tmp_path: Any) -> None:
    file = tmp_path / "proxy.toml"
    text = (
        '[admin]\nbind = "127.0.0.1:0"\n[[listeners]]\nname = "web"\nbind = "127.0.0.1:0"\n'
        '[[routes]]\nname = "one"\nrespond = { body = "one" }\n'
    )
    file.write_text(text)
    with Program(str(file)) as program:
        url = program.address()
        admin = Client(program.wait_for(r"dashboard\s+(http://127\.0\.0\.1:\d+)")[1])
        assert admin.ask("GET", "/api/v1/configuration") == (200, {"toml": text})
        wrong = {"toml": text.replace("respond", "respnd")}
        assert (
            "routes[0].respnd: unknown key"
            in admin.ask("POST", "/api/v1/configuration/check", wrong, **ACTION)[1]["problems"][0]
        )
        status, problem = admin.ask("PUT", "/api/v1/configuration", wrong, **ACTION)
        assert (status, get(f"{url}/")) == (422, (200, "one"))
        assert f"{file}:8: routes[0].respnd" in problem["detail"]
        new = text.replace('"one" }', '"two" }')
        assert admin.ask("PUT", "/api/v1/configuration", {"toml": new}, **ACTION)[0] == 204
        assert get(f"{url}/") == (200, "two")
        assert admin.ask("GET", "/api/v1/configuration") == (200, {"toml": new})
        assert file.read_text() == text
        file.chmod(0o640)
        assert admin.ask("PUT", "/api/v1/configuration", {**wrong, "persist": True}, **ACTION)[0] == 422
        assert file.read_text() == text
        assert admin.ask("PUT", "/api/v1/configuration", {"toml": new, "persist": True}, **ACTION)[0] == 204
        assert (file.read_text(), file.stat().st_mode & 0o777) == (new, 0o640)
        assert os.listdir(file.parent) == [file.name]
        explained = admin.ask("POST", "/api/v1/explain", {"request": "GET http://x/"}, **ACTION)[1]
        assert explained["route"] == "one"
        assert explained["result"] == "was answered 200 (completed)"
        bad = {"request": "http://x/", "headers": {"a": 1}}
        assert admin.ask("POST", "/api/v1/explain", bad, **ACTION)[1]["detail"] == "a is no text and a is no list"
        assert admin.ask("PUT", "/api/v1/log-level", {"level": "warning"}, **ACTION)[0] == 204
        program.wait_for('PUT /api/v1/configuration {"persist": true}: done')


@pytest.mark.parametrize(
    ("method", "path", "content", "headers", "status", "detail"),
    [
        ("GET", "/api/v1/nothing", None, {}, 404, "there is nothing at /api/v1/nothing"),
        ("DELETE", "/api/v1/routes", None, ACTION, 405, "this takes GET"),
        ("POST", "/", None, ACTION, 405, "this takes GET"),
        ("GET", "/api/v1/upstreams/none", None, {}, 404, 'there is no upstream "none"; there are: api'),
        ("PATCH", "/api/v1/upstreams/api/servers/s0", {"mode": "drained"}, {}, 403, "needs the header"),
        ("PATCH", "/api/v1/upstreams/api/servers/s9", {"mode": "drained"}, ACTION, 404, 'no server "s9"'),
        ("PATCH", "/api/v1/upstreams/api/servers/s0", {"mode": "off"}, ACTION, 422, "mode is none of enabled"),
        ("PATCH", "/api/v1/upstreams/api/servers/s0", {"weight": -1}, ACTION, 422, "weight is not from 0"),
        ("PATCH", "/api/v1/upstreams/api/servers/s0", {"weigth": 1}, ACTION, 422, 'has no "weigth"'),
        ("PATCH", "/api/v1/upstreams/api/servers/s0", {}, ACTION, 422, "is empty"),
        ("PATCH", "/api/v1/upstreams/api/servers/s0", [1], ACTION, 422, "is no object"),
        ("POST", "/api/v1/upstreams/api/servers", {"name": "x"}, ACTION, 422, 'needs "url"'),
        ("POST", "/api/v1/upstreams/api/servers", {"name": "x", "url": "ftp://x"}, ACTION, 409, "is no server"),
        ("POST", "/api/v1/explain", {"request": "ftp://x"}, ACTION, 422, ""),
        ("GET", "/api/v1/configuration", None, {}, 404, "not read from a file"),
    ],
)
def test_what_is_refused(
    origins: list[Origin], method: str, path: str, content: Any, headers: dict[str, str], status: int, detail: str
) -> None:
    with serving("asyncio", config_for(origins)) as served:
        got, problem = clients(served)[1].ask(method, path, content, **headers)
        assert got == status
        assert problem["status"] == status
        assert detail in problem["detail"]


def test_the_log_says_in_one_line_who_did_what(origins: list[Origin], caplog: pytest.LogCaptureFixture) -> None:
    orders: list[tuple[str, str, Any]] = [
        ("PATCH", "/api/v1/upstreams/api/servers/s0", {"weight": 7}),
        ("DELETE", "/api/v1/upstreams/api/servers/s0", None),
        ("POST", "/api/v1/purge", {"kind": "tag", "what": "news\n2026"}),
        ("POST", "/api/v1/purge", {"kind": "url", "what": "news\n2026"}),
        ("PUT", "/api/v1/configuration", {"toml": "much"}),
        ("POST", "/api/v1/upstreams/api/servers", {"name": "x", "url": "http://ann:secret@127.0.0.1:9"}),
        ("POST", "/api/v1/explain", {"request": "http://a/", "headers": {"Authorization": "secret"}}),
    ]
    with caplog.at_level("INFO", "proxycore.admin"), serving("asyncio", config_for(origins)) as served:
        for order in orders:
            clients(served)[1].ask(*order, **ACTION)
    assert [record.getMessage() for record in caplog.records if record.name == "proxycore.admin"] == [
        '127.0.0.1: PATCH /api/v1/upstreams/api/servers/s0 {"weight": 7}: done',
        "127.0.0.1: DELETE /api/v1/upstreams/api/servers/s0: done",
        '127.0.0.1: POST /api/v1/purge {"kind": "tag", "what": "news\\n2026"}: done',
        '127.0.0.1: POST /api/v1/purge: "news; 2026" is no whole URL, such as https://example.com/path',
        "127.0.0.1: PUT /api/v1/configuration: what is served was not read from a file",
        '127.0.0.1: POST /api/v1/upstreams/api/servers: "x" is no server: Server: url: a server\'s url holds no user '
        'or password; did you mean "http://127.0.0.1:9"?',
        "127.0.0.1: POST /api/v1/explain: done",
    ]


def test_other_hosts_are_refused(origins: list[Origin]) -> None:
    with serving("asyncio", config_for(origins)) as served:
        admin = clients(served)[1]
        assert admin.ask("GET", "/", Host="evil.example")[0] == 421
        assert admin.ask("GET", "/", Host=f"localhost:{admin.port}")[0] == 200
        foreign = admin.ask("PUT", "/api/v1/log-level", {"level": "info"}, Origin="https://evil.example", **ACTION)
        assert (foreign[0], "other sites" in foreign[1]) == (403, True)
        assert admin.ask("GET", "/", Origin="null")[0] == 403
        assert admin.ask("GET", "/", Origin=f"http://localhost:{admin.port}")[0] == 200


def test_hosts_may_be_patterns(origins: list[Origin]) -> None:
    config = config_for(origins)
    with serving("asyncio", replace(config, admin=Admin(bind="127.0.0.1:0", hosts=["*.example.test"]))) as served:
        admin = clients(served)[1]
        assert admin.ask("GET", "/", Host="a.example.test")[0] == 200
        assert admin.ask("GET", "/", Host="a.example.test", Origin="https://b.example.test")[0] == 200
        assert admin.ask("GET", "/", Host="example.test")[0] == 421
        assert admin.ask("GET", "/", Host="a.example.test", Origin="https://example.test")[0] == 403


def test_failures_that_can_not_be_asked_again_are_explained_as_far_as_they_are_known(origins: list[Origin]) -> None:
    heads = [
        b"GET /bad HTTP/1.0\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
    ]
    with serving("asyncio", config_for(origins)) as served:
        traffic, admin = clients(served)
        for head in heads:
            with socket.create_connection((traffic.host, traffic.port)) as sock, sock.makefile("rb") as answer:
                sock.sendall(head)
                assert answer.read().startswith(b"HTTP/1.1 5")
        until(lambda: len(admin.status()["failures"]) == len(heads))
        for failed in admin.status()["failures"]:
            status, why = admin.ask("GET", f"/api/v1/failures/{failed['request_id']}/explanation")
            assert (status, why["result"]) == (200, f"was answered {failed['status']}")
            assert [step["verdict"] for step in why["steps"]] == ["ended", "not asked again"]
            assert why["steps"][1]["reason"] == "its head could not be read, or names no host or path"


def test_json_that_is_nested_too_deeply_is_refused(binding: str, origins: list[Origin]) -> None:
    with serving(binding, config_for(origins)) as served:
        admin = clients(served)[1]
        connection = http.client.HTTPConnection(admin.host, admin.port, timeout=10)
        connection.request("PUT", "/api/v1/log-level", "[" * 200_000, ACTION)
        response = connection.getresponse()
        assert (response.status, "too deeply" in response.read().decode()) == (400, True)
        connection.close()


def test_a_configuration_by_the_api_changes_the_logs_too(tmp_path: Any) -> None:
    file = tmp_path / "proxy.toml"
    text = (
        '[admin]\nbind = "127.0.0.1:0"\n[[listeners]]\nbind = "127.0.0.1:0"\n[[routes]]\nrespond = {}\n'
        '[logging]\naccess = "off"\n'
    )
    file.write_text(text)
    with Program(str(file)) as program:
        url = program.address()
        admin = Client(program.wait_for(r"dashboard\s+(http://127\.0\.0\.1:\d+)")[1])
        logs = text.replace('"off"', '"{method} {path}"\naccess_file = "log.txt"\nlevel = "warning"')
        assert admin.ask("PUT", "/api/v1/configuration", {"toml": logs}, **ACTION)[0] == 204
        get(f"{url}/seen")
        until(lambda: (tmp_path / "log.txt").read_text() == "GET /seen\n")
        unwritable = logs.replace("log.txt", "none/log.txt")
        status, problem = admin.ask("PUT", "/api/v1/configuration", {"toml": unwritable}, **ACTION)
        assert (status, "logging.access_file" in problem["detail"]) == (422, True)
        moved = logs.replace("127.0.0.1:0", "127.0.0.1:1", 1)
        status, problem = admin.ask("PUT", "/api/v1/configuration", {"toml": moved}, **ACTION)
        assert (status, "admin: to change it takes a restart" in problem["detail"]) == (422, True)
        assert admin.ask("GET", "/api/v1/configuration")[1] == {"toml": logs}
        assert admin.ask("PUT", "/api/v1/log-level", {"level": "info"}, **ACTION)[0] == 204
        program.wait_for('PUT /api/v1/log-level {"level": "info"}: done')


def test_a_drain_is_told_at_once_and_takes_no_other_configuration(tmp_path: Any) -> None:
    file = tmp_path / "proxy.toml"
    with Origin() as origin:
        text = (
            '[admin]\nbind = "127.0.0.1:0"\n[[listeners]]\nbind = "127.0.0.1:0"\n'
            f'[upstreams.api]\nservers = ["{origin.url}"]\n[[routes]]\nupstream = "api"\n'
        )
        file.write_text(text)
        with Program(str(file)) as program:
            held = Request(f"{program.address()}/held")
            admin = Client(program.wait_for(r"dashboard\s+(http://127\.0\.0\.1:\d+)")[1])
            assert origin.arrived.wait(30)
            assert admin.ask("GET", "/readyz") == (200, "ready\n")
            program.signal(signal.SIGTERM)
            program.wait_for("draining")
            assert admin.ask("GET", "/readyz") == (503, "not ready\n")
            status, problem = admin.ask("PUT", "/api/v1/configuration", {"toml": text}, **ACTION)
            assert (status, problem["detail"]) == (503, "the program is ending")
            origin.release.set()
            assert held.answer() == (200, "/held")
            assert program.end()[0] == 0


def test_without_admin_nothing_of_it_is_there(origins: list[Origin]) -> None:
    with serving("asyncio", replace(config_for(origins), admin=None)) as served:
        assert served.server.dashboard is None


def test_the_api_is_as_its_document_says(origins: list[Origin]) -> None:
    """Schemathesis asks every operation what its schema allows, and what it doesn't."""
    with serving("asyncio", config_for(origins)) as served:
        assert served.server.dashboard is not None
        schema = schemathesis.openapi.from_url(f"{url_of(served.server.dashboard)}/api/openapi.json")
        for result in schema.exclude(path="/api/v1/events").get_all_operations():  # events end with their client
            operation: Any = result.ok()  # type: ignore[union-attr]  # it raises where the document is wrong

            @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
            @given(operation.as_strategy())
            def ask(case: Any) -> None:
                # That a text is a good configuration, or a name that of a server, no schema can say.
                case.call_and_validate(excluded_checks=[positive_data_acceptance])

            ask()


def test_a_password_keeps_others_out(binding: str, origins: list[Origin], tmp_path: Any) -> None:
    file = tmp_path / "proxy.toml"
    (tmp_path / "secret").write_text(hash_password("right") + "\n")
    file.write_text(
        '[admin]\nbind = "127.0.0.1:0"\nusername = "admin"\npassword_file = "secret"\n'
        '[[listeners]]\nbind = "127.0.0.1:0"\n[[routes]]\nrespond = {}\n'
    )
    loaded = Source(str(file)).load(Disk())
    with serving(binding, loaded.config, materials=loaded.materials) as served:
        admin = clients(served)[1]
        for credentials, status in ((None, 401), ("admin:wrong", 401), ("root:right", 401), ("admin:right", 200)):
            coded = b64encode((credentials or "").encode()).decode()
            headers = {} if credentials is None else {"Authorization": f"Basic {coded}"}
            for path in ("/", "/metrics", "/api/v1/status"):
                assert admin.ask("GET", path, **headers)[0] == status
            assert "proxycore_workers" not in str(admin.ask("GET", "/livez/../metrics", **headers)[1])
            # An orchestrator's probes know a container's address, and no password.
            for path in ("/livez", "/readyz", "//livez"):
                assert admin.ask("GET", path, Host="10.1.2.3:8404", **headers)[0] == 200


def test_it_speaks_tls(binding: str, tmp_path: Any) -> None:
    certificate = leaf("localhost")
    (tmp_path / "a.crt").write_bytes(certificate.cert_chain_pems[0].bytes())
    (tmp_path / "a.key").write_bytes(certificate.private_key_pem.bytes())
    file = tmp_path / "proxy.toml"
    file.write_text(
        '[admin]\nbind = "127.0.0.1:0"\ntls = { certificate = "a.crt", key = "a.key" }\n'
        '[[listeners]]\nname = "admin"\nbind = "127.0.0.1:0"\n[[routes]]\nrespond = {}\n'
    )
    loaded = Source(str(file)).load(Disk())
    with serving(binding, loaded.config, materials=loaded.materials) as served:
        assert served.server.dashboard is not None
        port = urlsplit(url_of(served.server.dashboard)).port
        connection = http.client.HTTPSConnection("localhost", port, context=client_context(), timeout=10)
        connection.request("GET", "/livez")
        assert connection.getresponse().read() == b"alive\n"
        connection.close()


def test_a_password_that_is_no_hash_is_told_with_its_place(tmp_path: Any) -> None:
    file = tmp_path / "proxy.toml"
    (tmp_path / "secret").write_text("plain\n")
    file.write_text(
        '[admin]\nusername = "admin"\npassword_file = "secret"\n'
        '[[listeners]]\nbind = "127.0.0.1:0"\n[[routes]]\nrespond = {}\n'
    )
    result = call("check", str(file))
    assert result.code == 1
    assert f"{file}:3: admin.password_file: " in result.errors
    assert "hash-password" in result.errors
