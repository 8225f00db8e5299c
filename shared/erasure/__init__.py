"""Erasure: all responses of a caller, of a time or of a person are removed in the background, with a receipt."""
