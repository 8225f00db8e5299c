"""Deliveries of the terminal event: attempts, retries and redelivery."""
