"""Access lists: by address, from the configuration and from files."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxycore.config import Access, Config, ConfigError, Listener, Route, Upstream
from proxycore.config.materials import Materials
from proxycore.policies.addresses import AddressSet, number_of
from proxycore.program.files import Disk, Source
from proxycore.testing import Proxy


def proxy(access: Access, materials: Materials | None = None) -> Proxy:
    config = Config(
        listeners=[Listener(name="web", bind="127.0.0.1:8080", trusted_proxies=["10.0.0.0/8"])],
        upstreams={"api": Upstream(servers="http://127.0.0.1:3000")},
        routes=[Route(name="guarded", upstream="api", access=access)],
    )
    return Proxy(config, materials=materials)


@pytest.mark.parametrize(
    ("access", "client", "may"),
    [
        (Access(allow=["192.0.2.0/24"]), "192.0.2.7", True),
        (Access(allow=["192.0.2.0/24"]), "192.0.3.7", False),
        (Access(allow=["192.0.2.0/24"]), "::ffff:192.0.2.7", True),
        (Access(allow=["192.0.2.0/24"]), "2001:db8::1", False),
        (Access(deny=["192.0.2.0/24"]), "192.0.2.7", False),
        (Access(deny=["192.0.2.0/24"]), "192.0.3.7", True),
        (Access(deny=["192.0.2.0/24"]), "::ffff:192.0.2.7", False),
        (Access(allow=["192.0.0.0/16"], deny=["192.0.2.7"]), "192.0.2.7", False),
        (Access(allow=["192.0.0.0/16"], deny=["192.0.2.7"]), "192.0.2.8", True),
    ],
)
def test_lists_decide_by_address(access: Access, client: str, may: bool) -> None:
    journey = proxy(access).get("http://a/", client_ip=client)
    if may:
        journey.goes_to("api")
    else:
        journey.is_refused(403, rule="access")


def test_the_address_is_that_which_a_trusted_proxy_tells() -> None:
    guarded = proxy(Access(allow=["192.0.2.0/24"]))
    guarded.get("https://a/", client_ip="192.0.2.7").goes_to("api")
    guarded.get("https://a/", client_ip="192.0.3.7").is_refused(403)
    guarded.get("http://a/", client_ip="192.0.3.7", headers={"X-Forwarded-For": "192.0.2.7"}).is_refused(403)


def test_the_trace_says_why() -> None:
    journey = proxy(Access(deny=["192.0.2.0/24"])).get("http://a/", client_ip="192.0.2.7")
    assert [str(step) for step in journey.trace.of("access")] == ["access: refused 192.0.2.7 (it is denied)"]


def test_lists_come_from_files_too() -> None:
    materials = Materials(networks={"bad.txt": AddressSet.from_lines("# bad\n192.0.2.0/24\n\n2001:db8::/32 # v6\n")})
    guarded = proxy(Access(deny_file="bad.txt"), materials)
    guarded.get("http://a/", client_ip="192.0.2.7").is_refused(403)
    guarded.get("http://a/", client_ip="2001:db8::7").is_refused(403)
    guarded.get("http://a/", client_ip="192.0.3.7").goes_to("api")


def test_a_list_that_was_not_read_lets_nobody_serve_without_it() -> None:
    with pytest.raises(ConfigError, match=r"bad\.txt"):
        proxy(Access(deny_file="bad.txt"))


@pytest.mark.parametrize(
    ("text", "line"), [("192.0.2.0/24\nnonsense\n", 2), ("192.0.2.1/24", 1), ("\n\n10.0.0.0/33", 3), ("::1/12", 1)]
)
def test_a_bad_line_is_named(text: str, line: int) -> None:
    with pytest.raises(ValueError, match=f"line {line}: "):
        AddressSet.from_lines(text)


def test_a_long_list_is_read_whole() -> None:
    networks = AddressSet.from_lines("\n".join(f"10.{a}.{b}.0/24" for a in range(200) for b in range(0, 256, 2)))
    assert networks.has_number(number_of("10.199.254.9") or 0)
    assert not networks.has_number(number_of("10.199.253.9") or 0)


CONFIGURATION = """
[[listeners]]
bind = "127.0.0.1:8080"
[[routes]]
access = { deny_file = "bad.txt" }
respond = {}
"""


def test_the_program_reads_the_file_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "proxy.toml").write_text(CONFIGURATION)
    (tmp_path / "bad.txt").write_text("192.0.2.0/24\n")
    loaded = Source(file=str(tmp_path / "proxy.toml")).load(Disk())
    Proxy(loaded.config, materials=loaded.materials).get("http://a/", client_ip="192.0.2.1").is_refused(403)


@pytest.mark.parametrize(("content", "told"), [(None, "can't be read"), (b"x\n", "line 1"), (b"\xff", "isn't UTF-8")])
def test_a_file_that_is_no_list_is_one_clear_problem(tmp_path: Path, content: bytes | None, told: str) -> None:
    (tmp_path / "proxy.toml").write_text(CONFIGURATION)
    if content is not None:
        (tmp_path / "bad.txt").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        Source(file=str(tmp_path / "proxy.toml")).load(Disk())
    (problem,) = caught.value.problems
    assert told in problem.message
    assert (problem.place, problem.line) == ("routes[0].access.deny_file", 5)
