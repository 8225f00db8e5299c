"""Senders of terminal events: callbacks over HTTP, and reply queues."""
