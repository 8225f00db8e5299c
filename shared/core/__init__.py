"""The domain: records, alarms, states, row keys, and the transitions that produce change sets.

Everything here is pure: no clock, environment, thread or network.
"""
