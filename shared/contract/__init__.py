"""What callers see: requests, response objects, stream events, signatures. Pure."""
