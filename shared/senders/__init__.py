"""What takes an event to a receiver: callbacks over HTTP, and reply queues."""
