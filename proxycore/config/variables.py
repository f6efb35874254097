"""The {variables} of header values, redirects, log lines and keys, and the templates they stand in."""

from __future__ import annotations

import re
from dataclasses import dataclass

from proxycore.config.problems import Invalid, nearest

VARIABLES: tuple[tuple[str, str], ...] = (
    ("client_ip", "Address of the client: the peer, or whom a trusted proxy forwarded for."),
    ("client_port", "Port of the peer's connection; empty for a Unix socket or a forwarded client."),
    ("method", "Request method."),
    ("scheme", "`http` or `https`, as the client used it."),
    ("host", "Host that was asked for, in lower case, without its port."),
    ("path", "Path of the target, as received."),
    ("query", "Query of the target without its `?`; empty when there is none."),
    ("target", "Path and query as received, byte for byte."),
    ("status", "Status code of the response; empty before there is one."),
    ("request_id", "Id of the exchange: X-Request-Id of a trusted proxy, else one of our own."),
    ("trace_id", "Id of the trace that the request belongs to (`traceparent`); empty without one."),
    ("listener", "Name of the listener."),
    ("route", "Name of the route that matched."),
    ("upstream", "Name of the upstream; empty when we answered ourselves."),
    ("server", "Name of the server that answered; empty when none did."),
    ("user", "Identity that the gate let in (basic auth, JWT, API key); empty without one."),
    ("tls_subject", "Subject of the client's certificate; empty without one."),
    ("header.NAME", "Request header NAME; several are joined by a comma."),
    ("cookie.NAME", "Cookie NAME of the request."),
    ("query.NAME", "First value of the query parameter NAME, decoded."),
    (
        "duration",
        "Seconds from the first byte of the request to the last byte of the response, in milliseconds' precision.",
    ),
    ("bytes_sent", "Bytes of the response's content that were sent."),
    ("time", "Time at which the request began, as RFC 3339 in UTC."),
)
"""Every variable with what it stands for, in the order of the reference."""

_PLAIN = tuple(name for name, _ in VARIABLES if not name.endswith(".NAME"))
_FAMILIES = tuple(name.removesuffix(".NAME") for name, _ in VARIABLES if name.endswith(".NAME"))
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", re.ASCII)  # RFC 9110 section 5.6.2
_PARAMETER = re.compile(r"[^\s{}\x00-\x1f\x7f]+")


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable as it stands in a template: `name`, and for `header.User-Agent` and its like the `argument`."""

    name: str
    argument: str = ""

    def __str__(self) -> str:
        return f"{self.name}.{self.argument}" if self.argument else self.name


Template = tuple[str | Variable, ...]
"""Literal texts and variables, in order. No two texts are neighbours and none is empty."""


def parse_variable(text: str) -> Variable:
    """The variable `client_ip` or `header.User-Agent`. Raises `Invalid` for a name that doesn't exist."""
    name, dot, argument = text.partition(".")
    if not dot and name in _PLAIN:
        return Variable(name)
    if name not in _FAMILIES:
        raise Invalid(f'there is no variable "{text}"', _nearest_variable(name, argument))
    if not argument:
        raise Invalid(f'"{text}" needs a name behind it, as in "{name}.NAME"')
    form = _PARAMETER if name == "query" else _TOKEN
    if not form.fullmatch(argument):
        raise Invalid(f'"{argument}" is no name of a {name}')
    return Variable(name, argument)


def parse_template(text: str) -> Template:
    """The parts of "{client_ip} x {header.User-Agent}". `{{` is a literal brace; a single `}` is literal too."""
    parts: list[str | Variable] = []
    literal = ""
    position = 0
    while (brace := text.find("{", position)) >= 0:
        literal += text[position:brace]
        if text.startswith("{{", brace):
            literal += "{"
            position = brace + 2
            continue
        end = text.find("}", brace)
        if end < 0:
            raise Invalid(f'"{text[brace:]}" is a variable without its closing brace (a literal brace is "{{{{")')
        if literal:
            parts.append(literal)
            literal = ""
        parts.append(parse_variable(text[brace + 1 : end]))
        position = end + 1
    literal += text[position:]
    return tuple([*parts, literal] if literal else parts)


def format_template(template: Template) -> str:
    """The text of a template."""
    return "".join(part.replace("{", "{{") if isinstance(part, str) else f"{{{part}}}" for part in template)


def _nearest_variable(name: str, argument: str) -> str | None:
    if argument:
        family = nearest(name, _FAMILIES)
        return family and f"{family}.{argument}"
    return nearest(name, _PLAIN)
