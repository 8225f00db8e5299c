"""The HTTP contract: requests, response objects, stream events, webhook signatures. Pure."""
