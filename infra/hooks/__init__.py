"""Hooks that `azd` runs with a deployment. They use only the standard library, so they need no environment."""
