"""The runs of callbacks: the sender alone, and beside a host that never answers."""
