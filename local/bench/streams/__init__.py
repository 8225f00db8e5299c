"""The runs of streams and of foreground calls."""
