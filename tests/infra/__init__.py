"""Checks of the infrastructure that need no deployment: what the compiler says, facts, and tests of the checks."""
