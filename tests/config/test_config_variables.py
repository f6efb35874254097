"""Templates and the variables in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxycore.config import VARIABLES, Variable, parse_template
from proxycore.config.problems import Invalid
from proxycore.config.variables import format_template, parse_variable


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ()),
        ("plain", ("plain",)),
        ("{client_ip}", (Variable("client_ip"),)),
        ("{client_ip} x {header.User-Agent}", (Variable("client_ip"), " x ", Variable("header", "User-Agent"))),
        ("{{host}", ("{host}",)),
        ("{{{host}}", ("{", Variable("host"), "}")),
        ("a}b", ("a}b",)),
        ("{query.a.b}", (Variable("query", "a.b"),)),
    ],
)
def test_templates(text: str, parts: tuple[str | Variable, ...]) -> None:
    assert parse_template(text) == parts


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("{client_i}", "client_ip"),
        ("{headers.X-A}", "header.X-A"),
        ("{host", None),
        ("{}", None),
        ("{header}", None),
        ("{header.}", None),
        ("{header.a b}", None),
        ("{host.x}", None),
        ("{ host }", "host"),
    ],
)
def test_what_is_no_template(text: str, suggestion: str | None) -> None:
    with pytest.raises(Invalid) as caught:
        parse_template(text)
    assert caught.value.suggestion == suggestion


@pytest.mark.parametrize("name", [name for name, _ in VARIABLES])
def test_every_listed_variable_can_be_used(name: str) -> None:
    assert str(parse_variable(name.replace("NAME", "X-Y"))) == name.replace("NAME", "X-Y")


variables = st.sampled_from([name for name, _ in VARIABLES]).map(lambda name: parse_variable(name.replace("NAME", "a")))
literals = st.text(st.sampled_from("ab {}"), min_size=1)


@given(st.lists(variables | literals))
def test_a_template_comes_back_from_its_text(parts: list[str | Variable]) -> None:
    joined: list[str | Variable] = []
    for part in parts:
        if joined and isinstance(part, str) and isinstance(last := joined[-1], str):
            joined[-1] = last + part
        else:
            joined.append(part)
    assert parse_template(format_template(tuple(joined))) == tuple(joined)


@given(st.text(st.sampled_from("{}.hostcliepr_X-")))
def test_no_text_is_more_than_invalid_as_a_template(text: str) -> None:
    try:
        template = parse_template(text)
    except Invalid:
        return
    assert parse_template(format_template(template)) == template
