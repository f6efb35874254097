"""A shared cache's decisions (RFC 9111), pure and apart from where responses are kept.

A response's way: `storing` says whether it may be kept, `freshness` for how long it serves, `keys` under which name.
A request's way: `reuse` says what a stored response is good for, `validators` and `ranges` what this client gets of
it, `invalidation` what an unsafe request or an operator makes void. `store` keeps them, bounded in bytes.
"""
