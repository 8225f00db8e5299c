"""The domain, all of it pure: records, alarms, states, row keys."""
