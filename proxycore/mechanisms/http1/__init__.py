"""HTTP/1.0 and HTTP/1.1 as bytes: `reader` turns them into heads, content and ends, `writer` turns those into bytes.

`strict` alone decides what is framing and what is refused; `codec` is the second opinion behind it.
"""
