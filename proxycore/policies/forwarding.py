"""Who the client is, and the request as the next server gets it (RFC 9110 section 7.6, RFC 7239).

Theory of operation
-------------------
A `Peer` is worked out once for each connection: who it is, and whether it is one of the listener's
`trusted_proxies`. For a peer that isn't, all that we tell about the client is constant, so its `Client`
is made once too. A trusted peer forwards for others, so each of its requests has a `Client` of its own:
the first address of X-Forwarded-For, from the right, that is no trusted proxy. Everything left of that
one may be made up. What can't be read ends the walk at the last address that could.

The client's address that routes, limits and logs use is `Client.ip`, and its scheme goes into
`request.scheme` before routing, so that a redirect to https behind somebody else's TLS doesn't loop.

Outbound, whatever a client sent in our name is gone (`_CLAIMS`), since the origin would take it for
ours. `Forwarded` is read, never sent: an origin gets one account of who asked, not two that may differ.
It is read only without X-Forwarded-For: a proxy that writes one of them often lets the other through.

The fields that belong to the hop were never in `request.headers` (`words.messages`), so nothing that
`Connection` named can remove what is added here. A gateway must add Via to requests and may leave it
out of responses (RFC 9110 section 7.6.3): we leave it out, clients have no use for it.
"""

from __future__ import annotations

import re

from proxycore.policies.addresses import AddressSet, number_of, parse_address
from proxycore.policies.trace import Trace
from proxycore.words.ids import Address
from proxycore.words.messages import Field, Headers, RequestHead

UNIX_CLIENT = "unix:"
"""`Client.ip` of a peer on a Unix socket: there is no address."""

_CLAIMS_OF_ORIGIN = frozenset(
    {b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-real-ip", b"forwarded"}
)
# X-Original-URL and X-Rewrite-URL make some frameworks serve another path than the one that we decided on, and
# X-Forwarded-Prefix puts what a stranger likes before every link that they make. The last four are older ways to
# say https, which gunicorn and Rack believe beside X-Forwarded-Proto.
_CLAIMS = _CLAIMS_OF_ORIGIN | {
    b"x-forwarded-port",
    b"x-forwarded-prefix",
    b"x-original-url",
    b"x-rewrite-url",
    b"x-forwarded-ssl",
    b"x-forwarded-scheme",
    b"x-forwarded-protocol",
    b"front-end-https",
}

# RFC 9110 section 7.6.3: how the request was received, and a pseudonym, since our address is nobody's business.
_VIA: dict[bytes, Field] = {version: (b"via", version + b" proxycore") for version in (b"1.0", b"1.1", b"2")}

_THIS_MACHINE = number_of("127.0.0.1")

# RFC 7239 section 6.2: a node that has no address, or whose address isn't known.
_NO_ADDRESS = b"unknown"

# A chain of proxies is short. One that forwards more was told a tale, and each address costs microseconds.
_HOPS_MAX = 32

# RFC 7239 section 4: one parameter of a forwarded-element, or what ends the element.
# Bounded names and possessive repeats, so that no value takes more than linear time.
_FORWARDED_PART = re.compile(rb'([!#$%&\'*+.^_`|~0-9A-Za-z-]{1,32}+)=(?:"((?:[^"\\]++|\\.)*+)"|([^\s",;]*+))|,')
_QUOTED_PAIR = re.compile(rb"\\(.)")
_AUTHORITY = re.compile(rb"[A-Za-z0-9._~%!$&'()*+=:\[\]-]{1,255}")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._~:/+=@-]{1,128}")


class Client:
    """Who a request comes from, and what the origin is told of it.

    `ip` is the address that decisions use, `number` its number (see `addresses.parse_address`; that of
    127.0.0.1 for a peer on a Unix socket), `port` the peer's port as text (empty for a forwarded client),
    `scheme` what the client used, `is_forwarded` whether a trusted proxy told. `host` is the authority
    that a trusted proxy was asked for, None where nobody told. `fields` are those of a request's own that
    are the same for the client's every request.
    """

    __slots__ = ("claims", "fields", "host", "ip", "is_forwarded", "number", "port", "scheme")

    def __init__(
        self,
        ip: str,
        port: str,
        scheme: bytes,
        *,
        number: int | None = None,
        chain: bytes,
        claims: frozenset[bytes] = _CLAIMS,
        host: bytes | None = None,
        is_forwarded: bool = False,
    ) -> None:
        self.ip = ip
        self.number = number
        self.port = port
        self.scheme = scheme
        self.claims = claims
        self.host = host
        self.is_forwarded = is_forwarded
        self.fields: list[Field] = [(b"x-forwarded-for", chain), (b"x-forwarded-proto", scheme)]
        if ip != UNIX_CLIENT:
            self.fields.append((b"x-real-ip", ip.encode()))

    def __repr__(self) -> str:
        return f"Client({self.ip!r}, scheme={self.scheme!r}, is_forwarded={self.is_forwarded})"


class Peer:
    """The other end of a downstream connection. Make one when it is accepted; ask `client_of` for each request.

    `trusted` are the listener's `trusted_proxies`. Whoever reaches us by a Unix socket is on this machine,
    and trusted if 127.0.0.1 is. `tls_subject` is set once the peer's certificate was verified.
    """

    __slots__ = ("_direct", "_number", "_scheme", "_trusted", "ip", "is_trusted", "tls_subject")

    def __init__(self, address: Address, *, scheme: bytes, trusted: AddressSet) -> None:
        if isinstance(address, str):
            self.ip, number, port = UNIX_CLIENT, _THIS_MACHINE, ""
        else:
            self.ip, number = parse_address(address[0]) or (address[0], None)
            port = str(address[1])
        self._number = number
        self.is_trusted = number is not None and trusted.has_number(number)
        self.tls_subject = ""
        self._trusted = trusted
        self._scheme = scheme
        self._direct = Client(self.ip, port, scheme, number=number, chain=self._node)

    @property
    def _node(self) -> bytes:
        """What X-Forwarded-For calls the peer."""
        return _NO_ADDRESS if self.ip == UNIX_CLIENT else self.ip.encode()

    def client_of(self, request: RequestHead, trace: Trace | None = None) -> Client:
        """Who this request comes from. Set `request.scheme` to its `scheme`, then route."""
        if not self.is_trusted:
            if trace is not None:
                self._tell_direct(request, trace)
            return self._direct
        client = self._forwarded_client(request.headers)
        if trace is not None:
            self._tell_forwarded(client, request, trace)
        return client

    def _tell_direct(self, request: RequestHead, trace: Trace) -> None:
        """Why nobody else is believed to be the client."""
        claims = sorted({name.decode() for name, _ in request.headers.fields if name in _CLAIMS})
        dropped = f"; what it says in {', '.join(claims)} is dropped" if claims else ""
        trace.add("client", "is the peer", self.ip, f"it is no trusted proxy{dropped}")

    def _tell_forwarded(self, client: Client, request: RequestHead, trace: Trace) -> None:
        """Who was believed, and what that made of it."""
        if not client.is_forwarded:
            return trace.add(
                "client", "is the peer", self.ip, f"a trusted proxy, which told of no client; it is {client.ip}"
            )
        told = "X-Forwarded-For" if b"x-forwarded-for" in request.headers else "Forwarded"
        chain = client.fields[0][1].decode("latin-1")
        trace.add("client", "forwarded by", self.ip, f"it is {client.ip}")
        trace.add("client", "believed", told, f"the last address in {chain} that is no trusted proxy's is {client.ip}")
        if client.scheme != self._scheme:
            trace.add("client", "believed", client.scheme.decode(), f"the scheme, told by {self.ip}")

    def _forwarded_client(self, headers: Headers) -> Client:
        """The client that a trusted peer tells of."""
        nodes = _members(headers, b"x-forwarded-for")
        schemes = _members(headers, b"x-forwarded-proto")
        host = headers.get(b"x-forwarded-host")
        if not nodes:
            elements = [element for element in _forwarded_elements(headers.get_all(b"forwarded")) if b"for" in element]
            nodes = [_plain_node(element[b"for"]) for element in elements]
            schemes = schemes or [element.get(b"proto", b"") for element in elements]
            host = host or next((element[b"host"] for element in elements if b"host" in element), None)
        ip, number, index = self._first_untrusted(nodes)
        # One scheme for each node: the one that the client used. Else all that is known is what the first proxy saw.
        told = schemes[index if len(schemes) == len(nodes) else 0].lower() if schemes else b""
        return Client(
            ip,
            "" if nodes else self._direct.port,
            told if told in (b"http", b"https") else self._scheme,
            number=number,
            chain=b", ".join([*nodes, self._node]),
            claims=_CLAIMS_OF_ORIGIN,
            host=host if host and _AUTHORITY.fullmatch(host) else None,
            is_forwarded=bool(nodes),
        )

    def _first_untrusted(self, nodes: list[bytes]) -> tuple[str, int | None, int]:
        """The client's address with its number, and its index among the nodes, all as far as they can be believed."""
        ip, number, index = self.ip, self._number, 0
        for position in range(len(nodes) - 1, max(-1, len(nodes) - 1 - _HOPS_MAX), -1):
            parsed = _address_of(nodes[position])
            if parsed is None:
                break
            ip, number = parsed
            index = position
            if not self._trusted.has_number(number):
                break
        return ip, number, index

    def __repr__(self) -> str:
        return f"Peer({self.ip!r}, scheme={self._scheme!r}, is_trusted={self.is_trusted})"


def outbound(request: RequestHead, client: Client, *, target: bytes, authority: bytes) -> RequestHead:
    """The request as a server gets it: a head of its own, so that changing it leaves `request` as it came.

    `target` is what the rewrite gave, or `request.target`; `authority` is `chosen_host`.
    """
    claims = client.claims
    fields = [field for field in request.headers.fields if field[0] not in claims]
    fields += client.fields
    host = client.host or request.authority
    if host:
        fields.append((b"x-forwarded-host", host))
    fields.append(_VIA[request.version])
    headers = Headers.__new__(Headers)
    headers.fields = fields
    # Set one by one: through __init__ with its keywords it takes three times as long.
    head = RequestHead.__new__(RequestHead)
    head.method = request.method
    head.target = target
    head.authority = authority
    head.headers = headers
    head.scheme = request.scheme
    head.version = b"1.1"
    head.length = request.length
    head.persistent = True
    head.upgrade = request.upgrade
    head.expect_continue = request.expect_continue
    head.te_trailers = request.te_trailers
    return head


def chosen_host(choice: str, asked: bytes, server: bytes) -> bytes:
    """The authority that a server is told, by the upstream's `host`: "preserve", "upstream" or a literal.

    A request of HTTP/1.0 may have asked for none; the server's own is sent then.
    """
    if choice == "preserve":
        return asked or server
    return server if choice == "upstream" else choice.encode()


def take_hop(request: RequestHead) -> bool:
    """Count an OPTIONS request's hop down in Max-Forwards. True: it may go no further, and we are who answers.

    RFC 9110 section 7.6.2 asks that of OPTIONS and TRACE. What is no number is passed on as it is.
    """
    left = request.headers.get(b"max-forwards")
    if left is None or not left.isdigit() or len(left) > 9:
        return False
    if int(left) == 0:
        return True
    request.headers.set(b"max-forwards", b"%d" % (int(left) - 1))
    return False


def told_request_id(request: RequestHead, peer: Peer) -> str | None:
    """The X-Request-Id of a trusted proxy, if it is one line of plain characters; else mint one."""
    if not peer.is_trusted:
        return None
    told = request.headers.get(b"x-request-id")
    return told.decode("ascii") if told is not None and _REQUEST_ID.fullmatch(told) else None


def _members(headers: Headers, name: bytes) -> list[bytes]:
    """`Headers.get_list`, for fields that are mostly absent or one line."""
    lines = headers.get_all(name)
    if not lines:
        return lines
    return [node for member in b",".join(lines).split(b",") if (node := member.strip(b" \t"))]


def _address_of(node: bytes) -> tuple[str, int] | None:
    """The address of a node of X-Forwarded-For or Forwarded, which may have a port (RFC 7239 section 6)."""
    text = node.decode("ascii", "replace")
    if text[:1] == "[":
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    return parse_address(text)


def _plain_node(node: bytes) -> bytes:
    parsed = _address_of(node)
    return parsed[0].encode() if parsed else _NO_ADDRESS


def _forwarded_elements(lines: list[bytes]) -> list[dict[bytes, bytes]]:
    """The parameters of each element of Forwarded, names in lower case. What can't be read is passed over."""
    elements: list[dict[bytes, bytes]] = [{}]
    for part in _FORWARDED_PART.finditer(b",".join(lines)):
        if part[1] is None:
            elements.append({})
        else:
            value = part[3] if part[2] is None else _QUOTED_PAIR.sub(rb"\1", part[2])
            elements[-1].setdefault(part[1].lower(), value)
    return elements
