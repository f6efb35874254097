"""W3C Trace Context: what is passed on, and how a trace begins."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxycore.config import Config, Listener, Logging, Route, Upstream
from proxycore.policies.trace_context import begin, pass_on, trace_id_of
from proxycore.program.log_lines import line_format
from proxycore.testing import Proxy
from proxycore.words.messages import Headers
from tests.program.test_log_lines import exchange

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
VALID = f"00-{TRACE}-{PARENT}-01"
WELL_FORMED = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-0[23]")


def fields(*values: str, state: str = "a=1") -> Headers:
    return Headers([*((b"traceparent", value.encode()) for value in values), (b"tracestate", state.encode())])


@pytest.mark.parametrize(
    ("value", "goes_on_as"),
    [
        (VALID, VALID),
        (VALID[:-1] + "0", VALID[:-1] + "0"),
        (f"00-{TRACE}-{PARENT}-ff", f"00-{TRACE}-{PARENT}-ff"),
        (f"01-{TRACE}-{PARENT}-01", VALID),
        (f"cc-{TRACE}-{PARENT}-03-what-the-future-holds", VALID),
        (f"cc-{TRACE}-{PARENT}-02-", f"00-{TRACE}-{PARENT}-00"),
    ],
)
def test_a_valid_traceparent_is_passed_on_with_its_state(value: str, goes_on_as: str) -> None:
    headers = fields(value)
    assert pass_on(headers)
    assert headers.get_all(b"traceparent") == [goes_on_as.encode()]
    assert headers.get(b"tracestate") == b"a=1"
    assert trace_id_of(headers) == TRACE.encode()


@pytest.mark.parametrize(
    "values",
    [
        (),
        ("",),
        (VALID, VALID),
        (VALID, f"00-{TRACE[::-1]}-{PARENT}-01"),
        (f"ff-{TRACE}-{PARENT}-01",),
        (f"00-{'0' * 32}-{PARENT}-01",),
        (f"00-{TRACE}-{'0' * 16}-01",),
        (f"00-{TRACE.upper()}-{PARENT}-01",),
        (f"00-{TRACE}-{PARENT}-1",),
        (f"00-{TRACE}-{PARENT}-0x",),
        (f"00-{TRACE}-{PARENT}",),
        (f"{VALID}-more",),
        (f"{VALID}.",),
        (f"cc-{TRACE}-{PARENT}-01.more",),
        (f"0-{TRACE}-{PARENT}-01",),
        (f"00-{TRACE}1-{PARENT}-01",),
        (f"00_{TRACE}_{PARENT}_01",),
        (f"{VALID}, {VALID}",),
        (f"{VALID}\n",),
    ],
)
def test_anything_else_begins_a_trace_and_drops_the_state_of_the_lost_one(values: tuple[str, ...]) -> None:
    headers = fields(*values)
    assert not pass_on(headers)
    assert trace_id_of(headers) == b""
    trace_id = begin(headers, bytes(range(24)), 1.0)
    assert headers.fields == [(b"traceparent", b"00-000102030405060708090a0b0c0d0e0f-1011121314151617-03")]
    assert trace_id_of(headers) == trace_id


@given(st.binary(min_size=24, max_size=24), st.floats(0, 1))
def test_what_begins_here_is_valid_and_is_passed_on_untouched(entropy: bytes, sampled: float) -> None:
    headers = Headers()
    begin(headers, entropy, sampled)
    made = headers.fields[:]
    assert WELL_FORMED.fullmatch(made[0][1].decode())
    assert pass_on(headers)
    assert headers.fields == made


@given(st.binary(max_size=80))
def test_no_value_is_passed_on_that_others_could_not_read(value: bytes) -> None:
    headers = Headers([(b"traceparent", value)])
    if pass_on(headers):
        assert re.fullmatch(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", headers.fields[0][1])


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (0.25, 200, 300), (1.0, 1000, 1000)])
def test_a_share_of_the_traces_is_marked_as_sampled(share: float, least: int, most: int) -> None:
    marked = 0
    for number in range(1000):
        headers = Headers()
        begin(headers, number.to_bytes(9) + (number * 0x9E3779B97F4A7C15 % 2**64).to_bytes(8) + bytes(7), share)
        marked += headers.fields[0][1].endswith(b"3")
    assert least <= marked <= most


def proxy(**logging: object) -> Proxy:
    config = Config(
        listeners=[Listener(name="web", bind="127.0.0.1:8080")],
        upstreams={"api": Upstream(servers="http://127.0.0.1:3000")},
        routes=[
            Route(match={"path": "/own"}, respond={"headers": {"X-Trace": "{trace_id}"}}),
            Route(upstream="api", request_headers={"set": {"X-Trace": "{trace_id}"}}),
        ],
        logging=Logging(**logging),  # type: ignore[arg-type]
    )
    return Proxy(config)


def test_servers_and_templates_get_the_trace() -> None:
    tracing = proxy(trace_context=True)
    passed = tracing.get("http://a/", headers={"Traceparent": VALID, "Tracestate": "a=1"})
    passed.sends(traceparent=VALID, tracestate="a=1", x_trace=TRACE)
    assert [str(step) for step in passed.trace.of("trace context")] == [f"trace context: passed on {TRACE}"]
    ids = set()
    for headers in ({"Traceparent": "no", "Tracestate": "a=1"}, {}):
        begun = tracing.get("http://a/", headers=headers).sends(tracestate=None)
        assert begun.outbound is not None
        (value,) = begun.outbound.headers.get_all(b"traceparent")
        match = WELL_FORMED.fullmatch(value.decode())
        assert match is not None
        begun.sends(x_trace=match[1])
        ids.add(match[1])
    assert len(ids) == 2


def test_who_is_answered_here_belongs_to_a_trace_too() -> None:
    tracing = proxy(trace_context=True)
    tracing.get("http://a/own", headers={"Traceparent": VALID}).gets(x_trace=TRACE)
    (name_and_value,) = [field for field in tracing.get("http://a/own").headers if field[0] == "x-trace"]
    assert re.fullmatch("[0-9a-f]{32}", name_and_value[1])


def test_without_the_setting_nothing_is_touched_and_no_filter_is_asked() -> None:
    plain = proxy()
    assert not plain.core._engine.plan.chain.on_request
    plain.get("http://a/", headers={"Traceparent": "no", "Tracestate": "a=1"}).sends(traceparent="no", tracestate="a=1")


def test_the_log_tells_the_trace() -> None:
    traced = exchange(headers=[(b"traceparent", VALID.encode())])
    assert json.loads(line_format("json", is_traced=True)(traced))["trace_id"] == TRACE
    assert json.loads(line_format("json", is_traced=True)(exchange()))["trace_id"] is None
    assert "trace_id" not in json.loads(line_format("json")(traced))
    assert line_format("{trace_id}")(traced) == f"{TRACE}\n"
    assert line_format("{trace_id}")(exchange()) == "-\n"
