"""The upstreams, which produce the answers: servers of the Responses API, and agents of Microsoft Agent Framework."""
