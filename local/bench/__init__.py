"""The benchmark: what a response costs, and how long each side waits for it, over the real stack."""
