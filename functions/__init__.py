"""Triggers: read the input, call the engine, shape the output."""
