"""The one socket driver: effects onto non-blocking sockets, facts from them.

This room and `program/` alone may do I/O. The driver knows no HTTP and no runtime: see `driver`.
"""
