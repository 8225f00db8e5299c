"""What operators see and do: the responses and deliveries of all callers, without their content."""
