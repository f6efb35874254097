"""Our own filters: the features of a route that the configuration names, on the interface that users have.

What they decide is in `policies`, pure functions over plain values; here is only when it is decided and what
becomes of the exchange. `order` has the one table of the order in which they run.
"""
