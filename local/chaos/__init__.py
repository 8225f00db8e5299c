"""Chaos: the service as three hosts under mixed load while everything around it fails, and an audit from outside."""
