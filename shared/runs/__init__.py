"""Runs: the process that drives a response, the event log of its stream, and the readers of that log."""
