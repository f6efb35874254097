"""The forms that texts of a configuration must have: names, patterns, files, origins.

Each `check_*` returns what to keep and raises `Invalid`, with a suggestion where the meaning is plain.
"""

from __future__ import annotations

import re

from proxycore.config import addresses
from proxycore.config.kinds import Text
from proxycore.config.problems import Invalid, nearest
from proxycore.config.variables import parse_template, parse_variable

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", re.ASCII)  # RFC 9110 section 5.6.2
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@/\[\]-]{0,99}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#@\s]+")
_PATH_UNFIT = re.compile(r"[\x00-\x20\x7f?#\\]")

FRAMING_FIELDS = (
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
)
"""Fields that the framing of a message and its hop own: nobody else writes or matches them."""


def check_name(text: str) -> str:
    """The name of a listener, route, upstream, server ...: it stands in logs, metrics and cookies."""
    if not _NAME.fullmatch(text):
        raise Invalid(f'"{text}" is no name: up to 100 letters, digits and _ - . : @ / [ ]')
    return text


def check_token(text: str) -> str:
    """A token (RFC 9110 section 5.6.2): the name of a cookie, or of a claim's header."""
    if not _TOKEN.fullmatch(text):
        raise Invalid(f'"{text}" is no token: letters, digits and some signs, without blanks')
    return text


def check_media_type(text: str) -> str:
    """A media type without parameters, or all subtypes of one: `text/html`, `text/*`."""
    kind, slash, subtype = text.partition("/")
    if not slash or not _TOKEN.fullmatch(kind) or not _TOKEN.fullmatch(subtype) or "*" in kind:
        raise Invalid(f'"{text}" is no media type such as "text/html" or "text/*"')
    return text.lower()


def check_field_name(text: str) -> str:
    """The name of a header field; kept in lower case, as everywhere in the proxy."""
    if not _TOKEN.fullmatch(text):
        likely = "-".join(text.strip(" :\t").split())
        raise Invalid(f'"{text}" is no name of a header field', likely if _TOKEN.fullmatch(likely) else None)
    return text.lower()


def check_edited_field_name(text: str) -> str:
    """The name of a field that a route may set or remove."""
    name = check_field_name(text)
    if name in FRAMING_FIELDS:
        raise Invalid("this field belongs to the framing of messages and can't be changed")
    if name == "host":
        raise Invalid("Host is chosen by `host` of the upstream")
    return name


def check_matched_field_name(text: str) -> str:
    """The name of a field that a route may look at."""
    name = check_field_name(text)
    if name == "host":
        raise Invalid("a route looks at Host by its own key `host`")
    if name in FRAMING_FIELDS:
        raise Invalid("this field belongs to the framing of messages and is gone when routes are matched")
    return name


def check_field_value(text: str) -> str:
    """A literal value of a header field (RFC 9110 section 5.5)."""
    if _CONTROL.search(text):
        raise Invalid("a header value holds no control characters")
    if text != text.strip(" \t"):
        raise Invalid("a header value has no blanks around it", text.strip(" \t"))
    return text


def check_field_template(text: str) -> str:
    """The value of a header field, which may hold {variables}."""
    parse_template(check_field_value(text))
    return text


def check_variable(text: str) -> str:
    """The name of a variable, without braces."""
    if text.startswith("{") and text.endswith("}"):
        raise Invalid("a variable stands here without braces", text[1:-1])
    parse_variable(text)
    return text


def check_method(text: str) -> str:
    """A method; methods are case-sensitive (RFC 9110 section 9.1) and those in use are in capitals."""
    if not _TOKEN.fullmatch(text):
        raise Invalid(f'"{text}" is no method')
    if text != text.upper():
        raise Invalid(f'"{text}" would never match: methods are in capitals', text.upper())
    return text


def check_host(text: str) -> str:
    """A host name or address, without port."""
    addresses.check_host(text)
    return text.lower()


def check_host_pattern(text: str) -> str:
    """A host without port, or `*.` and a domain for every host below it; kept in lower case."""
    name = text.removeprefix("*.")
    if "*" in name:
        raise Invalid('"*" stands only at the front of a host: "*.example.com"')
    if match := re.fullmatch(r"([^:]+|\[.*\]):[0-9]+", text):
        raise Invalid("a host is matched without its port", match[1])
    if "://" in text:
        raise Invalid("a host is matched without its scheme", text.partition("://")[2].partition("/")[0])
    addresses.check_host_in_url(name)
    return text.lower()


def check_path_pattern(text: str) -> str:
    """`/x` is that path alone, `/x/*` is /x and all below it. Paths are matched normalised."""
    if not text.startswith("/"):
        raise Invalid("a path begins with a slash", f"/{text}" if text[0] not in "*~^" else None)
    prefix = text.removesuffix("/*")
    if "*" in prefix:
        meant = text.rstrip("*") + "/*" if prefix.rstrip("*") and "*" not in prefix.rstrip("*") else None
        raise Invalid('"*" stands only as the last segment of a path ("/x/*"); use path_regex for other forms', meant)
    _check_path(prefix or "/")
    return text


def check_path_prefix(text: str) -> str:
    """The leading segments of a path: `/api`."""
    if not text.startswith("/"):
        raise Invalid("a path begins with a slash", f"/{text}")
    if text != "/" and text.rstrip("/*") != text:
        raise Invalid("this is whole segments of a path, without a slash or * at the end", text.rstrip("/*") or None)
    if text == "/":
        raise Invalid('"/" is no prefix that could be added or taken away')
    _check_path(text)
    return text


def check_request_path(text: str) -> str:
    """A path that we ask for ourselves, with a query if need be."""
    if not text.startswith("/"):
        raise Invalid("a path begins with a slash", f"/{text}")
    if re.search(r"[^\x21-\x7e]|#", text):
        raise Invalid("a path that is asked for holds visible ASCII only")
    return text


def _check_path(path: str) -> None:
    if _PATH_UNFIT.search(path):
        raise Invalid("a path holds no query, fragment, backslash, blank or control character")
    if any(segment in (".", "..") for segment in path.split("/")) or "//" in path:
        raise Invalid('a path with "//", "." or ".." never matches: paths are normalised first')


def check_regex(text: str) -> str:
    """A regular expression of Python's `re`."""
    try:
        re.compile(text)
    except re.error as error:
        where = "" if error.pos is None else f" at character {error.pos + 1}"
        raise Invalid(f'the pattern "{text}" doesn\'t compile: {error.msg}{where}') from None
    except (OverflowError, RecursionError):
        raise Invalid("the pattern is too large to compile") from None
    return text


def check_file(text: str) -> str:
    """A file's name; a relative one counts from the folder of the configuration file."""
    if "\0" in text:
        raise Invalid("a file's name holds no NUL")
    return text


def check_origin(text: str) -> str:
    """An origin as browsers send it: scheme, host, and a port where it isn't the default; or `*`, or `null`."""
    if text in ("*", "null"):
        return text
    if "://" not in text:
        raise Invalid(f'"{text}" is no origin such as "https://app.example.com"', f"https://{text.rstrip('/')}")
    if not _ORIGIN.fullmatch(text):
        scheme, _, rest = text.lower().partition("://")
        meant = f"{scheme}://{re.split('[/?#]', rest)[0].rpartition('@')[2]}"
        raise Invalid(
            "an origin is a scheme and a host in lower case, without a path", meant if meant != text else None
        )
    return text


def check_host_choice(text: str) -> str:
    """`preserve`, `upstream`, or a literal host with an optional port."""
    if text in ("preserve", "upstream"):
        return text
    if "." not in text and (meant := nearest(text, ("preserve", "upstream"))):
        raise Invalid(f'"{text}" is neither preserve nor upstream nor a host', meant)
    return check_authority(text)


def check_authority(text: str) -> str:
    """A literal value of Host: a host, and a port if need be."""
    match = re.fullmatch(r"([^:]+|\[.*\])(:[0-9]{1,5})?", text, re.ASCII)
    addresses.check_host_in_url(match[1] if match else text)
    return text


def check_log_format(text: str) -> str:
    """`json`, `combined`, `off`, or a template with at least one variable."""
    if text in ("json", "combined", "off"):
        return text
    if "{" not in text:
        raise Invalid(f'"{text}" is not json, combined, off or a template', nearest(text, ("json", "combined", "off")))
    parse_template(text)
    return text


def check_bind(text: str) -> str:
    """An address to listen on, as `parse_bind` reads it."""
    addresses.parse_bind(text)
    return text


def check_server_url(text: str) -> str:
    """Where a server is, as `parse_server_url` reads it."""
    addresses.parse_server_url(text)
    return text


def check_mode(text: str) -> str:
    """Permissions in octal: "0660"."""
    if not re.fullmatch("0?[0-7]{3}", text):
        raise Invalid(f'"{text}" is no file mode such as "0660"')
    return text


def check_redirect_target(text: str) -> str:
    """A URL or a path for Location, which may hold {variables}."""
    parse_template(text)
    if re.search(r"[^\x21-\x7e]", text):
        raise Invalid("a URL holds visible ASCII only")
    return text


NAME = Text("name", check_name)
FIELD_NAME = Text("header name", check_field_name)
MATCHED_FIELD_NAME = Text("header name", check_matched_field_name)
EDITED_FIELD_NAME = Text("header name", check_edited_field_name)
FIELD_TOKEN = Text("token", check_token)
FIELD_VALUE = Text("text", check_field_value, empty=True)
FIELD_TEMPLATE = Text("text with {variables}", check_field_template, empty=True)
VARIABLE = Text("variable", check_variable)
MEDIA_TYPE = Text("media type, or type/*", check_media_type)
METHOD = Text("method", check_method)
AUTHORITY = Text("host", check_authority)
HOST = Text("host", check_host)
HOST_PATTERN = Text("host, or *.domain", check_host_pattern)
PATH_PATTERN = Text("path, or /prefix/*", check_path_pattern)
PATH_PREFIX = Text("path prefix", check_path_prefix)
REQUEST_PATH = Text("path", check_request_path)
REGEX = Text("regular expression", check_regex)
FILE = Text("file", check_file)
ORIGIN = Text("origin", check_origin)
BIND = Text("address to listen on", check_bind)
SERVER_URL = Text("url of a server", check_server_url)
REDIRECT_TARGET = Text("text with {variables}", check_redirect_target)
TEXT = Text("text")
ANY_TEXT = Text("text", empty=True)
