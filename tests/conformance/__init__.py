"""Tests of the app in Microsoft's own runtime library for Python 3.13."""
