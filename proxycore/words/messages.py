"""HTTP messages as every room sees them, whatever protocol carried them.

Field names are lower-case bytes, values are bytes without surrounding blanks, repeated fields stay
repeated and in order. Two groups of fields never stand in `headers`, because something else owns
them: framing (`content-length`, `transfer-encoding`: see `length`) and the hop (`connection` and
what it names, `keep-alive`, `proxy-connection`, `te`, `upgrade`, and `host`: see the attributes).
So no filter can tear framing from the body, and no client can remove through `Connection` what the
proxy adds later.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

Field = tuple[bytes, bytes]

ABSENT = -1
"""`length` of a message that has no content and declares none."""

UNKNOWN = -2
"""`length` of a message whose end shows itself: chunked, HTTP/2 without content-length, or until close."""


class Headers:
    """An ordered multimap of header fields. Give names in lower case.

    Code in the path of each request works on the list `fields` itself.
    """

    __slots__ = ("fields",)

    def __init__(self, fields: Iterable[Field] = ()) -> None:
        self.fields: list[Field] = fields if isinstance(fields, list) else list(fields)

    def get(self, name: bytes, default: bytes | None = None) -> bytes | None:
        """The first value of `name`."""
        for field in self.fields:
            if field[0] == name:
                return field[1]
        return default

    def get_all(self, name: bytes) -> list[bytes]:
        """Every value of `name`, in order."""
        return [field[1] for field in self.fields if field[0] == name]

    def get_list(self, name: bytes) -> list[bytes]:
        """The members of a comma-separated list field, over all its lines (RFC 9110 section 5.6.1).

        Not for fields whose values hold quoted commas.
        """
        members = (member.strip(b" \t") for value in self.get_all(name) for member in value.split(b","))
        return [member for member in members if member]

    def set(self, name: bytes, value: bytes) -> None:
        """Replace every field of that name by one."""
        self.remove(name)
        self.fields.append((name, value))

    def add(self, name: bytes, value: bytes) -> None:
        """Append a field, beside those of the same name."""
        self.fields.append((name, value))

    def remove(self, name: bytes) -> None:
        """Remove every field of that name; none is no error."""
        self.fields[:] = [field for field in self.fields if field[0] != name]

    def copy(self) -> Headers:
        return Headers(self.fields.copy())

    def __contains__(self, name: bytes) -> bool:
        return any(field[0] == name for field in self.fields)

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self.fields == other.fields

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Headers({self.fields!r})"


class WrittenHeaders(Headers):
    """Headers of which the lines are written already, for a response that is sent many times. Each answer has its own.

    `lines` is what `http1.writer` makes of `written`. Whoever asks for `fields` gets a list as always, which may be
    changed: so the lines count no more from then on, and `lines` is None.
    """

    __slots__ = ("_fields", "_written", "lines")

    def __init__(self, written: Sequence[Field], lines: bytes) -> None:
        self._written = written
        self._fields: list[Field] | None = None
        self.lines: bytes | None = lines

    @property
    def fields(self) -> list[Field]:
        if self._fields is None:
            self._fields = list(self._written)
            self.lines = None
        return self._fields

    @fields.setter
    def fields(self, fields: list[Field]) -> None:
        self._fields = fields
        self.lines = None

    def copy(self) -> Headers:
        return Headers(self.fields.copy()) if self.lines is None else WrittenHeaders(self._written, self.lines)

    def __contains__(self, name: bytes) -> bool:
        return name in [field[0] for field in (self._written if self._fields is None else self._fields)]


class RequestHead:
    """A request without its content.

    `target` is in origin-form (`/path?query`, or `*` for OPTIONS), as received byte for byte;
    `authority` is the host with its port if one was given; `version` is `1.0`, `1.1` or `2`.
    `length` is the Content-Length, `ABSENT` or `UNKNOWN`. `persistent` says that the sender keeps
    its connection for more, `upgrade` the protocol that it offers to change to,
    `expect_continue` that it waits for a 100 before it sends content (RFC 9110 section 10.1.1),
    `te_trailers` that it takes trailers.
    """

    __slots__ = (
        "authority",
        "expect_continue",
        "headers",
        "length",
        "method",
        "persistent",
        "scheme",
        "target",
        "te_trailers",
        "upgrade",
        "version",
    )

    def __init__(
        self,
        method: bytes,
        target: bytes,
        authority: bytes,
        headers: Headers,
        *,
        scheme: bytes = b"http",
        version: bytes = b"1.1",
        length: int = ABSENT,
        persistent: bool = True,
        upgrade: bytes | None = None,
        expect_continue: bool = False,
        te_trailers: bool = False,
    ) -> None:
        self.method = method
        self.target = target
        self.authority = authority
        self.headers = headers
        self.scheme = scheme
        self.version = version
        self.length = length
        self.persistent = persistent
        self.upgrade = upgrade
        self.expect_continue = expect_continue
        self.te_trailers = te_trailers

    @property
    def has_content(self) -> bool:
        """Whether content follows the head (it may turn out empty when the length is `UNKNOWN`)."""
        return self.length > 0 or self.length == UNKNOWN

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RequestHead) and all(getattr(self, n) == getattr(other, n) for n in self.__slots__)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"RequestHead({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__slots__)})"


class ResponseHead:
    """A response without its content; an interim one where `status` is below 200.

    `length` is what the sender declared, also where no content follows (HEAD, 304): `has_content`
    tells whether it does. `persistent` says that the sender keeps its connection for more.
    """

    __slots__ = ("has_content", "headers", "length", "persistent", "reason", "status", "upgrade", "version")

    def __init__(
        self,
        status: int,
        headers: Headers,
        *,
        reason: bytes = b"",
        version: bytes = b"1.1",
        length: int = ABSENT,
        has_content: bool = False,
        persistent: bool = True,
        upgrade: bytes | None = None,
    ) -> None:
        self.status = status
        self.headers = headers
        self.reason = reason
        self.version = version
        self.length = length
        self.has_content = has_content
        self.persistent = persistent
        self.upgrade = upgrade

    def copy(self) -> ResponseHead:
        """Another head that says the same, with headers of its own."""
        return ResponseHead(
            self.status,
            self.headers.copy(),
            reason=self.reason,
            version=self.version,
            length=self.length,
            has_content=self.has_content,
            persistent=self.persistent,
            upgrade=self.upgrade,
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ResponseHead) and all(getattr(self, n) == getattr(other, n) for n in self.__slots__)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"ResponseHead({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__slots__)})"


class End:
    """The end of a message's content, with the trailers that came after it."""

    __slots__ = ("trailers",)

    def __init__(self, trailers: list[Field] | None = None) -> None:
        self.trailers: list[Field] = trailers if trailers is not None else []

    def __eq__(self, other: object) -> bool:
        return isinstance(other, End) and self.trailers == other.trailers

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"End({self.trailers!r})"
