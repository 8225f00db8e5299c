"""The callers, what they ask for, and what they have seen."""
