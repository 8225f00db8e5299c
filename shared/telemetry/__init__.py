"""Telemetry: log lines, metrics and traces."""
