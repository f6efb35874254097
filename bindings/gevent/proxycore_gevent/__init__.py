"""proxycore on gevent.

A proxy in a program of yours:

    import signal

    import gevent
    from proxycore import Config
    from proxycore_gevent import serve

    config = Config.reverse_proxy("127.0.0.1:8080", to="http://127.0.0.1:3000")
    with serve(config) as server:
        print("listening on", server.address)
        gevent.signal_handler(signal.SIGTERM, server.drain, timeout=10)
        server.wait_closed()

Leaving the block closes at once what is left. Nothing global is installed: no monkey-patching (nor is any
needed), no signal handler.
"""

from proxycore.program.listening import ListenError
from proxycore.program.service import blocking
from proxycore_gevent.server import Server, serve

__all__ = ["ListenError", "Server", "blocking", "serve"]
