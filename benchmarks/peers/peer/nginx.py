"""nginx, one worker, upstream keep-alive."""

from __future__ import annotations

from peer.peer import Peer, Run

CONFIGURATION = """
daemon off; worker_processes 1; user root; pid {dir}/nginx.pid; error_log {dir}/error.log error;
worker_rlimit_nofile 20000;
events {{ worker_connections 9000; }}
http {{
  access_log off; keepalive_timeout 75; keepalive_requests 100000000; http2_max_requests 100000000;
  client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi; client_max_body_size 0;
  {tls} {cache}
  map $http_upgrade $connection_header {{ default upgrade; '' ''; }}
  upstream origin {{ server 127.0.0.1:{upstream_port}; keepalive 128; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096{listen};
    location / {{
      proxy_pass http://origin; proxy_http_version 1.1; {use_cache}
      proxy_buffers 16 16k; proxy_max_temp_file_size 0;
      proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_header;
    }}
  }}
}}
"""


def command(run: Run) -> list[str]:
    cached = run.mode == "cache"
    certificate = run.certificate
    configuration = CONFIGURATION.format(
        dir=run.directory,
        port=run.port,
        upstream_port=run.upstream_port,
        tls=f"ssl_certificate {certificate.certificate}; ssl_certificate_key {certificate.key};" if run.tls else "",
        listen=" ssl http2" if run.tls else "",
        cache=f"proxy_cache_path {run.directory}/cache keys_zone=bench:1m max_size=16m;" if cached else "",
        use_cache="proxy_cache bench;" if cached else "",
    )
    return ["nginx", "-p", str(run.directory), "-c", run.write("nginx.conf", configuration)]


PEERS = [
    Peer(
        name="nginx",
        kind="native",
        install="apt-get install nginx-light",
        features=frozenset({"http", "tls", "h2", "ws", "cache"}),
        programs=("nginx",),
        version_argv=("nginx", "-v"),
        command=command,
    )
]
