"""Starts proxies and an origin, puts load on them, and says what it cost (standard library only)."""
