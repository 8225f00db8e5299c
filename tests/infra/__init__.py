"""What can be checked of the infrastructure without a deployment: grammar, types, meaning, and the checks."""
