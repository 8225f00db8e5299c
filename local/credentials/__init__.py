"""The credentials of callers: how they are made and rotated."""
