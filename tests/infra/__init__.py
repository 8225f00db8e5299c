"""Checks of the infrastructure that need no deployment: grammar, types, meaning, and tests of the checks."""
