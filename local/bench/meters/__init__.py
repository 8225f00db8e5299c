"""What is measured in a run, and how figures are computed from it."""
