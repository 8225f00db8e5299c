"""Upstreams of other makes, each as a server process in an environment of its own, driven through the service."""
