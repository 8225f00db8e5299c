"""A local Functions host. It runs an app's function_app.py with the semantics of the platform."""
