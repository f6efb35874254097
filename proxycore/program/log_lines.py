"""The lines of the access log: `json`, `combined`, or a template of one's own.

`line_format` compiles a format once; what it gives makes one line, in ASCII and with its newline, of one
`ExchangeEnded`. Whatever bytes a client sent, they make neither a second line nor a field that isn't theirs,
and no terminal that shows the log acts on them.

Most values repeat from line to line (names, methods, hosts, user agents), so their quoted text is kept;
only what is new each time is looked through.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from json.encoder import encode_basestring_ascii  # in C: six times as fast as json.dumps

from proxycore.config.variables import Variable, parse_template
from proxycore.policies.conditions import cookie_values, parameter_values
from proxycore.policies.hosts import host_of
from proxycore.policies.trace_context import trace_id_of
from proxycore.words.errors import Outcome
from proxycore.words.messages import Headers
from proxycore.words.notices import ConnectionEnded, ExchangeEnded

LineFormat = Callable[[ExchangeEnded], str]
"""Makes the text of a line, or of a part of one."""

KEPT = 1_024
"""Quoted texts that each format keeps; when there are more, it starts anew."""

KEPT_LENGTH = 256
"""Longest text that is kept, so that those who send long ones can't fill the memory."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_PROTOCOLS = {b"1.1": "HTTP/1.1", b"1.0": "HTTP/1.0", b"2": "HTTP/2.0"}
_SECONDS = "%.6f"  # by the operator: an f-string takes twice as long for it
_MILLISECONDS = tuple(f".{number:03d}Z" for number in range(1_000))
_ESCAPES = {code: f"\\x{code:02X}" for code in (*range(32), *range(127, 256), *b'"\\')}


def line_format(text: str, *, is_traced: bool = False) -> LineFormat:
    """The format that `logging.access` names. `is_traced`: JSON tells of the trace, too."""
    if text == "json":
        return JsonLine(is_traced=is_traced)
    if text == "combined":
        return CombinedLine()
    return TemplateLine(text)


def drops_line(text: str, count: int) -> str:
    """The line, in a log of that format, that says that `count` lines are missing before it."""
    if text == "json":
        return f'{{"time":"{_write_rfc3339(time.gmtime())}.000Z","dropped":{count}}}\n'
    return f"# {count} lines were dropped: this log could not be written as fast as they came\n"


def empty_exchange(ended: ConnectionEnded) -> ExchangeEnded:
    """A connection that carried no request, in the form in which every format takes it."""
    line = ExchangeEnded(ended.wall)
    line.exchange = line.status = line.received = line.sent = line.retries = 0
    line.listener, line.client, line.duration = ended.listener, ended.client, ended.duration
    line.client_port = line.route = line.upstream = line.server = line.request_id = line.user = ""
    line.tls_subject = ""
    line.method = line.scheme = line.authority = line.target = line.version = b""
    line.headers = Headers()
    line.queued = line.connected = line.first_byte = line.messages = None
    line.outcome = Outcome("client_left", ended.reason)
    return line


class _Kept(dict[bytes | str | None, str]):
    """Texts by what was sent, made by `make` when they are first asked for: as fast as a dict for what repeats."""

    def __init__(self, make: Callable[[bytes | str | None], str]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, value: bytes | str | None) -> str:
        made = self._make(value)
        if value is None or len(value) <= KEPT_LENGTH:
            if len(self) >= KEPT:
                self.clear()
            self[value] = made
        return made


class _Clock:
    """Times of day as text: the part down to the second is made once for all lines of that second."""

    def __init__(self, write: Callable[[time.struct_time], str]) -> None:
        self._write = write
        self._second = -1
        self._text = ""

    def __call__(self, wall: float) -> str:
        second = int(wall)
        if second != self._second:
            self._text = self._write(time.gmtime(second))
            self._second = second
        return self._text


def _write_rfc3339(at: time.struct_time) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", at)


def _write_common(at: time.struct_time) -> str:
    # %b would be the locale's.
    return f"{at.tm_mday:02d}/{_MONTHS[at.tm_mon - 1]}/{time.strftime('%Y:%H:%M:%S', at)} +0000"


def _text_of(value: bytes | str) -> str:
    """What was sent, as text; bytes that are no UTF-8 appear as a backslash, x and two digits."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


# ---- json ------------------------------------------------------------------------------------------------------------


def json_text(value: bytes | str | None) -> str:
    """A JSON string in ASCII, or `null` for what isn't there."""
    return encode_basestring_ascii(_text_of(value)) if value else "null"


class JsonLine:
    """One JSON object for each exchange. What it did not come to is null; times are seconds, sizes bytes."""

    def __init__(self, *, is_traced: bool = False) -> None:
        self._is_traced = is_traced
        self._clock = _Clock(_write_rfc3339)
        self._kept = _Kept(json_text)

    def __call__(self, ended: ExchangeEnded) -> str:
        kept, wall, outcome, headers = self._kept, ended.wall, ended.outcome, ended.headers
        queued, connected, first_byte = ended.queued, ended.connected, ended.first_byte
        ending = '"completed","at":null,"error":null' if outcome.cause == "completed" else _json_ending(outcome)
        return (
            f'{{"time":"{self._clock(wall)}{_MILLISECONDS[int(wall % 1.0 * 1_000.0)]}",'
            f'"client":{kept[ended.client]},"method":{kept[ended.method]},"scheme":{kept[ended.scheme]},'
            f'"host":{kept[ended.authority]},"target":{json_text(ended.target)},'
            f'"protocol":"{_PROTOCOLS.get(ended.version, "")}","status":{ended.status},'
            f'"bytes_sent":{ended.sent},"bytes_received":{ended.received},"duration":{_SECONDS % ended.duration},'
            f'"queue":{f"{queued:.6f}" if queued else "null" if queued is None else "0"},'
            f'"connect":{f"{connected:.6f}" if connected else "null" if connected is None else "0"},'
            f'"first_byte":{"null" if first_byte is None else _SECONDS % first_byte},'
            f'"upstream":{kept[ended.upstream]},"server":{kept[ended.server]},"retries":{ended.retries},'
            f'"route":{kept[ended.route]},"listener":{kept[ended.listener]},'
            f'"request_id":{json_text(ended.request_id)},"outcome":{ending},"user":{kept[ended.user]},'
            f'"referer":{kept[headers.get(b"referer")]},"user_agent":{kept[headers.get(b"user-agent")]}'
            f"{'' if not self._is_traced else _json_trace(headers)}"
            f"{'' if not ended.tls_subject else _json_subject(ended.tls_subject)}"
            f"{'' if ended.messages is None else _json_messages(*ended.messages)}}}\n"
        )


def _json_trace(headers: Headers) -> str:
    return f',"trace_id":{json_text(trace_id_of(headers))}'


def _json_subject(subject: str) -> str:
    return f',"tls_subject":{json_text(subject)}'


def _json_messages(received: int, sent: int) -> str:
    return f',"messages_received":{received},"messages_sent":{sent}'


def _json_ending(outcome: Outcome) -> str:
    error = outcome.failure.error if outcome.failure is not None else None
    reason = f',"reason":{json_text(outcome.reason)}' if outcome.reason else ""
    return f'"{outcome.cause}","at":{json_text(outcome.detail)},"error":{json_text(error)}{reason}'


# ---- combined --------------------------------------------------------------------------------------------------------


def plain_text(value: bytes | str | None) -> str:
    """What was sent as nginx writes it: quotes, backslashes, controls and non-ASCII bytes as \\xHH; `-` for nothing."""
    if not value:
        return "-"
    raw = value if isinstance(value, bytes) else value.encode(errors="surrogatepass")
    text = raw.decode("latin-1")
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return text.translate(_ESCAPES)


def unquoted_text(value: bytes | str | None) -> str:
    """As `plain_text`, for a field that ends at a blank."""
    return plain_text(value).replace(" ", "\\x20")


class CombinedLine:
    """The combined format of Apache and nginx, byte for byte; times are UTC."""

    def __init__(self) -> None:
        self._clock = _Clock(_write_common)
        self._kept = _Kept(plain_text)
        self._unquoted = _Kept(unquoted_text)

    def __call__(self, ended: ExchangeEnded) -> str:
        kept, headers = self._kept, ended.headers
        request = (
            f"{kept[ended.method]} {plain_text(ended.target)} {_PROTOCOLS.get(ended.version, '-')}"
            if ended.method
            else "-"
        )
        return (
            f"{ended.client} - {self._unquoted[ended.user]} [{self._clock(ended.wall)}] "
            f'"{request}" {ended.status:03d} {ended.sent} '
            f'"{kept[headers.get(b"referer")]}" "{kept[headers.get(b"user-agent")]}"\n'
        )


# ---- templates -------------------------------------------------------------------------------------------------------


class TemplateLine:
    """A line of one's own, such as "{client_ip} {method} {target}". Values are written as in `combined`."""

    def __init__(self, text: str) -> None:
        clock = _Clock(_write_rfc3339)
        self._parts: list[Callable[[ExchangeEnded], str]] = []
        literal = ""
        for part in parse_template(text):
            if isinstance(part, str):
                literal += part.replace("\r", " ").replace("\n", " ")
            else:
                self._parts.append(_after(literal, _value_of(part, clock)))
                literal = ""
        self._ending = literal + "\n"

    def __call__(self, ended: ExchangeEnded) -> str:
        return "".join([part(ended) for part in self._parts]) + self._ending


def _after(literal: str, part: LineFormat) -> LineFormat:
    return (lambda ended: literal + part(ended)) if literal else part


def _value_of(variable: Variable, clock: _Clock) -> LineFormat:
    name, argument = variable.name, variable.argument
    if argument:
        return _quoted(_FAMILIES[name](argument))
    if name == "time":
        return lambda ended: clock(ended.wall) + _MILLISECONDS[int(ended.wall % 1.0 * 1_000.0)]
    if name in _NUMBERS:
        return _NUMBERS[name]
    return _quoted(_TEXTS[name])


Getter = Callable[[ExchangeEnded], bytes | str | None]


def _quoted(get: Getter) -> LineFormat:
    kept = _Kept(plain_text)
    return lambda ended: kept[get(ended)]


def _header(argument: str) -> Getter:
    name = argument.lower().encode()
    if name == b"host":
        return lambda ended: ended.authority
    return lambda ended: b", ".join(ended.headers.get_all(name))


def _cookie(argument: str) -> Getter:
    name = argument.encode()
    return lambda ended: next(iter(cookie_values(ended.headers, name)), b"")


def _parameter(argument: str) -> Getter:
    name = argument.encode()
    return lambda ended: next(iter(parameter_values(ended.target.partition(b"?")[2], name)), b"")


_FAMILIES: dict[str, Callable[[str], Getter]] = {"header": _header, "cookie": _cookie, "query": _parameter}

_NUMBERS: dict[str, LineFormat] = {
    "status": lambda ended: str(ended.status or "-"),
    "duration": lambda ended: f"{ended.duration:.3f}",
    "bytes_sent": lambda ended: str(ended.sent),
}

_TEXTS: dict[str, Getter] = {
    "client_ip": lambda ended: ended.client,
    "client_port": lambda ended: ended.client_port,
    "method": lambda ended: ended.method,
    "scheme": lambda ended: ended.scheme,
    "host": lambda ended: host_of(ended.authority),
    "path": lambda ended: ended.target.partition(b"?")[0],
    "query": lambda ended: ended.target.partition(b"?")[2],
    "target": lambda ended: ended.target,
    "request_id": lambda ended: ended.request_id,
    "trace_id": lambda ended: trace_id_of(ended.headers),
    "listener": lambda ended: ended.listener,
    "route": lambda ended: ended.route,
    "upstream": lambda ended: ended.upstream,
    "server": lambda ended: ended.server,
    "user": lambda ended: ended.user,
    "tls_subject": lambda ended: ended.tls_subject,
}
