"""Table Storage and the queues: every byte that is written or read there."""
