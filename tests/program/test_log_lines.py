"""Lines of the access log: what each format says, and that no byte of a client's breaks out of its line."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxycore.config import VARIABLES
from proxycore.program.log_lines import KEPT, KEPT_LENGTH, _Kept, drops_line, empty_exchange, json_text, line_format
from proxycore.words.errors import Cause, Failure, Outcome
from proxycore.words.messages import Headers
from proxycore.words.notices import ConnectionEnded, ExchangeEnded

TEMPLATE = '{client_ip} {user} [{time}] "{method} {target}" {host} {path} {query.a} {header.User-Agent} {cookie.a}'
FORMATS = ("json", "combined", TEMPLATE)
COMBINED = re.compile(r'(\S+) - (\S+) \[([^\]]+)\] "([^"]*)" (\d{3}) (\d+) "([^"]*)" "([^"]*)"\n')
"""What parsers of the combined format look for."""


def exchange(**given: Any) -> ExchangeEnded:
    values: dict[str, Any] = {
        "wall": 1_764_000_000.123_456,
        "exchange": 7,
        "listener": "web",
        "route": "api",
        "client": "192.0.2.1",
        "client_port": "50000",
        "method": b"GET",
        "scheme": b"https",
        "authority": b"API.example.com:8443",
        "target": b"/api/x?a=1&b=%20c&a=2",
        "version": b"1.1",
        "status": 200,
        "outcome": Outcome("completed"),
        "received": 5,
        "sent": 1234,
        "duration": 0.001_234_5,
        "messages": None,
        "queued": None,
        "connected": 0.0,
        "first_byte": 0.0005,
        "upstream": "api",
        "server": "10.0.0.1:8080",
        "retries": 0,
        "request_id": "abc-1",
        "user": "",
        "tls_subject": "",
        "headers": [(b"user-agent", b"curl/8.0"), (b"cookie", b"a=1; id=7"), (b"x-a", b"1"), (b"x-a", b"2")],
    } | given
    values["headers"] = Headers(values["headers"])
    made = ExchangeEnded(values.pop("wall"))
    for name, value in values.items():
        setattr(made, name, value)
    return made


def test_json_counts_the_messages_of_a_websocket() -> None:
    line = json.loads(line_format("json")(exchange(messages=(3, 5))))
    assert (line["messages_received"], line["messages_sent"]) == (3, 5)
    assert "messages_sent" not in json.loads(line_format("json")(exchange()))


def test_json_names_every_value() -> None:
    line = line_format("json")(exchange())
    assert line.endswith("}\n")
    assert json.loads(line) == {
        "time": "2025-11-24T16:00:00.123Z",
        "client": "192.0.2.1",
        "method": "GET",
        "scheme": "https",
        "host": "API.example.com:8443",
        "target": "/api/x?a=1&b=%20c&a=2",
        "protocol": "HTTP/1.1",
        "status": 200,
        "bytes_sent": 1234,
        "bytes_received": 5,
        "duration": 0.001234,
        "queue": None,
        "connect": 0,
        "first_byte": 0.0005,
        "upstream": "api",
        "server": "10.0.0.1:8080",
        "retries": 0,
        "route": "api",
        "listener": "web",
        "request_id": "abc-1",
        "outcome": "completed",
        "at": None,
        "error": None,
        "user": None,
        "referer": None,
        "user_agent": "curl/8.0",
    }


@pytest.mark.parametrize(
    ("outcome", "cause", "at", "error"),
    [
        (Outcome("client_left", "response_head"), "client_left", "response_head", None),
        (Outcome("refused", "request_body"), "refused", "request_body", None),
        (
            Outcome("upstream_failed", "connect", Failure("connect", "connection_refused", status=502, resend="safe")),
            "upstream_failed",
            "connect",
            "connection_refused",
        ),
    ],
)
def test_json_tells_how_an_exchange_ended(outcome: Outcome, cause: Cause, at: str, error: str | None) -> None:
    line = json.loads(line_format("json")(exchange(outcome=outcome, status=0, first_byte=None)))
    assert (line["outcome"], line["at"], line["error"], line["status"]) == (cause, at, error, 0)
    assert "reason" not in line


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome("refused", "framing", reason="no Host"),
        Outcome("upstream_failed", "tls", Failure("tls", "tls", status=502, resend="safe", detail="no Host")),
    ],
)
def test_json_gives_the_reason(outcome: Outcome) -> None:
    assert json.loads(line_format("json")(exchange(outcome=outcome)))["reason"] == "no Host"


def test_combined_is_nginxs() -> None:
    line = line_format("combined")(
        exchange(user="ann", headers=[(b"user-agent", b"curl/8.0"), (b"referer", b"https://example.com/")])
    )
    assert line == (
        '192.0.2.1 - ann [24/Nov/2025:16:00:00 +0000] "GET /api/x?a=1&b=%20c&a=2 HTTP/1.1" 200 1234 '
        '"https://example.com/" "curl/8.0"\n'
    )


def test_combined_escapes_as_nginx_does() -> None:
    ended = exchange(user='a b" [x]', headers=[(b"user-agent", b'\x1b[31m"\\\xff\x7f')], version=b"2")
    line = line_format("combined")(ended)
    assert " - a\\x20b\\x22\\x20[x] [" in line
    assert line.endswith('HTTP/2.0" 200 1234 "-" "\\x1B[31m\\x22\\x5C\\xFF\\x7F"\n')


def test_a_template_writes_its_variables() -> None:
    line = line_format(
        "{{x} {host}|{path}|{query}|{query.b}|{query.x}|{duration}|{header.X-A}|{cookie.id}|{header.x}|{upstream}."
    )
    assert line(exchange()) == ("{x} api.example.com|/api/x|a=1&b=%20c&a=2| c|-|0.001|1, 2|7|-|api.\n")


@pytest.mark.parametrize("name", [name for name, _ in VARIABLES])
def test_each_variable_can_be_written(name: str) -> None:
    template = f"{{{name.replace('NAME', 'x')}}}"
    assert line_format(template)(exchange()).endswith("\n")


def test_the_subject_of_a_client_is_written() -> None:
    ann = exchange(tls_subject="CN=ann,O=example")
    assert line_format("{tls_subject}")(ann) == "CN=ann,O=example\n"
    assert line_format("{tls_subject}")(exchange()) == "-\n"
    assert json.loads(line_format("json")(ann))["tls_subject"] == "CN=ann,O=example"


def test_a_template_stays_one_line() -> None:
    assert line_format("{status}\r\nnext")(exchange()) == "200  next\n"


def test_a_connection_without_a_request_has_a_line_in_every_format() -> None:
    ended = empty_exchange(ConnectionEnded(1_764_000_000.0, "web", "192.0.2.9", 1.5, "left"))
    assert line_format("combined")(ended) == '192.0.2.9 - - [24/Nov/2025:16:00:00 +0000] "-" 000 0 "-" "-"\n'
    line = json.loads(line_format("json")(ended))
    assert (line["client"], line["listener"], line["method"], line["duration"]) == ("192.0.2.9", "web", None, 1.5)
    assert (line["outcome"], line["at"]) == ("client_left", "left")
    assert line_format("{client_ip} {method} {status}")(ended) == "192.0.2.9 - -\n"


def test_drops_are_told_in_the_log_itself() -> None:
    assert json.loads(drops_line("json", 12))["dropped"] == 12
    assert drops_line("combined", 12).startswith("# 12 lines were dropped")
    assert drops_line("combined", 12).endswith("\n")


anything = st.binary(max_size=40) | st.text(max_size=20).map(lambda text: text.encode(errors="surrogatepass"))


@given(st.sampled_from(FORMATS), anything, anything, anything, anything, anything, st.text(max_size=20))
def test_whatever_was_sent_makes_one_line_of_visible_ascii(
    format_name: str, method: bytes, host: bytes, target: bytes, referer: bytes, agent: bytes, text: str
) -> None:
    ended = exchange(
        method=method,
        authority=host,
        target=target,
        headers=[(b"referer", referer), (b"user-agent", agent)],
        user=text,
        request_id=text,
    )
    line = line_format(format_name)(ended)
    assert line.endswith("\n")
    assert re.fullmatch(r"[ -~]*", line[:-1])
    if format_name == "json":
        loaded = json.loads(line)
        assert loaded["status"] == 200
        assert loaded["target"] == (target.decode("utf-8", "backslashreplace") or None)
        assert loaded["user"] == (text or None)


@given(anything.filter(bool), anything, anything, st.text(max_size=20))
def test_combined_keeps_its_fields_apart(method: bytes, target: bytes, agent: bytes, user: str) -> None:
    """Nothing that was sent ends its field early, so nobody forges another's."""
    line = line_format("combined")(exchange(method=method, target=target, headers=[(b"user-agent", agent)], user=user))
    match = COMBINED.fullmatch(line)
    assert match is not None
    assert match[3] == "24/Nov/2025:16:00:00 +0000"
    assert (match[5], match[6]) == ("200", "1234")


@given(st.binary(max_size=20))
def test_json_tells_nothing_from_something(content: bytes) -> None:
    assert (json_text(content) == "null") == (not content)


def test_kept_texts_are_bounded() -> None:
    kept = _Kept(json_text)
    for number in range(3 * KEPT):
        assert kept[f"{number}"] == f'"{number}"'
    assert len(kept) <= KEPT
    long = "x" * (KEPT_LENGTH + 1)
    assert kept[long] == f'"{long}"'
    assert long not in kept


def test_times_follow_the_wall_clock() -> None:
    line = line_format("{time}")
    assert line(exchange(wall=1_764_000_000.9999)) == "2025-11-24T16:00:00.999Z\n"
    assert line(exchange(wall=1_764_000_001.0)) == "2025-11-24T16:00:01.000Z\n"
    assert line(exchange(wall=1_764_000_000.5)) == "2025-11-24T16:00:00.500Z\n"
