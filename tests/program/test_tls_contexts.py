"""SSLContexts from files: what they hold, and one clear sentence for each thing that can be wrong."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from proxycore.config import Config, ConfigError, Listener, ListenerTls, Route, Upstream
from proxycore.mechanisms.tls import TlsSession
from proxycore.program.files import Copy, Disk, Source, materials_of
from tests.certificates import authority, client_context, leaf
from tests.program.programs import call

TEXT = """\
[[listeners]]
bind = "127.0.0.1:0"
[listeners.tls]
certificates = [
  { certificate = "one.crt", key = "one.key" },
  { certificate = "two.crt", key = "two.key" },
]
client_authentication = "optional"
client_ca = "ca.pem"
ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256"
[upstreams.api]
servers = ["https://127.0.0.1:1"]
[upstreams.api.tls]
ca = "ca.pem"
certificate = { certificate = "two.crt", key = "two.key" }
[[routes]]
upstream = "api"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration whose files are all there."""
    for name in ("one", "two"):
        certificate = leaf(f"{name}.example")
        (tmp_path / f"{name}.crt").write_bytes(certificate.cert_chain_pems[0].bytes())
        (tmp_path / f"{name}.key").write_bytes(certificate.private_key_pem.bytes())
    authority().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    path = tmp_path / "proxy.toml"
    path.write_text(TEXT)
    return path


def problems(file: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        Source(file=str(file)).load(Disk())
    return str(caught.value).replace(f"{file}:", "").splitlines()


def test_files_become_contexts_and_leave_nothing_behind(file: Path) -> None:
    open_before = len(os.listdir("/dev/fd"))
    loaded = Source(file=str(file)).load(Disk())
    assert len(os.listdir("/dev/fd")) == open_before
    context = loaded.materials.listener_tls["127.0.0.1:0"]
    assert context.verify_mode == ssl.CERT_OPTIONAL
    for name in ("one.example", "two.example"):
        client = TlsSession(client_context(protocols=("h2", "http/1.1")), server_side=False, server_name=name)
        server = TlsSession(context, server_side=True)
        client.start()
        while message := client.take():
            server.receive(message)
            client.receive(server.take())
        assert client.subject.startswith(f"CN={name},")
        assert client.protocol == "h2"
    dialling = loaded.materials.upstream_tls["api"]
    assert dialling.verify_mode == ssl.CERT_REQUIRED
    assert dialling.check_hostname
    assert len(dialling.get_ca_certs()) == 1


def test_what_was_read_serves_where_the_disk_is_out_of_reach(file: Path) -> None:
    source, disk = Source(file=str(file)), Disk()
    source.load(disk)
    for path in file.parent.iterdir():
        path.unlink()
    assert source.load(Copy(disk.contents, disk.found)).materials.listener_tls


def test_check_accepts_it(file: Path) -> None:
    assert call("check", str(file)).output == f"{file}: good: 1 listener, 1 route, 1 upstream\n"


@pytest.mark.parametrize(
    ("name", "content", "line", "problem"),
    [
        ("one.crt", None, 5, 'certificates[0].certificate: "one.crt" can\'t be read: no such file or directory'),
        ("one.crt", b"x", 5, 'certificates[0].certificate: "one.crt" holds no certificate in PEM'),
        ("one.key", b"x", 5, 'certificates[0].key: "one.key" holds no private key in PEM'),
        ("one.key", leaf("else").private_key_pem.bytes(), 5, 'key: "one.key" isn\'t the key of "one.crt"'),
        ("one.key", b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n", 5, 'key: "one.key" is encrypted: take the passphrase'),
        ("one.crt", b"-----BEGIN CERTIFICATE-----\nx", 5, 'certificates[0]: OpenSSL refuses "one.crt" or its key'),
        ("ca.pem", b"x", 9, 'client_ca: "ca.pem" holds no certificates of authorities in PEM'),
        ("ca.pem", b"x", 14, 'upstreams.api.tls.ca: "ca.pem" holds no certificates of authorities in PEM'),
        ("two.key", None, 15, 'upstreams.api.tls.certificate.key: "two.key" can\'t be read'),
    ],
)
def test_what_is_wrong_with_a_file_is_told_with_its_place(
    file: Path, name: str, content: bytes | None, line: int, problem: str
) -> None:
    path = file.parent / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    (found,) = [text for text in problems(file) if text.startswith(f"{line}: ")]
    assert problem in found


def test_an_encrypted_key_is_not_asked_about(file: Path) -> None:
    key = serialization.load_pem_private_key((file.parent / "one.key").read_bytes(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.BestAvailableEncryption(b"secret"),
    )
    (file.parent / "one.key").write_bytes(encrypted)
    assert ["one.key" in text and "is encrypted" in text for text in problems(file)] == [True]


def test_ciphers_that_openssl_does_not_know(file: Path) -> None:
    file.write_text(TEXT.replace("ECDHE-ECDSA-AES128-GCM-SHA256", "NONSENSE"))
    (problem,) = problems(file)
    assert problem.startswith('10: listeners[0].tls.ciphers: OpenSSL knows none of "NONSENSE"')


def test_an_expired_certificate_is_served_with_a_warning(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    certificate = leaf("one.example", expired=True)
    (file.parent / "one.crt").write_bytes(certificate.cert_chain_pems[0].bytes())
    (file.parent / "one.key").write_bytes(certificate.private_key_pem.bytes())
    Source(file=str(file)).load(Disk())
    (record,) = caplog.records
    assert record.getMessage() == (
        'listeners[0].tls.certificates[0]: "one.crt" expired 2020-01-01: clients will refuse it'
    )


def test_a_configuration_in_python_names_its_files_too(file: Path) -> None:
    pair = {"certificate": str(file.parent / "one.crt"), "key": str(file.parent / "one.key")}
    config = Config(
        listeners=[Listener(name="web", bind="127.0.0.1:0", tls=ListenerTls(certificates=pair))],
        upstreams={"api": Upstream(servers=["https://localhost"], tls={"verify": False})},
        routes=[Route(upstream="api")],
    )
    materials = materials_of(config)
    assert list(materials.listener_tls) == ["web"]
    assert materials.upstream_tls["api"].verify_mode == ssl.CERT_NONE
    (file.parent / "one.key").unlink()
    with pytest.raises(ConfigError, match=r"Config: listeners\[0\]\.tls\.certificates\[0\]\.key: .* can\'t be read"):
        materials_of(config)
