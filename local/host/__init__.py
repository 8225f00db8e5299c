"""A local Functions host: runs an app's function_app.py with the platform's semantics."""
