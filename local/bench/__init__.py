"""The benchmark on the real stack: what a response costs, and how long each side waits for it."""
