"""Servers that the upstreams of other makes run on."""
