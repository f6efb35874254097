"""The proxies that can be measured: one small file for each family."""
