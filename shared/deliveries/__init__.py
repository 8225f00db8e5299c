"""Delivering the terminal event: attempts, retries, redelivery."""
