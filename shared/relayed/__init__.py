"""Calls that an upstream answers by itself: about models, tokens and conversations."""
