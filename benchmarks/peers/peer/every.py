"""The registry: every proxy by its name."""

from __future__ import annotations

from peer import envoy, go_family, haproxy, nginx, node, proxycore, python_frameworks, python_tools, relays, varnish

FAMILIES = (relays, nginx, haproxy, envoy, go_family, varnish, node, python_tools, python_frameworks, proxycore)
PEERS = {peer.name: peer for family in FAMILIES for peer in family.PEERS}
