"""Mechanisms and policies put together: exchanges, and the connections that carry them."""
