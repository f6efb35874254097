"""Pure decisions over plain values: routing, forwarding, balancing, retrying, and what else is decided."""
