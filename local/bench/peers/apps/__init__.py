"""The same work, written for each peer. These programs run in the peers' environments."""
