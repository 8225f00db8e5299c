"""The domain, all of it pure: records, alarms, states, row keys, and the transitions that produce change sets."""
