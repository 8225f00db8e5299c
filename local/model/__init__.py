"""A simulated model that implements the Responses contract.

It is free, needs no key, and says that it is simulated.
"""
