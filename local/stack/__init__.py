"""The local stack: its processes, their ports, and the receiver of callbacks."""
