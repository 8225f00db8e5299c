"""Triggers: they read the input, call the engine and shape the output."""
