"""What knows bytes and time, and nothing of proxying: timers, gates, framing and codecs, TLS, tunnels."""
