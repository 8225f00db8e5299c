"""What the load runs on and what fails: hosts, relays, storage, upstreams, receivers."""
