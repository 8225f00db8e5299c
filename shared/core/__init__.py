"""What is true: records, alarms, states, keys, and the change sets that transitions make of them. Pure."""
