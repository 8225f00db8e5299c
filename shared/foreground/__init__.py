"""Foreground calls: POSTs whose client waits for the whole answer."""
