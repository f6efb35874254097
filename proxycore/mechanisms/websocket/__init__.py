"""WebSocket (RFC 6455): the handshake, where frames end, and messages, for whoever must read them."""
