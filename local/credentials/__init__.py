"""The credentials of callers: new ones, and their rotation."""
