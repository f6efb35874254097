"""Reading what a proxy is to serve: the configuration file, what it includes, and the contents of the files it names.

All of it comes through one `Files`, from the disk or from another process that has read the disk: so a worker
that is no longer root, or that starts again later, serves what its supervisor has checked.
"""

from __future__ import annotations

import errno
import glob
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from proxycore.config import Config, ConfigError, Problem
from proxycore.config.loading import Reading, read_dict, read_toml
from proxycore.config.materials import Materials
from proxycore.config.process import Admin
from proxycore.core import Core
from proxycore.policies.addresses import AddressSet
from proxycore.policies.auth.passwords import parse_api_keys, parse_users
from proxycore.policies.auth.tokens import parse_key_set
from proxycore.program.tls_contexts import dashboard_context, dialling_contexts, serving_contexts

FILE_MAX = 64 << 20
"""Bytes of one file; a device may never end."""

_Parsed = TypeVar("_Parsed")


class Files(Protocol):
    """Where files are read. Both may raise OSError."""

    def read(self, path: str) -> bytes: ...

    def find(self, pattern: str) -> Sequence[str]:
        """The paths that match a glob, sorted."""


@dataclass(slots=True)
class Disk:
    """The files of this machine. It remembers what was read, for whoever is to read the same."""

    contents: dict[str, bytes] = field(default_factory=dict)
    found: dict[str, list[str]] = field(default_factory=dict)

    def read(self, path: str) -> bytes:
        with open(path, "rb") as file:
            content = file.read(FILE_MAX + 1)
        if len(content) > FILE_MAX:
            raise OSError(errno.EFBIG, f"it holds more than {FILE_MAX} bytes", path)
        self.contents[path] = content
        return content

    def find(self, pattern: str) -> Sequence[str]:
        paths = self.found[pattern] = sorted(glob.glob(pattern, recursive=True))
        return paths


@dataclass(frozen=True, slots=True)
class Copy:
    """Files that another process has read."""

    contents: Mapping[str, bytes]
    found: Mapping[str, Sequence[str]]

    def read(self, path: str) -> bytes:
        try:
            return self.contents[path]
        except KeyError:
            raise FileNotFoundError(2, "it was not read", path) from None

    def find(self, pattern: str) -> Sequence[str]:
        return self.found.get(pattern, [])


@dataclass(frozen=True, slots=True)
class Edited:
    """The files as they would be with another content of one of them, for somebody who must not make us wait."""

    files: Files
    path: str
    text: str

    def read(self, path: str) -> bytes:
        if path == self.path:
            return self.text.encode()
        if os.path.exists(path) and stat.S_ISFIFO(os.stat(path).st_mode):
            raise OSError(errno.EINVAL, "it is a pipe, which may never end", path)
        return self.files.read(path)

    def find(self, pattern: str) -> Sequence[str]:
        return self.files.find(pattern)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration with the contents that it needs, checked as far as that is possible without serving it."""

    config: Config
    materials: Materials
    file: str = ""
    text: str = ""
    """The file's name and content, where the configuration has one."""
    located: Callable[[Iterable[Problem]], list[Problem]] = field(default=list, compare=False)
    """Gives problems that are found later their file and line."""


@dataclass(frozen=True, slots=True)
class Source:
    """What the command line says is to be served: a file, or addresses to listen on and servers.

    `workers` stands above the file's own number.
    """

    file: str = ""
    listen: Sequence[str] = ()
    to: Sequence[str] = ()
    workers: int | Literal["auto"] | None = None

    @property
    def name(self) -> str:
        """As problems name it. Its folder is where relative names of files count from."""
        return self.file or "command line"

    def load(self, files: Files) -> Loaded:
        """Read and check everything. Raises ConfigError with every problem at once."""
        reading = self._read(files)
        config = reading.config
        if self.workers is not None:
            config = replace(config, workers=self.workers)
        problems: list[Problem] = []
        materials = read_materials(config, files, self.name, problems)
        if not problems:
            try:
                _compile(config, materials, self.name)
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError(reading.located(problems))
        text = files.read(self.file).decode() if self.file else ""
        return Loaded(config, materials, self.file, text, reading.located)

    def _read(self, files: Files) -> Reading:
        if self.file:
            return read_file(self.file, files, os.environ)
        return read_dict(
            {
                "listeners": [{"name": "main", "bind": list(self.listen)}],
                "upstreams": {"main": {"servers": list(self.to)}},
                "routes": [{"name": "main", "upstream": "main"}],
            },
            source=self.name,
        )


def read_file(path: str, files: Files, environment: Mapping[str, str]) -> Reading:
    """The configuration in a file and in those that it includes. Raises ConfigError."""
    folder = os.path.dirname(path)

    def include(pattern: str) -> list[tuple[str, str]]:
        found = [found for found in files.find(os.path.join(folder, pattern)) if found != path]
        return [(found, _text(files.read(found), found)) for found in found]

    try:
        content = files.read(path)
    except OSError as error:
        raise ConfigError([Problem(path, None, "", f"it can't be read: {_reason(error)}")]) from None
    return read_toml(_text(content, path), source=path, environment=environment, include=include)


def read_materials(config: Config, files: Files, source: str, problems: list[Problem]) -> Materials:
    """The contents of the files that a configuration names. Adds a problem for each that can't be read."""
    contents = _Contents(files, source, problems)
    return Materials(
        error_pages={
            status: contents.read(path, f"error_pages.{status}", bytes) for status, path in config.error_pages.items()
        },
        networks=_networks(config, contents),
        sticky_secrets={
            upstream.sticky.secret_file: contents.read(
                upstream.sticky.secret_file, f"upstreams.{name}.sticky.secret_file", bytes.strip
            )
            for name, upstream in config.upstreams.items()
            if upstream.sticky is not None
        },
        users=contents.of("users", config) | _operator(config.admin, contents),
        api_keys=contents.of("api_keys", config),
        key_sets=contents.of("key_sets", config),
        listener_tls=serving_contexts(config, contents),
        dashboard_tls=dashboard_context(config, contents),
        upstream_tls=dialling_contexts(config, contents),
    )


class CredentialFile(NamedTuple):
    """A file that tells who may come in. What `parse` makes of it stands in `Materials` as `kind`, by `name`.

    `place` is what names it in the configuration; `instead` is what stands for a file that can't be read.
    """

    kind: Literal["users", "api_keys", "key_sets"]
    name: str
    place: str
    parse: Callable[[bytes], Any]
    instead: bytes = b""


def _credentials(config: Config) -> Iterator[CredentialFile]:
    for name, basic in config.basic_auth.items():
        yield CredentialFile("users", basic.file, f"basic_auth.{name}.file", _users)
    for name, keys in config.api_keys.items():
        yield CredentialFile("api_keys", keys.file, f"api_keys.{name}.file", _api_keys)
    for name, jwt in config.jwt.items():
        yield CredentialFile("key_sets", jwt.keys_file, f"jwt.{name}.keys_file", parse_key_set, b'{"keys":[]}')


def credential_files(config: Config, source: str) -> dict[str, list[CredentialFile]]:
    """The files of users, API keys and key sets that a configuration names, by their path."""
    files: dict[str, list[CredentialFile]] = {}
    for file in _credentials(config):
        files.setdefault(_path(source, file.name), []).append(file)
    return files


def reread(file: CredentialFile, materials: Materials, source: str) -> Materials:
    """`materials` with what the file holds now. Raises ConfigError where it can't be read, or makes no sense."""
    problems: list[Problem] = []
    content = _Contents(Disk(), source, problems).read(file.name, file.place, file.parse, instead=file.instead)
    if problems:
        raise ConfigError(problems)
    changed: dict[str, Any] = {file.kind: {**getattr(materials, file.kind), file.name: content}}
    return replace(materials, **changed)


def _path(source: str, name: str) -> str:
    """Relative names count from the folder of the configuration's file."""
    return os.path.join(os.path.dirname(source), name)


def _operator(admin: Admin | None, contents: _Contents) -> dict[str, Mapping[str, str]]:
    """Who may enter the dashboard, by the file with the hash of the password."""
    if admin is None or admin.password_file is None:
        return {}

    def parse(content: bytes) -> Mapping[str, str]:
        return parse_users(f"{admin.username}:{content.decode().strip()}") if content else {}

    return {admin.password_file: contents.read(admin.password_file, "admin.password_file", parse)}


def materials_of(config: Config) -> Materials:
    """What the files hold that a configuration made in Python names. Raises ConfigError."""
    problems: list[Problem] = []
    materials = read_materials(config, Disk(), "", problems)
    if problems:
        raise ConfigError([replace(problem, source="Config") for problem in problems])
    return materials


def _networks(config: Config, contents: _Contents) -> dict[str, AddressSet]:
    networks: dict[str, AddressSet] = {}
    for index, route in enumerate(config.routes):
        for key in ("allow_file", "deny_file"):
            path = getattr(route.access, key, None)
            if path is not None and path not in networks:
                networks[path] = contents.read(path, f"routes[{index}].access.{key}", _network_list)
    return networks


def _network_list(content: bytes) -> AddressSet:
    return AddressSet.from_lines(content.decode())


def _users(content: bytes) -> Mapping[str, str]:
    return parse_users(content.decode())


def _api_keys(content: bytes) -> Mapping[bytes, str]:
    return parse_api_keys(content.decode())


@dataclass(frozen=True, slots=True)
class _Contents:
    """Reads the files that one configuration names, and notes what is wrong with them."""

    files: Files
    source: str
    problems: list[Problem]

    def read(self, path: str, place: str, parse: Callable[[bytes], _Parsed], *, instead: bytes = b"") -> _Parsed:
        """What `parse` makes of a file. If it can't be read or `parse` raises ValueError, that is noted, and
        what comes back is what `parse` makes of `instead`.
        """
        try:
            return parse(self.files.read(_path(self.source, path)))
        except OSError as error:
            self.note(place, f'"{path}" can\'t be read: {_reason(error)}')
        except UnicodeDecodeError:
            self.note(place, f'"{path}" isn\'t UTF-8')
        except ValueError as error:
            self.note(place, f'"{path}", {error}')
        return parse(instead)

    def of(self, kind: str, config: Config) -> dict[str, Any]:
        """What the files of one kind hold, by their names."""
        return {
            file.name: self.read(file.name, file.place, file.parse, instead=file.instead)
            for file in _credentials(config)
            if file.kind == kind
        }

    def note(self, place: str, message: str) -> None:
        """Note that what the configuration says at `place` can't be."""
        self.problems.append(Problem(self.source, None, place, message))


def _compile(config: Config, materials: Materials, source: str) -> None:
    """Have the core judge it: some of what a configuration asks for shows only when it is put together."""
    try:
        Core(config, materials, now=0.0, wall=0.0, seed=0, entropy=bytes)
    except ConfigError as error:
        # The core is given no files, so it can't name them.
        raise ConfigError([replace(problem, source=source) for problem in error.problems]) from None


def _text(content: bytes, source: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError([Problem(source, line, "", "this isn't UTF-8")]) from None


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
