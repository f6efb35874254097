"""Where listeners bind and where servers are, as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxycore.config import Bind, Server, ServerUrl, parse_bind, parse_server_url
from proxycore.config.problems import Invalid


@pytest.mark.parametrize(
    ("text", "bind"),
    [
        ("127.0.0.1:8080", Bind(kind="tcp", host="127.0.0.1", port=8080)),
        ("0.0.0.0:0", Bind(kind="tcp", host="0.0.0.0", port=0)),
        ("[::]:80", Bind(kind="tcp", host="::", port=80)),
        ("localhost:80", Bind(kind="tcp", host="localhost", port=80)),
        ("unix:/run/proxycore.sock", Bind(kind="unix", path="/run/proxycore.sock")),
        ("fd:3", Bind(kind="fd", fd=3)),
    ],
)
def test_binds(text: str, bind: Bind) -> None:
    assert parse_bind(text) == bind


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("8080", "127.0.0.1:8080"),
        (":8080", "0.0.0.0:8080"),
        ("*:80", "0.0.0.0:80"),
        ("127.0.0.1", "127.0.0.1:80"),
        ("http://127.0.0.1:80/", "127.0.0.1:80"),
        ("::1:80", "[::1]:80"),
        ("unix://run/x.sock", "unix:/run/x.sock"),
        ("unix:x.sock", None),
        ("unix:/" + "x" * 103, None),
        ("fd:x", None),
        ("[::1]", "[::1]:80"),
        ("[::1:80", None),
        ("[::1]80", None),
        ("[127.0.0.1]:80", None),
        ("127.0.0.1:65536", None),
        ("127.0.0.1:8_0", None),
        ("127.0.0.1:+80", None),
        ("1.2.3:80", None),
        ("a b:80", None),
        ("fe80::1%eth0:80", None),
        ("", None),
    ],
)
def test_what_is_no_bind(text: str, suggestion: str | None) -> None:
    with pytest.raises(Invalid) as caught:
        parse_bind(text)
    assert caught.value.suggestion == suggestion


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("127.0.0.1:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("unix:/x", True),
        ("0.0.0.0:1", False),
        ("10.0.0.1:1", False),
        ("fd:3", False),
    ],
)
def test_what_only_this_machine_reaches(text: str, local: bool) -> None:
    assert parse_bind(text).is_local is local


@pytest.mark.parametrize(
    ("text", "scheme", "address", "authority", "needs_lookup"),
    [
        ("http://10.0.0.1:8080", "http", ("10.0.0.1", 8080), "10.0.0.1:8080", False),
        ("http://api.internal", "http", ("api.internal", 80), "api.internal", True),
        ("https://api.internal", "https", ("api.internal", 443), "api.internal", True),
        ("https://api.internal:80", "https", ("api.internal", 80), "api.internal:80", True),
        ("HTTP://[::1]:80", "http", ("::1", 80), "[::1]", False),
        ("unix:/run/app.sock", "http", "/run/app.sock", "localhost", False),
    ],
)
def test_server_urls(
    text: str, scheme: str, address: tuple[str, int] | str, authority: str, needs_lookup: bool
) -> None:
    url = parse_server_url(text)
    assert (url.scheme, url.address, url.authority, url.needs_lookup) == (scheme, address, authority, needs_lookup)
    server = Server(url=text)
    assert (server.scheme, server.host, server.port, server.address) == (scheme, url.host, url.port, address)


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("10.0.0.1:8080", "http://10.0.0.1:8080"),
        ("http://10.0.0.1/", "http://10.0.0.1"),
        ("http://10.0.0.1:80/api", "http://10.0.0.1:80"),
        ("http://h?x", "http://h"),
        ("http://user:pass@h:1", "http://h:1"),
        ("ws://h", "http://h"),
        ("ftp://h", None),
        ("http://::1:80", "http://[::1]:80"),
        ("http://bücher.example", "xn--bcher-kva.example"),
        ("http://", None),
        ("http://h:0", None),
        ("http://h:99999", None),
        ("http://a..b", None),
        ("", None),
    ],
)
def test_what_is_no_server_url(text: str, suggestion: str | None) -> None:
    with pytest.raises(Invalid) as caught:
        parse_server_url(text)
    assert caught.value.suggestion == suggestion


@given(st.ip_addresses(), st.integers(1, 65_535))
def test_every_address_and_port_is_read(ip: object, port: int) -> None:
    host = f"[{ip}]" if ":" in str(ip) else str(ip)
    assert parse_bind(f"{host}:{port}") == Bind(kind="tcp", host=str(ip), port=port)
    assert parse_server_url(f"http://{host}:{port}") == ServerUrl(scheme="http", host=str(ip), port=port)


@given(st.text() | st.from_regex(r"(http://|unix:|fd:|\[)?[a-z0-9.:\[\]/%-]*", fullmatch=True))
def test_no_text_is_more_than_invalid_as_an_address(text: str) -> None:
    for parse in (parse_bind, parse_server_url):
        try:
            parse(text)
        except Invalid:
            pass
