"""A web application firewall: known attacks in requests, found by rules over texts that were normalised once."""
