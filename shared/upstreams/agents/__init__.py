"""Agents of Microsoft Agent Framework as an upstream."""
