"""Other systems that do the same work, measured beside the service."""
