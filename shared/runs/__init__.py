"""Streamed responses: who drives one, its event log, and those who read it."""
