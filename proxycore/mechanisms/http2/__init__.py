"""HTTP/2 (RFC 9113) as bytes and events: a server's side of one connection, and what its heads may say.

`session` is fed bytes and gives small events; `heads` decides which requests are well-formed, `blocks` writes
header blocks, `budgets` bounds what a peer may make us do. Needs the extra `h2`.
"""
