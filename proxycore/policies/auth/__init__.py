"""Who a client is: passwords, API keys, tokens, as pure functions; the filters decide when to ask them."""
