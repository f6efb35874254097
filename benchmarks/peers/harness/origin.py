"""The one origin that every proxy forwards to: nginx with one worker, and a WebSocket echo."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from harness import processes

APPS = Path(__file__).resolve().parent.parent / "apps"

SMALL = json.dumps(
    {"id": 42, "name": "reverse proxy benchmark", "ok": True, "tags": ["a", "b", "c"], "note": "x" * 31},
    separators=(",", ":"),
)
FILES = {"/medium": 16 * 1024, "/chunked": 64 * 1024, "/large": 1024 * 1024}

NGINX_CONF = """
daemon off; worker_processes 1; user root; pid {dir}/nginx.pid; error_log {dir}/error.log crit;
worker_rlimit_nofile 20000;
events {{ worker_connections 9000; }}
http {{
  access_log off; sendfile on; tcp_nopush on; open_file_cache max=16;
  keepalive_timeout 300; keepalive_requests 100000000;
  client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi; client_max_body_size 0;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    root {dir}/files; default_type application/octet-stream;
    location = /small {{ default_type application/json; return 200 '{small}'; }}
    location = /cached {{
      default_type application/json; add_header Cache-Control "public, max-age=3600"; return 200 '{small}';
    }}
    location = /probe {{
      default_type text/plain;
      return 200 "connection=$connection xff=$http_x_forwarded_for proto=$http_x_forwarded_proto host=$http_host";
    }}
    location = /chunked {{ ssi on; ssi_types *; ssi_min_file_chunk 64k; }}
  }}
}}
"""

MAKE_CERTIFICATE = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=localhost "
    "-addext subjectAltName=DNS:localhost,IP:127.0.0.1"
)


@dataclass(frozen=True)
class Certificate:
    """Files of a self-signed certificate for 127.0.0.1, its key, and the two in one."""

    certificate: Path
    key: Path
    both: Path

    @classmethod
    def make(cls, directory: Path) -> Certificate:
        made = cls(directory / "cert.pem", directory / "key.pem", directory / "both.pem")
        subprocess.run(
            [*MAKE_CERTIFICATE.split(), "-keyout", str(made.key), "-out", str(made.certificate)],
            check=True,
            capture_output=True,
        )
        made.both.write_text(made.certificate.read_text() + made.key.read_text())
        return made


class Origin:
    """The origin's processes, both on the load's core."""

    def __init__(self, directory: Path, core: int, echo_python: Path | None) -> None:
        self.directory = directory
        self.core = core
        self.echo_python = echo_python
        self.port = processes.free_port()
        self.websocket_port = processes.free_port()
        self.running: list[processes.Process] = []
        self.expected = {"/small": SMALL.encode(), "/cached": SMALL.encode()}
        """Each path's body."""

    def start(self) -> None:
        files = self.directory / "files"
        files.mkdir()
        for path, size in FILES.items():
            body = (f"{path[1:]} body 0123456789\n".encode() * (size // 8))[:size]
            self.expected[path] = body
            (files / path[1:]).write_bytes(body)
        configuration = self.directory / "nginx.conf"
        configuration.write_text(NGINX_CONF.format(dir=self.directory, port=self.port, small=SMALL))
        self._start("nginx", ["nginx", "-p", str(self.directory), "-c", str(configuration)], self.port)
        if self.echo_python:
            echo = [str(self.echo_python), "-B", str(APPS / "websocket_echo.py"), str(self.websocket_port)]
            self._start("echo", echo, self.websocket_port)

    def _start(self, name: str, argv: list[str], port: int) -> None:
        process = processes.Process(argv, self.core, self.directory / f"{name}.log")
        self.running.append(process)
        process.wait_until_listening(port)

    def cpu_seconds(self) -> float:
        return sum(processes.cpu_seconds(process.pid) for process in self.running)

    def stop(self) -> None:
        while self.running:
            self.running.pop().stop()
